import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IncrementalDetokenizer, incompleteSuffix } from '../../lib/text/detokenize.js';
import { Tokenizer } from '../../lib/text/tokenizer.js';
import {
  byteLevelTokenizer,
  folderWith,
  randomInts,
  removeFolders,
  sentencePieceTokenizer,
  spIds,
  unigramTokenizer,
} from './text-fixtures.js';

const tokenizers: Record<'byteLevel' | 'sentencePiece' | 'unigram', Tokenizer> = {} as never;

beforeAll(async () => {
  const load = async (json: unknown) =>
    Tokenizer.load(await folderWith({ 'tokenizer.json': json }));
  tokenizers.byteLevel = await load(byteLevelTokenizer());
  tokenizers.sentencePiece = await load(sentencePieceTokenizer());
  tokenizers.unigram = await load(unigramTokenizer());
});
afterAll(removeFolders);

/** One text per token, then what flush gave. */
function pieces(
  tokenizer: Tokenizer,
  ids: Iterable<number>,
  { skipSpecialTokens = false, continues = false } = {},
): string[] {
  const detokenizer = new IncrementalDetokenizer(tokenizer, { skipSpecialTokens, continues });
  return [...Array.from(ids, (id) => detokenizer.push(id)), detokenizer.flush()];
}

it('holds back the bytes of an unfinished character', () => {
  const { byteLevel } = tokenizers;
  expect(pieces(byteLevel, new TextEncoder().encode('a€🙂b'))).toEqual([
    'a',
    '',
    '',
    '€',
    '',
    '',
    '',
    '🙂',
    'b',
    '',
  ]);
});

it('gives U+FFFD for bytes that cannot be completed, as soon as that is certain', () => {
  const { byteLevel } = tokenizers;
  const fffd = '\u{fffd}';
  expect(pieces(byteLevel, [0xf0, 0x9f])).toEqual(['', '', fffd]);
  expect(pieces(byteLevel, [0xf0, 0x9f, 0x61])).toEqual(['', '', `${fffd}a`, '']);
  expect(pieces(byteLevel, [0xff, 0x80])).toEqual([fffd, fffd, '']);
  expect(pieces(byteLevel, [0xed, 0xa0, 0x80])).toEqual(['', fffd + fffd, fffd, '']);
  expect(pieces(byteLevel, [0xe2, 0x82, 0xe2, 0x82, 0xac])).toEqual(['', '', fffd, '', '€', '']);
});

it('goes over special tokens inside a character when they are skipped', () => {
  const { byteLevel } = tokenizers;
  const end = byteLevel.tokenToId('<|end|>')!;
  const ids = [0xe2, end, 0x82, 0xac];
  expect(pieces(byteLevel, ids, { skipSpecialTokens: true }).join('')).toBe('€');
  expect(pieces(byteLevel, ids).join('')).toBe('\u{fffd}<|end|>\u{fffd}\u{fffd}');
});

it('keeps the special tokens that it is told to, and skips the others', () => {
  const { byteLevel } = tokenizers;
  const end = byteLevel.tokenToId('<|end|>')!;
  const show = (keep: number[]) => {
    const options = { skipSpecialTokens: true, keep: new Set(keep) };
    const detokenizer = new IncrementalDetokenizer(byteLevel, options);
    return [97, end, 98].map((id) => detokenizer.push(id));
  };
  expect(show([end])).toEqual(['a', '<|end|>', 'b']);
  expect(show([97])).toEqual(['a', '', 'b']);
});

it('takes the leading space of SentencePiece off once, wherever the first text comes', () => {
  const { sentencePiece } = tokenizers;
  const { hello, world, space } = spIds;
  expect(pieces(sentencePiece, [hello, world])).toEqual(['hello', ' world', '']);
  expect(pieces(sentencePiece, [space, hello])).toEqual(['', ' hello', '']);
  expect(pieces(sentencePiece, [1, hello], { skipSpecialTokens: true })).toEqual(['', 'hello', '']);
  expect(pieces(sentencePiece, [hello], { continues: true })).toEqual([' hello', '']);
  const bytes = [...new TextEncoder().encode(' é ')].map((byte) => 3 + byte);
  expect(pieces(sentencePiece, bytes)).toEqual(['', '', 'é', ' ', '']);
});

