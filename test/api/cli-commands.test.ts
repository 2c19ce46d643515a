/** `hotpath` as a user meets it: every command as a process of its own, on the bundled model. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect } from 'vitest';
import { describe, device, test } from '../device.js';
import { pocket } from './pocket.js';

const script = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
/** As pocket.ts has it: several engines share a GPU. */
const small = ['--device', device, '--num-threads', '2', '--kv-cache-bytes', '64MiB'];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hotpath-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

class Program {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  readonly #closed: Promise<[number | null, NodeJS.Signals | null]>;

  /** @param input written to stdin, which is then closed */
  constructor(args: string[], input = '') {
    this.child = spawn(process.execPath, [script, ...args], { stdio: 'pipe' });
    this.child.stdout!.setEncoding('utf8').on('data', (text) => {
      this.stdout += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
    // A program that does not read it is no error.
    this.child.stdin!.on('error', () => {});
    this.child.stdin!.end(input);
    this.#closed = once(this.child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  }

  async end() {
    const [code, signal] = await this.#closed;
    return { code, signal, stdout: this.stdout, stderr: this.stderr };
  }
}

const hotpath = (args: string[], input?: string) => new Program(args, input).end();

async function until(happened: () => boolean): Promise<void> {
  while (!happened()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test.each([
  [[]],
  [['serve']],
  [['chat']],
  [['complete']],
  [['batch']],
  [['bench']],
  [['tokenize']],
  [['grammar']],
  [['grammar', 'check']],
  [['devices']],
])('--help of %j', async (command) => {
  const { code, stdout, stderr } = await hotpath([...command, '--help']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^Usage: hotpath/);
});

test('mistakes end with 2, failures with 1, each in one line', async () => {
  const usage = await hotpath(['complete', '--max-modl-len', '5', '--prompt', 'x']);
  expect(usage.code).toBe(2);
  expect(usage.stderr).toMatch(/^error: unknown option .*Did you mean --max-model-len\?\)\n$/);
  const missing = await hotpath(['complete', '/nowhere/at/all', 'x', '--quiet']);
  expect(missing.code).toBe(1);
  expect(missing.stderr).toMatch(/^error: .*\/nowhere\/at\/all.*\n$/);
  const verbose = await hotpath(['complete', '/nowhere/at/all', 'x', '--quiet', '--verbose']);
  expect(verbose.stderr).toMatch(/\n {4}at /);
});

describe('complete', () => {
  test('from a pipe; the same seed gives the same text', async () => {
    const args = ['complete', ...small, '--seed', '7', '--max-tokens', '20'];
    const first = await hotpath(args, 'Once upon a time\n');
    expect(first.code).toBe(0);
    expect(first.stdout.length).toBeGreaterThan(20);
    expect(first.stdout).not.toContain('\u001b');
    expect(first.stderr).toMatch(/^Loading pocket \.\.\. 8\.\d MB in \d+\.\d s\n$/);
    const second = await hotpath([...args, pocket, 'Once upon a time', '--quiet']);
    expect(second).toEqual({ ...first, stderr: '' });
  });

  test('as JSON', async () => {
    const args = ['--prompt', 'Once upon a time', '--json', '--body', '{"logprobs":2,"n":2}'];
    const { stdout } = await hotpath(['complete', ...small, ...args, '--max-tokens', '3']);
    const { choices, usage } = JSON.parse(stdout);
    expect(choices).toHaveLength(2);
    expect(choices[0].logprobs.tokens).toHaveLength(3);
    expect(usage.completion_tokens).toBe(6);
  });

  test('a reader that goes away is no error', async () => {
    const args = ['--prompt', 'Once upon a time', '--max-tokens', '900', '--ignore-eos'];
    const program = new Program(['complete', ...small, ...args]);
    program.child.stdout!.once('data', () => program.child.stdout!.destroy());
    const { code, stderr } = await program.end();
    expect(code).toBe(0);
    expect(stderr).not.toMatch(/error/i);
  });
});

test('chat: every line of a pipe is a turn', async () => {
  const lines = 'List 3 countries and their capitals.\nWhat was the first country?\n';
  const args = ['chat', ...small, '--no-thinking', '--temperature', '0', '--quiet'];
  const { code, stdout, stderr } = await hotpath(args, lines);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const country = /^1\. (\w+)/m.exec(stdout)?.[1];
  expect(country).toBeDefined();
  expect(stdout.trimEnd().split('\n').at(-1)).toContain(country);
});

test('tokenize there and back', async () => {
  const text = 'Hello, world: 你好';
  const { stdout } = await hotpath(['tokenize', pocket, text, '--json']);
  const { tokens, count } = JSON.parse(stdout) as { tokens: number[]; count: number };
  expect(tokens).toHaveLength(count);
  const back = await hotpath(['tokenize', '--decode'], tokens.join(' '));
  expect(back.stdout).toBe(`${text}\n`);
  const chat = await hotpath(['tokenize', '--chat', '--text', 'Hello!', '--count']);
  expect(Number(chat.stdout)).toBeGreaterThan(5);
  const wrong = await hotpath(['tokenize', '--decode', '--text', '1 9999999']);
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toMatch(/received '9999999'/);
});

describe('grammar check', () => {
  const check = (args: string[], input?: string) =>
    hotpath(['grammar', 'check', ...small, '--quiet', ...args], input);
  const schema = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}';

  test('a schema in a file, texts from a pipe', async () => {
    const file = join(folder, 'schema.json');
    writeFileSync(file, schema);
    const args = ['--schema', `@${file}`];
    const whole = await check(args, '{"a": 12}\n');
    expect(whole).toMatchObject({ code: 0, stdout: 'complete\n', stderr: '' });
    const begun = await check([...args, '--json'], '{"a": 1');
    expect(begun.code).toBe(1);
    expect(JSON.parse(begun.stdout)).toEqual({
      accepted: true,
      complete: false,
      failedAt: 7,
      expected: expect.arrayContaining(['"}"']),
    });
    const wrong = await check(args, '{"a": tru}');
    expect(wrong.code).toBe(1);
    expect(wrong.stdout).toMatch(
      /^not allowed at byte 6 \(line 1, column 7\): "t"\n {2}\{"a": tru\}\n {8}\^\nExpected:\n {2}\S/,
    );
  });

  test('calls of a tool, as the model writes them', async () => {
    const tool = { name: 'f', parameters: JSON.parse(schema), strict: true };
    const tools = JSON.stringify([{ type: 'function', function: tool }]);
    const args = ['--tools', tools, '--tool-choice', 'f', '--json', '--text'];
    const call = (a: string) =>
      `<tool_call>\n{"name": "f", "arguments": {"a": ${a}}}\n</tool_call>`;
    expect((await check([...args, call('1')])).code).toBe(0);
    const { code, stdout } = await check([...args, call('x')]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ failedAt: call('').indexOf('}}') });
  });

  test('what cannot be enforced, and none at all', async () => {
    const broken = await check(['--regex', 'a(?=b)', '--text', 'a']);
    expect(broken).toMatchObject({ code: 1, stdout: '' });
    expect(broken.stderr).toMatch(/^error: regex .*position 1.*\n$/);
    expect((await check(['--text', 'a'])).code).toBe(2);
  });
});

test('devices', async () => {
  const { stdout } = await hotpath(['devices', '--json']);
  const devices = JSON.parse(stdout) as { kind: string; unavailable: string | null }[];
  expect(devices.find(({ kind }) => kind === 'cpu')).toMatchObject({ unavailable: null });
  expect((await hotpath(['devices'])).stdout).toMatch(/^device +name/);
});

test('bench --json', async () => {
  const sizes = ['--input-len', '16', '--output-len', '8', '--requests', '3'];
  const args = ['bench', pocket, ...small, ...sizes, '--concurrency', '1,2', '--json'];
  const { code, stdout } = await hotpath(args);
  expect(code).toBe(0);
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ concurrency }) => concurrency)).toEqual([1, 2]);
  for (const line of lines) {
    expect(line).toMatchObject({
      model: 'pocket',
      device,
      requests: 3,
      prompt_tokens: 48,
      generated_tokens: 24,
      cached_tokens: 0,
    });
    expect(line.generated_tokens_per_s).toBeGreaterThan(0);
    expect(line.ttft_ms.p99).toBeGreaterThanOrEqual(line.ttft_ms.p50);
  }
  const long = await hotpath(['bench', pocket, ...small, '--output-len', '5000']);
  expect(long.stderr).toMatch(/error: A request has at most 1024 tokens here, got 128/);
});

