import { afterAll, describe, expect, it } from 'vitest';
import { Tokenizer } from '../../lib/text/tokenizer.js';
import {
  byteLevelIds,
  byteLevelTokenizer,
  folderWith,
  randomInts,
  reference,
  removeFolders,
  sentencePieceTokenizer,
  spIds,
  unigramTokenizer,
} from './text-fixtures.js';

afterAll(removeFolders);

const load = async (json: unknown, files: Record<string, unknown> = {}) =>
  Tokenizer.load(await folderWith({ 'tokenizer.json': json, ...files }));
const utf8 = (text: string) => new TextEncoder().encode(text);

describe('byte-level BPE', () => {
  const { he, hel, spaceW, eAcute, end, toolCall, accented } = byteLevelIds;

  it('encodes with merges, added tokens and nothing around the text', async () => {
    const tokenizer = await load(byteLevelTokenizer());
    const ids = await tokenizer.encode('hello wé<|end|>');
    expect([...ids]).toEqual([hel, 0x6c, 0x6f, spaceW, eAcute, end]);
    expect(ids).toBeInstanceOf(Int32Array);
    expect([...(await tokenizer.encode(''))]).toEqual([]);
    expect(tokenizer.vocabSize).toBe(263);
  });

  it('gives exact bytes, also of tokens that are no text by themselves', async () => {
    const tokenizer = await load(byteLevelTokenizer());
    for (let byte = 0; byte < 256; byte++) expect([...tokenizer.tokenBytes(byte)]).toEqual([byte]);
    expect(tokenizer.tokenBytes(spaceW)).toEqual(utf8(' w'));
    expect(tokenizer.tokenBytes(eAcute)).toEqual(utf8('é'));
    expect(tokenizer.tokenBytes(end)).toEqual(utf8('<|end|>'));
    expect(tokenizer.tokenText(0xc3)).toBe('\u{fffd}');
    expect(tokenizer.tokenText(he)).toBe('he');
  });

  it('takes an added token as plain text, not through the byte map', async () => {
    // Hugging Face's decoder makes the byte 0xEF of its "ï" and so "na\u{fffd}ve".
    const json = byteLevelTokenizer();
    const tokenizer = await load(json);
    const ids = await tokenizer.encode('naïve');
    expect([...ids]).toEqual([accented]);
    expect(tokenizer.decode(ids)).toBe('naïve');
    expect(await reference(json).decode([accented], false)).toBe('na\u{fffd}ve');
  });

  it('tells special tokens from other added ones', async () => {
    const tokenizer = await load(byteLevelTokenizer());
    expect([end, toolCall, he].map((id) => tokenizer.isSpecial(id))).toEqual([true, false, false]);
    const ids = [he, end, toolCall, 0x21];
    expect(tokenizer.decode(ids)).toBe('he<|end|><tool_call>!');
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('he<tool_call>!');
    expect(tokenizer.tokenToId('<|end|>')).toBe(end);
    expect(tokenizer.tokenToId('no such token')).toBeNull();
  });

  it('decodes as Hugging Face does, invalid UTF-8 included', async () => {
    const json = byteLevelTokenizer();
    const tokenizer = await load(json);
    const hf = reference(json);
    const random = randomInts(1);
    for (let round = 0; round < 200; round++) {
      const ids = Array.from({ length: 1 + random(40) }, () => random(accented));
      for (const skipSpecialTokens of [false, true])
        expect(tokenizer.decode(ids, { skipSpecialTokens })).toBe(
          await hf.decode(ids, skipSpecialTokens),
        );
    }
  });

  it('skips ids that no token has', async () => {
    const tokenizer = await load(byteLevelTokenizer());
    expect(tokenizer.decode([he, 263, 99_999, -1, 0x21])).toBe('he!');
    expect(tokenizer.tokenBytes(263)).toHaveLength(0);
    expect(tokenizer.isSpecial(263)).toBe(false);
    expect(tokenizer.hasId(263)).toBe(false);
  });

  it('keeps a byte order mark and replaces half a surrogate pair', async () => {
    const tokenizer = await load(byteLevelTokenizer());
    expect(tokenizer.decode(await tokenizer.encode('\u{feff}he'))).toBe('\u{feff}he');
    expect(tokenizer.decode(await tokenizer.encode('a\u{d83d}b'))).toBe('a\u{fffd}b');
    expect(tokenizer.decode(await tokenizer.encode('a\0b'))).toBe('a\0b');
  });

  it('never truncates or pads, whatever the file says', async () => {
    const tokenizer = await load({
      ...byteLevelTokenizer(),
      truncation: { direction: 'Right', max_length: 4, strategy: 'LongestFirst', stride: 0 },
      padding: {
        strategy: { Fixed: 8 },
        direction: 'Right',
        pad_to_multiple_of: null,
        pad_id: end,
        pad_type_id: 0,
        pad_token: '<|end|>',
      },
    });
    expect(await tokenizer.encode('abcdefghijkl')).toHaveLength(12);
    expect(await tokenizer.encode('a')).toHaveLength(1);
  });
});