describe('over random tokens', () => {
  const random = randomInts(3);
  const sequences = Array.from({ length: 400 }, () =>
    Array.from({ length: random(60) }, () => random(1 << 16)),
  );

  it.each(['byteLevel', 'sentencePiece', 'unigram'] as const)(
    '%s: the joined texts are decode()',
    (name) => {
      const tokenizer = tokenizers[name];
      for (const sequence of sequences) {
        const ids = sequence.map((number) => number % (tokenizer.vocabSize + 1));
        for (const skipSpecialTokens of [false, true]) {
          for (const continues of [false, true]) {
            const options = { skipSpecialTokens, continues };
            const parts = pieces(tokenizer, ids, options);
            expect(parts.join('')).toBe(tokenizer.decode(ids, options));
            for (const part of parts) expect(part).not.toMatch(/\p{Surrogate}/u);
          }
        }
      }
    },
  );

  it.each(['byteLevel', 'sentencePiece'] as const)(
    '%s: the text is that of the joined bytes',
    (name) => {
      const tokenizer = tokenizers[name];
      for (const sequence of sequences) {
        const ids = sequence.map((number) => number % tokenizer.vocabSize);
        const bytes = ids.flatMap((id) => [...tokenizer.tokenBytes(id)]);
        const expected = new TextDecoder('utf-8', { ignoreBOM: true }).decode(
          Uint8Array.from(bytes),
        );
        expect(pieces(tokenizer, ids, { continues: true }).join('')).toBe(expected);
      }
    },
  );

  it('never holds back more than the beginning of one character', () => {
    const { byteLevel } = tokenizers;
    for (const sequence of sequences) {
      const ids = sequence.map((number) => number % 256);
      const detokenizer = new IncrementalDetokenizer(byteLevel, { skipSpecialTokens: false });
      const taken: number[] = [];
      let text = '';
      for (const id of ids) {
        text += detokenizer.push(id);
        taken.push(id);
        const all = new TextDecoder('utf-8', { ignoreBOM: true });
        const soFar = all.decode(Uint8Array.from(taken), { stream: true });
        expect(text).toBe(soFar);
        expect(detokenizer.holdsBack).toBe(incompleteSuffix(Uint8Array.from(taken)) > 0);
      }
    }
  });
});

it('incompleteSuffix knows exactly the beginnings of characters', () => {
  const beginnings = new Set<string>();
  const encoder = new TextEncoder();
  for (let code = 0x80; code <= 0x10ffff; code++) {
    // All characters of a block of 64 have the same beginnings.
    if (code % 64 !== 0 || (code >= 0xd800 && code <= 0xdfff)) continue;
    const bytes = encoder.encode(String.fromCodePoint(code));
    for (let length = 1; length < bytes.length; length++)
      beginnings.add(bytes.subarray(0, length).join());
  }
  const interesting = Array.from({ length: 256 }, (_, byte) => byte).filter(
    (byte) => byte >= 0xc0 || byte % 16 === 0 || byte % 16 === 15,
  );
  const check = (bytes: number[]) => {
    let expected = 0;
    for (let length = 1; length <= bytes.length; length++)
      if (beginnings.has(bytes.slice(bytes.length - length).join())) expected = length;
    if (incompleteSuffix(Uint8Array.from(bytes)) !== expected)
      expect.fail(
        `[${bytes}]: expected ${expected}, received ${incompleteSuffix(Uint8Array.from(bytes))}`,
      );
  };
  check([]);
  for (const a of interesting) {
    check([a]);
    for (const b of interesting) {
      check([a, b]);
      for (const c of interesting) {
        check([a, b, c]);
        check([0xf0, a, b, c]);
      }
    }
  }
});
