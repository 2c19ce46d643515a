/** bench/lab/grammar_lab.cc, compiled on the spot, and the files that it reads. */
import { execFile } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { NativeVocabulary } from '../../lib/native.js';

/** Of one grammar; `walks` in the order of its texts. */
export interface LabLine {
  error?: string;
  compile_ns: number;
  bytes: number;
  walks: LabWalk[];
}

export interface LabWalk {
  accepted: boolean;
  /** Tokens taken. */
  refused_at: number;
  /** Tokens that the mask and the matcher tell otherwise of. */
  disagreed: number;
  mask_ns: number[];
  accept_ns: number[];
}

export interface LabCase {
  grammar: string;
  texts: readonly Int32Array[];
}

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

function numbers(...values: number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer);
}

function vocabularyFile({ bytes, offsets, special, stopIds }: NativeVocabulary): Buffer {
  const stop = new Set(stopIds);
  const parts: Uint8Array[] = [numbers(special.length)];
  for (let id = 0; id < special.length; id++) {
    const token = bytes.subarray(offsets[id], offsets[id + 1]);
    const marks = (special[id] ? 1 : 0) | (stop.has(id) ? 2 : 0);
    parts.push(Buffer.of(marks), numbers(token.length), token);
  }
  return Buffer.concat(parts);
}

function casesFile(cases: readonly LabCase[]): Buffer {
  const parts = [numbers(cases.length)];
  for (const { grammar, texts } of cases) {
    const source = Buffer.from(grammar);
    parts.push(numbers(source.length), source, numbers(texts.length));
    for (const tokens of texts) parts.push(numbers(tokens.length, ...tokens));
  }
  return Buffer.concat(parts);
}

/** @returns the program, in `folder` */
export async function buildLab(folder: string): Promise<string> {
  const lab = join(folder, 'grammar_lab');
  const grammar = join(root, 'csrc/grammar');
  const sources = readdirSync(grammar).filter((name) => name.endsWith('.cc'));
  const files = [join(root, 'bench/lab/grammar_lab.cc'), ...sources.map((n) => join(grammar, n))];
  const options = ['-std=c++20', '-O3', '-pthread', `-I${join(root, 'csrc')}`];
  await run('g++', [...options, ...files, '-o', lab]);
  return lab;
}

/** Compiles each grammar and walks its texts, one after another on one thread. */
export async function runLab(
  lab: string,
  folder: string,
  vocabulary: NativeVocabulary,
  cases: readonly LabCase[],
): Promise<LabLine[]> {
  const files = [join(folder, 'vocabulary.bin'), join(folder, 'cases.bin')] as const;
  writeFileSync(files[0], vocabularyFile(vocabulary));
  writeFileSync(files[1], casesFile(cases));
  const options = { maxBuffer: 1 << 30 };
  const { stdout } = await run(lab, [files[0], '--cases', files[1]], options);
  const lines = stdout.trimEnd().split('\n');
  if (lines.length !== cases.length)
    throw new Error(`grammar_lab wrote ${lines.length} lines for ${cases.length} grammars`);
  return lines.map((line) => JSON.parse(line) as LabLine);
}