describe('SentencePiece BPE with byte fallback', () => {
  it('encodes with BOS by default and without on request', async () => {
    const tokenizer = await load(sentencePieceTokenizer());
    expect([...(await tokenizer.encode('hello world'))]).toEqual([1, spIds.hello, spIds.world]);
    expect([...(await tokenizer.encode('hello', { addSpecialTokens: false }))]).toEqual([
      spIds.hello,
    ]);
    expect([...(await tokenizer.encode('é', { addSpecialTokens: false }))]).toEqual([
      spIds.space,
      3 + 0xc3,
      3 + 0xa9,
    ]);
  });

  it('gives bytes of pieces and of byte tokens', async () => {
    const tokenizer = await load(sentencePieceTokenizer());
    expect(tokenizer.tokenBytes(spIds.hello)).toEqual(utf8(' hello'));
    expect([...tokenizer.tokenBytes(3 + 0xe4)]).toEqual([0xe4]);
    expect(tokenizer.tokenBytes(1)).toEqual(utf8('<s>'));
  });

  it('takes one leading space off a text, and none off a continuation', async () => {
    const tokenizer = await load(sentencePieceTokenizer());
    const ids = [spIds.hello, spIds.world];
    expect(tokenizer.decode(ids)).toBe('hello world');
    expect(tokenizer.decode(ids, { continues: true })).toBe(' hello world');
    expect(tokenizer.decode([spIds.space, spIds.space, ...ids])).toBe('  hello world');
    expect(tokenizer.decode([1, ...ids], { skipSpecialTokens: true })).toBe('hello world');
    expect(tokenizer.decode([1, ...ids])).toBe('<s> hello world');
  });

  it('decodes what it encodes as Hugging Face does', async () => {
    const json = sentencePieceTokenizer();
    const tokenizer = await load(json);
    const hf = reference(json);
    for (const text of ['hello', '  hello  world ', 'naïve 你好 🙂', '', ' ', 'a\nb', '▁']) {
      const ids = await tokenizer.encode(text);
      expect([...ids]).toEqual((await hf.encode(text, null, { addSpecialTokens: true })).getIds());
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(
        await hf.decode([...ids], true),
      );
    }
  });

  it('replaces invalid bytes only, not the whole run of byte tokens as Hugging Face does', async () => {
    const json = sentencePieceTokenizer();
    const ids = [0xe4, 0xbd, 0xa0, 0xff].map((byte) => 3 + byte);
    expect((await load(json)).decode(ids)).toBe('你\u{fffd}');
    expect(await reference(json).decode(ids, false)).toBe('\u{fffd}'.repeat(4));
  });

  it('lets add_bos_token and add_eos_token decide for the classes that transformers does so for', async () => {
    const encode = async (config: unknown) => {
      const tokenizer = await load(sentencePieceTokenizer(), { 'tokenizer_config.json': config });
      return [...(await tokenizer.encode('hello'))];
    };
    const tokens = { bos_token: '<s>', eos_token: { content: '</s>', __type: 'AddedToken' } };
    const llama = { ...tokens, tokenizer_class: 'LlamaTokenizerFast' };
    const { hello } = spIds;
    expect(await encode({ ...llama, add_bos_token: false })).toEqual([hello]);
    expect(await encode({ ...llama, add_bos_token: true, add_eos_token: true })).toEqual([
      1,
      hello,
      2,
    ]);
    expect(await encode(llama)).toEqual([1, hello]);
    expect(
      await encode({ ...tokens, tokenizer_class: 'Qwen2Tokenizer', add_bos_token: false }),
    ).toEqual([1, hello]);
  });
});

