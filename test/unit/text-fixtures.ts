import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

type Json = Record<string, unknown>;

const addedToken = (id: number, content: string, special: boolean) => ({
  id,
  content,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});

const file = (parts: Json): Json => ({
  version: '1.0',
  truncation: null,
  padding: null,
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  ...parts,
});

const bpe = (vocab: Record<string, number>, merges: string[], rest: Json = {}) => ({
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  vocab,
  merges,
  ...rest,
});

/** The character that GPT-2's map gives a byte, written here from its definition. */
export function byteChar(byte: number): string {
  const printable = (b: number) =>
    (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
  if (printable(byte)) return String.fromCharCode(byte);
  let index = 0;
  for (let b = 0; b < byte; b++) if (!printable(b)) index++;
  return String.fromCharCode(0x100 + index);
}

/** In the byte-level fixture the id of a byte is the byte; merged and added tokens follow. */
export const byteLevelIds = {
  he: 256,
  hel: 257,
  spaceW: 258,
  eAcute: 259,
  end: 260,
  toolCall: 261,
  accented: 262,
};

export function byteLevelTokenizer(): Json {
  const vocab: Record<string, number> = {};
  for (let byte = 0; byte < 256; byte++) vocab[byteChar(byte)] = byte;
  Object.assign(vocab, { he: 256, hel: 257, Ġw: 258, 'Ã©': 259 });
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: true,
  };
  return file({
    added_tokens: [
      addedToken(260, '<|end|>', true),
      addedToken(261, '<tool_call>', false),
      addedToken(262, 'naïve', false),
    ],
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: bpe(vocab, ['h e', 'he l', 'Ġ w', 'Ã ©']),
  });
}

/** Llama 2's shape: 0 unk, 1 <s>, 2 </s>, 3..258 bytes, then pieces. */
export const spIds = { hello: 268, world: 269, space: 259 };

export function sentencePieceTokenizer(): Json {
  const vocab: Record<string, number> = { '<unk>': 0, '<s>': 1, '</s>': 2 };
  for (let byte = 0; byte < 256; byte++)
    vocab[`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`] = 3 + byte;
  const pieces = ['▁', 'h', 'e', 'l', 'o', 'w', 'r', 'd', '▁▁', '▁hello', '▁world'];
  pieces.push('▁h', '▁he', '▁hel', '▁hell', '▁w', '▁wo', '▁wor', '▁worl');
  for (const piece of pieces) vocab[piece] = Object.keys(vocab).length;
  const merges = ['▁ h', '▁h e', '▁he l', '▁hel l', '▁hell o', '▁ w', '▁w o', '▁wo r'];
  merges.push('▁wor l', '▁worl d', '▁ ▁');
  return file({
    added_tokens: [
      addedToken(0, '<unk>', true),
      addedToken(1, '<s>', true),
      addedToken(2, '</s>', true),
    ],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: bpe(vocab, merges, { unk_token: '<unk>', fuse_unk: true, byte_fallback: true }),
  });
}

/** T5's shape: a Unigram model whose decoder is a Metaspace. */
export function unigramTokenizer(): Json {
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };
  return file({
    added_tokens: [addedToken(0, '<unk>', true), addedToken(7, '</s>', true)],
    pre_tokenizer: metaspace,
    decoder: metaspace,
    model: {
      type: 'Unigram',
      unk_id: 0,
      byte_fallback: false,
      vocab: [
        ['<unk>', 0],
        ['▁', -3],
        ['▁a', -1],
        ['b', -2],
        ['▁▁', -4],
        ['é', -2],
        ['a▁b', -5],
        ['</s>', 0],
      ],
    },
  });
}

const folders: string[] = [];

/** A model folder with these files; objects are written as JSON. Removed by {@link removeFolders}. */
export async function folderWith(files: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hotpath-text-'));
  folders.push(folder);
  for (const [name, content] of Object.entries(files))
    await writeFile(
      join(folder, name),
      typeof content === 'string' ? content : JSON.stringify(content),
    );
  return folder;
}

export async function removeFolders(): Promise<void> {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
}

/** Hugging Face's own tokenizer over the same file: the reference for ids and texts. */
export interface ReferenceTokenizer {
  encode(
    text: string,
    pair: null,
    options: { addSpecialTokens: boolean },
  ): Promise<{ getIds(): number[] }>;
  decode(ids: number[], skipSpecialTokens: boolean): Promise<string>;
}

export function reference(json: Json | string): ReferenceTokenizer {
  const { Tokenizer } = createRequire(import.meta.url)('tokenizers');
  return Tokenizer.fromString(typeof json === 'string' ? json : JSON.stringify(json));
}

/** A deterministic generator of uniform numbers below n (mulberry32). */
export function randomInts(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

const repository = fileURLToPath(new URL('../..', import.meta.url));
/** Published tokenizers, templates and vectors; not part of the repository, and not needed by it. */
export const sharedFolder = process.env.HOTPATH_SHARED ?? join(repository, '../shared');
export const hasShared = existsSync(join(sharedFolder, 'data'));

/** Lays the packed tokenizers out in a folder of their own. */
export async function unpackShared(): Promise<string> {
  const folder = await folderWith({});
  await promisify(execFile)(join(sharedFolder, 'tools/unpack-data'), [folder]);
  return folder;
}
