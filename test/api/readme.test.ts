/** Every example of README.md runs as a program of its own and ends by itself. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect } from 'vitest';
import { describe, device, onCuda, test } from '../device.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Example {
  heading: string;
  /** As it stands in the document. */
  code: string;
  language: 'js' | 'ts';
  /** What it has to print: the text block right below it. */
  output: string | null;
}

function examplesOf(markdown: string): Example[] {
  const pattern =
    /^#+ (?<heading>.+)$|^```(?<language>js|ts)\n(?<code>[\s\S]*?)^```$(?:\n\n```text\n(?<output>[\s\S]*?)^```$)?/gm;
  const examples: Example[] = [];
  let heading = '';
  for (const { groups } of markdown.matchAll(pattern)) {
    if (groups?.heading !== undefined) heading = groups.heading;
    else
      examples.push({
        heading,
        code: groups!.code!,
        language: groups!.language as 'js' | 'ts',
        output: groups!.output ?? null,
      });
  }
  return examples;
}

/** An example that loads no engine gets the one that the document speaks of. */
function program({ code, language }: Example): string {
  const script =
    language === 'js'
      ? code
      : ts.transpileModule(code, {
          compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
        }).outputText;
  if (code.includes('Engine.load(')) return script;
  return `import { Engine } from 'hotpath';
const engine = await Engine.load('models/pocket');
${script}
await engine.close();
`;
}

/** What 'auto' shall find: the device under test and no other. */
const env = { ...process.env, CUDA_VISIBLE_DEVICES: onCuda ? device.split(':')[1] : '' };

/** Runs in the repository, where `hotpath` is the package itself. */
function run(source: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--input-type=module', '-'], { cwd: root, env });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin.end(source);
  });
}

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const examples = examplesOf(readme);

describe('examples of README.md', () => {
  test('are all found', () => {
    expect(examples.length).toBe([...readme.matchAll(/^```(js|ts)$/gm)].length);
    expect(examples.filter(({ output }) => output !== null).length).toBe(
      [...readme.matchAll(/^```text$/gm)].length,
    );
  });

  test.each(examples)('$heading', async (example) => {
    const { code, stdout, stderr } = await run(program(example));
    expect(stderr).toBe('');
    expect(code).toBe(0);
    if (example.output === null) expect(stdout).not.toBe('');
    else expect(stdout).toBe(example.output);
  });

  test('show every public method', () => {
    const code = examples.map((example) => example.code).join('\n');
    for (const name of [
      'Engine.load(',
      'chatCompletions(',
      'completions(',
      'tokenize(',
      'detokenize(',
      'stats(',
      'close(',
      'await using',
      'devices(',
      'signal:',
    ])
      expect(code).toContain(name);
  });
});
