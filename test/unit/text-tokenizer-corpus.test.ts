/** Published tokenizers against Hugging Face's decode and against other projects' ids. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tokenizer } from '../../lib/text/tokenizer.js';
import {
  hasShared,
  type ReferenceTokenizer,
  randomInts,
  reference,
  removeFolders,
  sharedFolder,
  unpackShared,
} from './text-fixtures.js';

const names = ['gpt2', 'qwen3', 'deepseek-v3', 'gpt-oss'] as const;

/** Texts that are hard on boundaries, whitespace, normalisation and characters outside the BMP. */
const hardTexts = [
  '',
  ' ',
  '\n\n\n',
  '\t \r\n ',
  '   leading and trailing   ',
  "I'm you'll we've 'tis 'S",
  'e\u0301 \u00e9 \u1e9b\u0323 \ufb01 \u212b',
  '你好，世界 こんにちは 안녕하세요',
  'नमस्ते สวัสดี שלום مرحبا',
  '🙂👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪 \u{1f9d1}\u{1f3fd}',
  '\u{feff}bom \u200b zero \u00a0 nbsp \u2028',
  '\u0000\u0001\u007f\u0080\u009f',
  '\u{10ffff}\u{ffff}\u{e000}',
  '1234567890 3.14 1,000,000 ١٢٣ ½',
  'x'.repeat(3000),
  'const a = (b) => { return b?.c ?? [`d`]; } // §',
  '<|im_start|><|endoftext|><think></think><｜User｜>',
];

describe.runIf(hasShared)('published tokenizers', () => {
  const tokenizers = new Map<string, { ours: Tokenizer; hf: ReferenceTokenizer }>();
  const corpus = [...hardTexts];

  beforeAll(async () => {
    const folder = await unpackShared();
    for (const name of names) {
      const path = join(folder, 'tokenizers', name);
      tokenizers.set(name, {
        ours: await Tokenizer.load(path),
        hf: reference(readFileSync(join(path, 'tokenizer.json'), 'utf8')),
      });
    }
    const data = join(sharedFolder, 'data');
    const lines = (file: string) => readFileSync(join(data, file), 'utf8').trim().split('\n');
    corpus.push(readFileSync(join(data, 'prompts/vllm.sonnet.txt'), 'utf8'));
    corpus.push(
      ...lines('prompts/mt_bench.question.jsonl').flatMap((line) => JSON.parse(line).turns),
    );
    corpus.push(
      ...lines('prompts/gsm8k.test.jsonl')
        .slice(0, 100)
        .map((line) => JSON.parse(line).question),
    );
    const vectors = JSON.parse(readFileSync(join(data, 'vectors/hf-tokenizers-js.json'), 'utf8'));
    const texts = Object.values(vectors as Record<string, Record<string, { text: unknown }>>)
      .flatMap((cases) => Object.values(cases))
      .map(({ text }) => text)
      .filter((text) => typeof text === 'string');
    corpus.push(...new Set(texts));
  }, 120_000);
  afterAll(removeFolders);

  it.each(names)(
    '%s: ids and texts are those of Hugging Face',
    async (name) => {
      const { ours, hf } = tokenizers.get(name)!;
      expect(corpus.length).toBeGreaterThan(300);
      // deepseek-v3's added tokens have a gap before <|EOT|>: see Tokenizer.
      const end = name === 'deepseek-v3' ? ours.vocabSize - 6 : ours.vocabSize;
      for (const text of corpus) {
        const ids = await ours.encode(text, { addSpecialTokens: false });
        const expected = await hf.encode(text, null, { addSpecialTokens: false });
        expect([...ids]).toEqual(expected.getIds());
        for (const skip of [false, true])
          expect(ours.decode(ids, { skipSpecialTokens: skip })).toBe(
            await hf.decode([...ids], skip),
          );
      }
      const random = randomInts(5);
      for (let round = 0; round < 50; round++) {
        const ids = Array.from({ length: 300 }, () => random(end));
        for (const skip of [false, true])
          expect(ours.decode(ids, { skipSpecialTokens: skip })).toBe(await hf.decode(ids, skip));
      }
    },
    120_000,
  );

  it.each(names)(
    '%s: a text comes back, and its tokens are its bytes',
    async (name) => {
      const { ours } = tokenizers.get(name)!;
      for (const text of corpus) {
        // Qwen's tokenizer normalises to NFC.
        const whole = name === 'qwen3' ? text.normalize('NFC') : text;
        const ids = await ours.encode(text, { addSpecialTokens: false });
        expect(ours.decode(ids)).toBe(whole);
        const bytes = Buffer.concat([...ids].map((id) => ours.tokenBytes(id)));
        expect(bytes.equals(Buffer.from(whole))).toBe(true);
      }
    },
    120_000,
  );

  it.each([
    ['qwen3', 'qwen2'],
    ['gpt2', 'gpt-2'],
  ])("%s: llama.cpp's ids", async (name, vectors) => {
    const base = join(sharedFolder, 'data/vectors/tokenizers', `ggml-vocab-${vectors}.gguf`);
    const texts = readFileSync(`${base}.inp`, 'utf8').split('\n__ggml_vocab_test__\n');
    const ids = readFileSync(`${base}.out`, 'utf8').split('\n').slice(0, -1);
    // The texts end with a separator.
    expect(texts.pop()).toBe('');
    expect(texts.length).toBe(ids.length);
    const { ours } = tokenizers.get(name)!;
    for (const [index, text] of texts.entries())
      expect((await ours.encode(text, { addSpecialTokens: false })).join(' '), text).toBe(
        ids[index]!.trim(),
      );
  });

  it.each([
    ['gpt2', 'openai-community/gpt2'],
    ['gpt2', 'Xenova/gpt2'],
    ['qwen3', 'Xenova/Qwen1.5-0.5B-Chat'],
  ])("%s: tokenizers.js's ids of %s", async (name, model) => {
    // Not their `decoded`: it has spaces cleaned up, which we never do.
    const vectors: Record<string, { text: string; ids: number[] }> = JSON.parse(
      readFileSync(join(sharedFolder, 'data/vectors/hf-tokenizers-js.json'), 'utf8'),
    )[model];
    const { ours } = tokenizers.get(name)!;
    for (const { text, ids } of Object.values(vectors))
      expect([...(await ours.encode(text))], text).toEqual(ids);
  });

  it('deepseek-v3: keeps the id that the file gives <|EOT|>, and its configuration adds no BOS', async () => {
    const { ours, hf } = tokenizers.get('deepseek-v3')!;
    expect([...(await ours.encode('<|EOT|>'))]).toEqual([128805]);
    const plain = await hf.encode('text', null, { addSpecialTokens: true });
    expect(plain.getIds()[0]).toBe(ours.bosTokenId);
    expect((await ours.encode('text'))[0]).not.toBe(ours.bosTokenId);
  });
});