describe('batch', () => {
  const ids = Array.from({ length: 60 }, (_, i) => `request-${i}`);
  const requests = ids.map((custom_id, i) => ({
    custom_id,
    method: 'POST',
    url: i % 2 === 0 ? '/v1/completions' : '/v1/chat/completions',
    body: {
      ...(i % 2 === 0
        ? { prompt: `Once upon a time ${i}` }
        : { messages: [{ role: 'user', content: `What is ${i} + ${i}?` }] }),
      max_tokens: 300,
      ignore_eos: true,
      seed: i,
    },
  }));
  const linesOf = (text: string) => text.split('\n').filter((line) => line !== '');
  const size = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

  async function startAndStop(signal: NodeJS.Signals, name: string) {
    const [input, output] = [join(folder, `${name}.in`), join(folder, `${name}.out`)];
    writeFileSync(input, requests.map((request) => `${JSON.stringify(request)}\n`).join(''));
    const args = ['batch', pocket, input, output, ...small, '--concurrency', '2'];
    const program = new Program(args);
    await until(() => size(output) > 2000 || program.child.exitCode !== null);
    program.child.kill(signal);
    const ended = await program.end();
    const text = readFileSync(output, 'utf8');
    const kept = text.slice(0, text.lastIndexOf('\n') + 1);
    expect(linesOf(kept).length).toBeGreaterThan(0);
    expect(linesOf(kept).length).toBeLessThan(ids.length);
    return { args, output, ended, text, kept };
  }

  function expectAll(output: string, kept: string): void {
    const text = readFileSync(output, 'utf8');
    expect(text.startsWith(kept)).toBe(true);
    const results = linesOf(text).map((line) => JSON.parse(line));
    expect(results.map(({ custom_id }) => custom_id).sort()).toEqual([...ids].sort());
    for (const { response, error } of results) {
      expect(error).toBeNull();
      expect(response.status_code).toBe(200);
      expect(response.body.usage.completion_tokens).toBe(300);
    }
  }

  test('killed in between, a second run does the rest, a third nothing', async () => {
    const { args, output, ended, kept } = await startAndStop('SIGKILL', 'killed');
    expect(ended.signal).toBe('SIGKILL');
    // As where the kill comes in the middle of a write.
    writeFileSync(output, `${kept}{"id":"batch_req_0123`);
    const second = await hotpath(args);
    expect(second.code).toBe(0);
    expect(second.stderr).toMatch(/ended in half a line/);
    const there = linesOf(kept).length;
    expect(second.stderr).toMatch(
      new RegExp(`${ids.length - there} succeeded, 0 failed; ${there} were there already`),
    );
    expectAll(output, kept);
    const third = await hotpath(args);
    expect(third.code).toBe(0);
    expect(third.stderr).toBe('All 60 requests were answered already, 0 of them failed.\n');
  });

  test('SIGINT ends it in order, with whole lines only', async () => {
    const { args, output, ended, text, kept } = await startAndStop('SIGINT', 'interrupted');
    expect(ended.code).toBe(130);
    expect(ended.stderr).toMatch(/Interrupted: \d+ succeeded/);
    expect(text).toBe(kept);
    expect((await hotpath([...args, '--quiet'])).code).toBe(0);
    expectAll(output, kept);
  });
});

