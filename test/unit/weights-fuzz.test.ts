import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import {
  headerLength,
  parseHeader,
  readHeader,
  type StoredTensor,
} from '../../lib/weights/safetensors.js';
import { fileBytes, goldenFolder, tempFolder } from './weights-fixtures.js';

/** mulberry32: the same numbers in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const TOKENS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\0',
  '\u00ff',
  'null',
  'true',
  '-1',
  '0',
  '1e400',
  '1.5',
  '9007199254740993',
  '18446744073709551616',
  '[[[[[[[[',
  '{"a":',
  '"dtype":"F32"',
  '"__metadata__":{}',
  '"\\ud800"',
  '"__proto__":',
  ' '.repeat(50),
  '"F16"',
  '"I64"',
];

type Random = ReturnType<typeof generator>;

const MUTATIONS: ((text: Buffer, random: Random) => Buffer)[] = [
  (text, random) => {
    const copy = Buffer.from(text);
    for (let n = 1 + random(4); n > 0; n--) copy[random(copy.length)] = random(256);
    return copy;
  },
  (text, random) => text.subarray(0, random(text.length)),
  (text, random) => {
    const at = random(text.length);
    return Buffer.concat([
      text.subarray(0, at),
      Buffer.from(TOKENS[random(TOKENS.length)]!),
      text.subarray(at + random(5)),
    ]);
  },
  // Another number in place of one of the header's.
  (text, random) => {
    const numbers = [...text.toString('latin1').matchAll(/\d+/g)];
    if (numbers.length === 0) return text;
    const hit = numbers[random(numbers.length)]!;
    const value = [0, 1, Number(hit[0]) + 1, Number(hit[0]) * 2, 2 ** 53, -8, 2 ** 31][random(7)];
    return Buffer.concat([
      text.subarray(0, hit.index),
      Buffer.from(String(value)),
      text.subarray(hit.index + hit[0].length),
    ]);
  },
  // A stretch of the header copied somewhere else: entries twice, brackets that do not match.
  (text, random) => {
    const from = random(text.length);
    const part = text.subarray(from, from + random(200));
    const at = random(text.length);
    return Buffer.concat([text.subarray(0, at), part, text.subarray(at)]);
  },
];

function headersOf(bytes: Buffer): { header: Buffer; dataBytes: number } {
  const end = 8 + Number(bytes.readBigUInt64LE());
  return { header: bytes.subarray(8, end), dataBytes: bytes.length - end };
}

const SEEDS = [
  headersOf(readFileSync(join(goldenFolder('llama-bias'), 'model.safetensors'))),
  headersOf(
    fileBytes(
      {
        a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
        b: { dtype: 'F4', shape: [4], data_offsets: [24, 26] },
        c: { dtype: 'BF16', shape: [], data_offsets: [26, 28] },
      },
      28,
    ),
  ),
];

/** What every accepted header guarantees to native code. Plain comparisons: expect is slow in loops. */
function checkAccepted(tensors: StoredTensor[], dataStart: number, size: number): void {
  const isCount = (n: number) => Number.isSafeInteger(n) && n >= 0;
  let end = dataStart;
  for (const t of tensors) {
    if (t.offset !== end || !isCount(t.bytes) || !t.shape.every(isCount))
      throw new Error(`accepted at ${end}: ${JSON.stringify(t)}`);
    end += t.bytes;
  }
  if (end !== size) throw new Error(`accepted ${end} bytes of ${size}`);
  if (new Set(tensors.map((t) => t.name)).size !== tensors.length) throw new Error('a name twice');
}

function checkRefused(error: unknown): void {
  if (!EngineError.is(error)) throw error;
  const { code, message } = error;
  if (code !== 'checkpoint_invalid' || !/expected/.test(message) || message.length > 1500)
    throw new Error(`refused with ${code}: ${message}`);
}

test('20000 broken headers: accepted with all guarantees, or refused with an EngineError', () => {
  const random = generator(1);
  let accepted = 0;
  let refused = 0;
  for (let i = 0; i < 20_000; i++) {
    const { header, dataBytes } = SEEDS[random(SEEDS.length)]!;
    let text = header;
    for (let n = 1 + random(2); n > 0 && text.length > 0; n--)
      text = MUTATIONS[random(MUTATIONS.length)]!(text, random);
    // Sometimes the file's size moves along with the lie.
    const size = 8 + text.length + dataBytes + (random(8) === 0 ? random(64) - 32 : 0);
    try {
      checkAccepted(parseHeader('fuzz', size, text), 8 + text.length, size);
      accepted++;
    } catch (error) {
      checkRefused(error);
      refused++;
    }
  }
  // Renamed tensors are still valid files; were nearly all accepted or none, the fuzzer would be idle.
  expect(accepted).toBeGreaterThan(50);
  expect(refused).toBeGreaterThan(10_000);
});

test('length fields of all kinds', () => {
  const random = generator(2);
  for (let i = 0; i < 5_000; i++) {
    const prefix = Buffer.from(
      Array.from({ length: random(9) }, () => (random(3) ? 0 : random(256))),
    );
    const size = prefix.length < 8 ? prefix.length : 8 + random(1000);
    try {
      const length = headerLength('fuzz', size, prefix);
      if (length > size - 8) throw new Error(`accepted a header of ${length} in ${size} bytes`);
    } catch (error) {
      checkRefused(error);
    }
  }
});

test('whole files with bytes changed anywhere', async () => {
  const random = generator(3);
  const file = join(tempFolder(), 'fuzz.safetensors');
  for (let i = 0; i < 300; i++) {
    const { header, dataBytes } = SEEDS[1]!;
    const bytes = fileBytes(header.toString('latin1'), dataBytes);
    for (let n = 1 + random(3); n > 0; n--) bytes[random(bytes.length)] = random(256);
    const cut = random(3) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
    writeFileSync(file, cut);
    await readHeader(file).catch(checkRefused);
  }
});