describe('Unigram with Metaspace', () => {
  it('decodes every sequence as Hugging Face does', async () => {
    const json = unigramTokenizer();
    const tokenizer = await load(json);
    const hf = reference(json);
    const random = randomInts(2);
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: random(6) }, () => random(9));
      for (const skipSpecialTokens of [false, true])
        expect(tokenizer.decode(ids, { skipSpecialTokens })).toBe(
          await hf.decode(ids, skipSpecialTokens),
        );
    }
  });

  it('encodes, and keeps the first space of a continuation', async () => {
    const tokenizer = await load(unigramTokenizer());
    const ids = await tokenizer.encode('ab a');
    expect([...ids]).toEqual([2, 3, 2]);
    expect(tokenizer.decode(ids)).toBe('ab a');
    expect(tokenizer.decode(ids, { continues: true })).toBe(' ab a');
    expect(tokenizer.tokenBytes(2)).toEqual(utf8(' a'));
  });
});

describe('other rules for the front of a text', () => {
  it('Strip takes as many as it says', async () => {
    const json = sentencePieceTokenizer();
    const { decoders } = json.decoder as { decoders: { start?: number }[] };
    decoders[3]!.start = 2;
    const tokenizer = await load(json);
    const { hello, space } = spIds;
    for (const ids of [[hello], [space, hello], [space, space, hello], [space, space]])
      expect(tokenizer.decode(ids)).toBe(await reference(json).decode(ids, false));
  });

  it('Metaspace keeps the first space where it adds none', async () => {
    for (const change of [{ prepend_scheme: 'never' }, { prepend_scheme: 'first' }]) {
      const json = unigramTokenizer();
      Object.assign(json.decoder as object, change);
      const tokenizer = await load(json);
      for (const ids of [[2, 2], [4, 2], [6]])
        expect(tokenizer.decode(ids)).toBe(await reference(json).decode(ids, false));
    }
  });
});

describe('what the configuration adds', () => {
  it('knows the special tokens from tokenizer_config.json, then special_tokens_map.json', async () => {
    const tokenizer = await load(byteLevelTokenizer(), {
      'tokenizer_config.json': { eos_token: { content: '<|end|>' }, bos_token: null },
      'special_tokens_map.json': { pad_token: '<|end|>', eos_token: 'x' },
    });
    expect(tokenizer.eosToken).toBe('<|end|>');
    expect(tokenizer.eosTokenId).toBe(byteLevelIds.end);
    expect(tokenizer.padToken).toBe('<|end|>');
    expect(tokenizer.padTokenId).toBe(byteLevelIds.end);
    expect(tokenizer.bosToken).toBeNull();
    expect(tokenizer.bosTokenId).toBeNull();
  });

  it('makes a token special that only the configuration calls so', async () => {
    const tokenizer = await load(byteLevelTokenizer(), {
      'tokenizer_config.json': {
        eos_token: 'he',
        added_tokens_decoder: { 261: { content: '<tool_call>', special: true } },
      },
    });
    const { he } = byteLevelIds;
    expect(tokenizer.isSpecial(he)).toBe(true);
    expect(tokenizer.isSpecial(byteLevelIds.toolCall)).toBe(true);
    expect(tokenizer.decode([he, 0x21], { skipSpecialTokens: true })).toBe('!');
    // Found in a prompt before any merge: "hel" is a token otherwise.
    expect([...(await tokenizer.encode('hel'))]).toEqual([he, 0x6c]);
  });

  it('keeps the ids of the file where added tokens leave gaps', async () => {
    const json = byteLevelTokenizer();
    (json.added_tokens as { id: number }[])[2]!.id = 300;
    const tokenizer = await load(json);
    expect([...(await tokenizer.encode('naïve!'))]).toEqual([300, 0x21]);
    expect(tokenizer.tokenToId('naïve')).toBe(300);
    expect(tokenizer.decode([300, 262])).toBe('naïve');
    expect(tokenizer.vocabSize).toBe(301);
  });

  it('collects chat templates; the newer files win', async () => {
    const config = (chat_template: unknown) => ({ 'tokenizer_config.json': { chat_template } });
    const templates = async (files: Record<string, unknown>) =>
      Object.fromEntries((await load(byteLevelTokenizer(), files)).chatTemplates);
    expect(await templates({})).toEqual({});
    expect(await templates(config('one'))).toEqual({ default: 'one' });
    expect(
      await templates(
        config([
          { name: 'default', template: 'a' },
          { name: 'tool_use', template: 'b' },
        ]),
      ),
    ).toEqual({ default: 'a', tool_use: 'b' });
    expect(
      await templates({ ...config('one'), 'chat_template.json': { chat_template: 'two' } }),
    ).toEqual({ default: 'two' });
    expect(await templates({ ...config('one'), 'chat_template.jinja': 'three' })).toEqual({
      default: 'three',
    });
  });
});