describe('serve', () => {
  async function start(...flags: string[]) {
    const program = new Program(['serve', pocket, ...small, '--port', '0', ...flags]);
    await until(() => program.stdout.includes('\n') || program.child.exitCode !== null);
    const url = / at (http:\/\/\S+)\n/.exec(program.stdout)?.[1];
    if (url === undefined) throw new Error(program.stderr);
    return { program, url };
  }
  const post = (url: string, body: object, headers = {}) =>
    fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  const story = { prompt: 'Once upon a time', ignore_eos: true };

  test('answers, lets a stream end after SIGTERM, and ends with 0', async () => {
    const { program, url } = await start('--api-key', 'secret', '--access-log');
    expect((await post(url, story)).status).toBe(401);
    const key = { authorization: 'Bearer secret' };
    const answer = await post(url, { ...story, max_tokens: 5 }, key);
    expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 5 } });
    const stream = await post(url, { ...story, max_tokens: 900, stream: true }, key);
    program.child.kill('SIGTERM');
    const events = await stream.text();
    expect(events).toMatch(/"finish_reason":"length"/);
    expect(events).toMatch(/data: \[DONE\]\n\n$/);
    const { code, stdout, stderr } = await program.end();
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Serving pocket on \S+ at http:\S+\n$/);
    expect(stderr).toMatch(/completions.*401/);
  });

  test('a second signal ends it at once', async () => {
    const { program, url } = await start();
    const stream = await post(url, { ...story, n: 64, max_tokens: 1000, stream: true });
    const reading = stream.text().then(
      () => 'whole',
      () => 'broken',
    );
    program.child.kill('SIGINT');
    await until(() => program.stderr.includes('second signal'));
    program.child.kill('SIGINT');
    expect((await program.end()).code).toBe(130);
    expect(await reading).toBe('broken');
  });

  test('where it cannot listen it says so', async () => {
    const { program, url } = await start();
    const { port } = new URL(url);
    const second = await hotpath(['serve', pocket, ...small, '--port', port, '--quiet']);
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/error: Cannot listen .* the port is in use/);
    program.child.kill('SIGTERM');
    expect((await program.end()).code).toBe(0);
  });
});
