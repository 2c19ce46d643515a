import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { Tokenizer } from '../../lib/text/tokenizer.js';
import {
  byteLevelTokenizer,
  folderWith,
  randomInts,
  removeFolders,
  sentencePieceTokenizer,
  unigramTokenizer,
} from './text-fixtures.js';

afterAll(removeFolders);

async function loadFailure(files: Record<string, unknown>): Promise<EngineError> {
  const folder = await folderWith(files);
  const error = await Tokenizer.load(folder).then(
    () => null,
    (e: unknown) => e,
  );
  if (!EngineError.is(error)) throw new Error(`expected an EngineError, received ${error}`);
  expect(error.code).toBe('tokenizer_invalid');
  expect(error.status).toBe(400);
  return error;
}

describe('files that are not a tokenizer', () => {
  const changed = (change: object) => ({
    'tokenizer.json': { ...byteLevelTokenizer(), ...change },
  });

  it('says which file is missing and how to make it', async () => {
    const error = await loadFailure({ 'vocab.json': {}, 'merges.txt': '' });
    expect(error.message).toMatch(/tokenizer\.json is missing.*vocab\.json.*save_pretrained/);
    await expect(Tokenizer.load('/no/such/folder')).rejects.toThrow(/is not a folder/);
  });

  it('refuses truncated JSON, also in the other files', async () => {
    const text = JSON.stringify(byteLevelTokenizer());
    const cut = await loadFailure({ 'tokenizer.json': text.slice(0, 1000) });
    expect(cut.message).toMatch(/tokenizer\.json: expected JSON.*truncated/);
    const list = await loadFailure({ 'tokenizer.json': '[]' });
    expect(list.message).toMatch(/expected a JSON object/);
    const config = await loadFailure({
      'tokenizer.json': text,
      'tokenizer_config.json': '{"eos_token": ',
    });
    expect(config.message).toMatch(/tokenizer_config\.json: expected JSON/);
  });

  it('refuses what the native parser refuses, with its words', async () => {
    const error = await loadFailure(changed({ model: { type: 'BPE', vocab: { a: 'one' } } }));
    expect(error.message).toMatch(/is not a tokenizer that Hugging Face tokenizers/);
    await loadFailure({ 'tokenizer.json': '{}' });
  });

  it('refuses other models and decoders by name', async () => {
    const wordPiece = {
      type: 'WordPiece',
      unk_token: 'a',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: { a: 0 },
    };
    const model = await loadFailure(changed({ model: wordPiece, added_tokens: [] }));
    expect(model.message).toMatch(/expected a model of type BPE or Unigram, received "WordPiece"/);
    const cases: [unknown, RegExp][] = [
      [null, /expected a "decoder" with a "type".*received null/],
      [{ type: 'WordPiece', prefix: '##', cleanup: true }, /WordPiece is unknown/],
      [
        { type: 'Replace', pattern: { Regex: 'a+' }, content: 'b' },
        /Replace needs a pattern of the form/,
      ],
      [{ type: 'Strip', content: ' ', start: 1, stop: 0 }, /Strip must come after Fuse/],
      [
        {
          type: 'Sequence',
          decoders: [{ type: 'Fuse' }, { type: 'Strip', content: ' ', start: 0, stop: 1 }],
        },
        /Strip needs .*"stop": 0/,
      ],
      [
        { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'ByteFallback' }] },
        /Fuse > ByteFallback is not supported/,
      ],
    ];
    for (const [decoder, message] of cases)
      expect((await loadFailure(changed({ decoder }))).message).toMatch(message);
  });

  it('refuses ids that cannot be', async () => {
    const { added_tokens: added } = byteLevelTokenizer() as { added_tokens: { id: number }[] };
    const huge = await loadFailure(
      changed({ added_tokens: [added[0], { ...added[1], id: 4_000_000_000 }] }),
    );
    expect(huge.message).toMatch(/"<tool_call>" has id 4000000000; expected an integer from 0/);
    const twice = await loadFailure(
      changed({ added_tokens: [added[0], { ...added[1], id: 260 }] }),
    );
    expect(twice.message).toMatch(/"<\|end\|>" and "<tool_call>" both say id 260/);
  });

  it('refuses a chat template of another shape', async () => {
    const error = await loadFailure({
      'tokenizer.json': byteLevelTokenizer(),
      'tokenizer_config.json': { chat_template: [{ name: 'default' }] },
    });
    expect(error.message).toMatch(/expected "chat_template" to be a string or a list/);
  });

  it('loads or refuses whatever a file says: nothing else is thrown', async () => {
    const random = randomInts(6);
    const strange = [null, true, -1, 1.5, 2 ** 32, '', 'a', [], {}, [null], { type: 'ByteLevel' }];
    /** Replaces, removes or doubles one value somewhere in the file. */
    const mutate = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null || random(4) === 0)
        return strange[random(strange.length)];
      if (Array.isArray(value)) {
        const copy = [...value];
        const at = random(copy.length + 1);
        if (random(3) === 0) copy.splice(at, 1);
        else copy[at] = mutate(copy[at]);
        return copy;
      }
      const entries = Object.entries(value);
      const at = random(entries.length);
      if (entries.length === 0) return null;
      if (random(3) === 0) entries.splice(at, 1);
      else entries[at]![1] = mutate(entries[at]![1]);
      return Object.fromEntries(entries);
    };
    const sources = [byteLevelTokenizer(), sentencePieceTokenizer(), unigramTokenizer()];
    const folder = await folderWith({});
    let refused = 0;
    for (let round = 0; round < 250; round++) {
      const json = mutate(sources[round % sources.length]);
      const config = mutate({
        bos_token: '<s>',
        eos_token: { content: '</s>' },
        chat_template: [],
      });
      await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(json));
      await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
      try {
        const tokenizer = await Tokenizer.load(folder);
        tokenizer.decode(Array.from({ length: tokenizer.vocabSize }, (_, id) => id));
      } catch (error) {
        if (!EngineError.is(error)) throw error;
        expect(error.code).toBe('tokenizer_invalid');
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(40);
    expect(refused).toBeLessThan(250);
  });
});
