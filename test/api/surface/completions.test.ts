/** Rows 1 and 2 of SGLang's tests: completions, whole and streamed, in all combinations. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect } from '../pocket.js';
import { joinTexts, usageChunks } from './helpers.js';
import { type CompletionBody, overBoth, type Transport } from './transports.js';

const texts = ['Once upon a time', 'The capital of France is'];

interface Case {
  echo: boolean;
  logprobs: number | null;
  list: boolean;
  n: number;
  ids: boolean;
}

const either = [false, true];
const cases: Case[] = either.flatMap((echo) =>
  [null, 5].flatMap((logprobs) =>
    either.flatMap((list) =>
      [1, 2].flatMap((n) => either.map((ids) => ({ echo, logprobs, list, n, ids }))),
    ),
  ),
);
const title = 'echo $echo, logprobs $logprobs, list $list, n $n, token ids $ids';

async function bodyOf(surface: Transport, { list, ids, ...fields }: Case) {
  const tokens = await Promise.all(
    texts.map(async (prompt) => (await surface.tokenize({ prompt })).tokens),
  );
  const prompt = ids ? (list ? tokens : tokens[0]!) : list ? texts : texts[0]!;
  const body: CompletionBody = {
    prompt,
    ...fields,
    max_tokens: 8,
    temperature: 1,
    seed: 5,
    return_token_ids: true,
  };
  return { body, tokens: list ? tokens : tokens.slice(0, 1) };
}

overBoth((surface) => {
  describe('row 1: completions', () => {
    test.each(cases)(title, async (one) => {
      const { echo, logprobs, n } = one;
      const { body, tokens } = await bodyOf(surface, one);
      const answer = await surface.complete(body);
      expect(answer).toMatchObject({
        id: expect.stringMatching(/\S/),
        object: 'text_completion',
        created: expect.any(Number),
        model: 'pocket',
        metadata: { weight_version: 'default' },
      });
      expect(answer.choices.map((c) => c.index)).toEqual(
        Array.from({ length: tokens.length * n }, (_, i) => i),
      );
      let completionTokens = 0;
      for (const choice of answer.choices) {
        const prompt = tokens[Math.floor(choice.index / n)]!;
        const generated = choice.token_ids!;
        completionTokens += generated.length;
        expect(choice.prompt_token_ids).toEqual(prompt);
        expect(choice.text.startsWith(texts[Math.floor(choice.index / n)]!)).toBe(echo);
        expect(['stop', 'length']).toContain(choice.finish_reason);
        if (logprobs === null) {
          expect(choice.logprobs).toBe(null);
          continue;
        }
        const { tokens: names, token_logprobs, top_logprobs, text_offset } = choice.logprobs!;
        const count = generated.length + (echo ? prompt.length : 0);
        for (const column of [names, token_logprobs, top_logprobs, text_offset])
          expect(column).toHaveLength(count);
        for (const name of names) expect(name).toBeTypeOf('string');
        expect(token_logprobs[0] === null).toBe(echo);
        expect(top_logprobs[0] === null).toBe(echo);
        for (const value of token_logprobs.slice(1)) expect(value).toBeLessThanOrEqual(0);
        for (const [i, top] of top_logprobs.entries()) {
          if (top === null) continue;
          // The five likeliest, and the chosen one where it is none of them.
          expect([5, 6]).toContain(Object.keys(top).length);
          expect(top[names[i]!]).toBe(token_logprobs[i]);
        }
        // The offset is that of the token's own text; a token that ended the text has none.
        for (const [i, name] of names.entries()) {
          if (name.startsWith('bytes:') || name.startsWith('<|')) continue;
          expect(choice.text.slice(text_offset[i]!).startsWith(name)).toBe(true);
        }
      }
      const promptTokens = tokens.reduce((total, ids) => total + ids.length, 0);
      expect(answer.usage).toMatchObject({
        prompt_tokens: promptTokens,
        completion_tokens: completionTokens,
        total_tokens: promptTokens + completionTokens,
      });
    });
  });

  describe('row 2: completions, streamed', () => {
    test.each(cases)(title, async (one) => {
      const { body } = await bodyOf(surface, one);
      const whole = await surface.complete(body);
      const chunks = await collect(
        surface.completeStream({ ...body, stream_options: { include_usage: true } }),
      );
      const choices = joinTexts(chunks);
      expect(choices).toHaveLength(whole.choices.length);
      for (const [i, choice] of choices.entries()) {
        const expected = whole.choices[i]!;
        expect(choice.text).toBe(expected.text);
        expect(choice.tokenIds).toEqual(expected.token_ids);
        expect(choice.finishes).toEqual([expected.finish_reason]);
        expect(choice.matchedStop).toBe(expected.matched_stop);
        if (one.echo) expect(choice.begin.startsWith(texts[Math.floor(i / one.n)]!)).toBe(true);
        if (one.logprobs !== null) expect(choice.logprobs).toEqual(expected.logprobs);
      }
      for (const choice of chunks.flatMap((chunk) => chunk.choices))
        expect(choice.logprobs === null).toBe(one.logprobs === null);
      expect(new Set(chunks.map((chunk) => `${chunk.id} ${chunk.created}`)).size).toBe(1);
      const [last, ...more] = usageChunks(chunks);
      expect(more).toEqual([]);
      expect(last).toBe(chunks.at(-1));
      const { prompt_tokens, completion_tokens, total_tokens } = whole.usage;
      expect(last!.usage).toMatchObject({ prompt_tokens, completion_tokens, total_tokens });
      expect(chunks.filter((chunk) => chunk.usage !== undefined)).toHaveLength(1);
    });

    test('text of random bytes: no character is cut, and the pieces are the whole', async () => {
      for (const seed of [1, 2, 3]) {
        const body = { prompt: texts[0]!, max_tokens: 80, temperature: 50, seed, ignore_eos: true };
        const [whole] = (await surface.complete(body)).choices;
        const chunks = await collect(surface.completeStream(body));
        expect(joinTexts(chunks)[0]!.text).toBe(whole!.text);
        for (const { text } of chunks.flatMap((chunk) => chunk.choices))
          expect(Buffer.from(text).toString()).toBe(text);
      }
    });
  });
});
