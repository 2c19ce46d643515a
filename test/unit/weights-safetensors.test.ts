import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MAX_HEADER_BYTES, parseHeader, readHeader } from '../../lib/weights/safetensors.js';
import { fileBytes, type Header, loadFailure, tempFolder } from './weights-fixtures.js';

const file = join(tempFolder(), 'model.safetensors');
const a = { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] };
const b = { dtype: 'BF16', shape: [4], data_offsets: [24, 32] };

function read(header: Header | string, dataBytes: number) {
  writeFileSync(file, fileBytes(header, dataBytes));
  return readHeader(file);
}

describe('a valid file', () => {
  test('tensors come in file order with offsets from its start', async () => {
    const header = { b, __metadata__: { format: 'pt' }, a };
    const start = 8 + JSON.stringify(header).length;
    expect(await read(header, 32)).toEqual([
      { name: 'a', file, offset: start, bytes: 24, dtype: 'F32', shape: [2, 3] },
      { name: 'b', file, offset: start + 24, bytes: 8, dtype: 'BF16', shape: [4] },
    ]);
  });

  test('no alignment is assumed, padding and odd names are fine, scalars and empty tensors count', async () => {
    const header = {
      'ä "quoted" \\ name': { dtype: 'U8', shape: [3], data_offsets: [0, 3] },
      empty: { dtype: 'F32', shape: [0, 7], data_offsets: [3, 3] },
      __proto__x: { dtype: 'F16', shape: [], data_offsets: [3, 5] },
      packed: { dtype: 'F4', shape: [4], data_offsets: [5, 7] },
    };
    const tensors = await read(`${JSON.stringify(header)}     `, 7);
    expect(tensors.map((t) => t.bytes)).toEqual([3, 0, 2, 2]);
    expect(tensors.map((t) => t.name)).toEqual(Object.keys(header));
  });

  test('"__proto__" is a name like any other', async () => {
    const [tensor] = await read('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1);
    expect(tensor!.name).toBe('__proto__');
  });

  test('an empty one', async () => {
    expect(await read('{}', 0)).toEqual([]);
  });
});

describe('refused before a byte is used', () => {
  const cases: [string, Header | string, number, (string | RegExp)[]][] = [
    [
      'data that ends early',
      { a, b },
      30,
      [/expected \d+ bytes, received \d+: 2 bytes are missing \(truncated\)/, 'again'],
    ],
    ['data after the last tensor', { a, b }, 37, [/5 bytes at the end belong to no tensor/]],
    [
      'overlap',
      { a, b: { ...b, data_offsets: [20, 28] } },
      28,
      ['"b" overlaps "a"', 'expected its data at offset 24, received 20'],
    ],
    ['the same bytes twice', { a, c: a }, 24, ['overlaps']],
    [
      'a hole',
      { a, b: { ...b, data_offsets: [28, 36] } },
      36,
      ['"b" leaves a hole before it', 'at offset 24, received 28'],
    ],
    ['a hole at the start', { b }, 32, ['expected its data at offset 0, received 24']],
    [
      'a size that is not the shape’s',
      { a: { ...a, shape: [2, 4] } },
      24,
      ['"a": expected 32 bytes for F32 [2,4], received 24', 'lies about a size'],
    ],
    [
      'an unknown dtype',
      { a: { ...a, dtype: 'F31' } },
      24,
      ['expected a dtype among', 'BF16', 'received "F31"'],
    ],
    ['no dtype', { a: { shape: [1], data_offsets: [0, 4] } }, 4, ['received nothing']],
    [
      'a fractional shape',
      { a: { ...a, shape: [2.5, 3] } },
      24,
      ['expected a shape of whole numbers, received [2.5,3]'],
    ],
    ['a negative shape', { a: { ...a, shape: [-2, -3] } }, 24, ['whole numbers, received [-2,-3]']],
    ['a shape beyond 2^53', { a: { ...a, shape: [2 ** 40, 2 ** 40] } }, 24, ['below 2^53']],
    [
      'a count beyond 2^53',
      `{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,9007199254740993]}}`,
      1,
      ['whole numbers'],
    ],
    [
      'infinities',
      `{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}}`,
      1,
      ['whole numbers'],
    ],
    [
      'reversed offsets',
      { a: { ...a, data_offsets: [24, 0] } },
      24,
      ['begin <= end, received [24,0]'],
    ],
    ['three offsets', { a: { ...a, data_offsets: [0, 24, 24] } }, 24, ['[begin, end]']],
    [
      'part of a byte',
      { a: { dtype: 'F4', shape: [3], data_offsets: [0, 2] } },
      2,
      ['whole bytes'],
    ],
    [
      'an entry that is a list',
      { a: [1] },
      0,
      ['"a": expected dtype, shape and data_offsets, received [1]'],
    ],
    ['an entry with more in it', { a: { ...a, more: 1 } }, 24, ['received also "more"']],
    ['metadata that is not strings', { __metadata__: { n: 1 } }, 0, ['strings to strings']],
    ['a list', '[]', 0, ['JSON object, received []']],
    ['text that is not JSON', '{"a":', 0, ['not JSON']],
    ['an empty header', '', 0, ['not JSON']],
    ['a key twice', `{"a":${JSON.stringify(a)},"a":${JSON.stringify(a)}}`, 24, ['"a" twice']],
    [
      'a key twice, once escaped',
      `{"a":${JSON.stringify(a)},"\\u0061":${JSON.stringify(a)}}`,
      24,
      ['"a" twice'],
    ],
    [
      'a field twice',
      '{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}',
      1,
      ['"dtype" twice'],
    ],
    ['deep nesting', `${'['.repeat(1_000_000)}`, 0, ['nested at most 3 deep']],
  ];
  test.each(cases)('%s', async (_, header, dataBytes, parts) => {
    await loadFailure(() => read(header, dataBytes), 'checkpoint_invalid', file, ...parts);
  });

  test('a file shorter than its length field, and an empty one', async () => {
    for (const bytes of [0, 5]) {
      writeFileSync(file, Buffer.alloc(bytes));
      await loadFailure(
        () => readHeader(file),
        'checkpoint_invalid',
        file,
        `received ${bytes} bytes`,
      );
    }
  });

  test('a header that reaches beyond the file, or beyond the limit', async () => {
    const bytes = fileBytes({ a }, 24);
    bytes.writeBigUInt64LE(BigInt(bytes.length - 7));
    writeFileSync(file, bytes);
    await loadFailure(
      () => readHeader(file),
      'checkpoint_invalid',
      `header of ${bytes.length - 7} bytes`,
      'truncated',
    );
    for (const length of [BigInt(MAX_HEADER_BYTES) + 1n, 2n ** 64n - 1n]) {
      bytes.writeBigUInt64LE(length);
      writeFileSync(file, bytes);
      await loadFailure(
        () => readHeader(file),
        'checkpoint_invalid',
        `at most ${MAX_HEADER_BYTES}`,
        `${length}`,
      );
    }
  });

  test('a large file whose header length is read as a number of its own', async () => {
    writeFileSync(file, Buffer.from('GGUF\x03\0\0\0'));
    truncateSync(file, 1 << 20);
    await loadFailure(() => readHeader(file), 'checkpoint_invalid', 'not a safetensors file');
  });

  test('folders, pipes and missing files', async () => {
    const folder = tempFolder();
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    for (const path of [folder, pipe])
      await loadFailure(
        () => readHeader(path),
        'checkpoint_invalid',
        path,
        'expected a safetensors file',
      );
    await loadFailure(() => readHeader(join(folder, 'none')), 'checkpoint_invalid', 'ENOENT');
  });

  test('bytes that are not UTF-8 in a name', () => {
    const bytes = Buffer.from(JSON.stringify({ x: a }));
    bytes[2] = 0xff;
    return loadFailure(
      () => parseHeader(file, bytes.length + 32, bytes),
      'checkpoint_invalid',
      'not JSON',
    );
  });
});
