/** Rows 18, 22 and 23 of SGLang's tests: bias, the ranges of parameters, penalties. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, pocketConfig, user } from '../pocket.js';
import { noThinking, story } from './helpers.js';
import { type ChatBody, type CompletionBody, overBoth } from './transports.js';

const vocabulary = pocketConfig.vocab_size!;
const eos = 2;

overBoth((surface) => {
  const ids = async (body: Partial<CompletionBody>) => {
    const { choices } = await surface.complete({
      prompt: story.prompt,
      max_tokens: 20,
      ignore_eos: true,
      return_token_ids: true,
      ...body,
    });
    return choices.map((choice) => choice.token_ids!);
  };

  describe('row 18: logit_bias', () => {
    test('of 100 is the only token, in a completion and a chat', async () => {
      const body = { temperature: 1, seed: 1, logit_bias: { '300': 100 }, max_tokens: 10 };
      expect(await ids(body)).toEqual([Array(10).fill(300)]);
      const { choices } = await surface.chat({
        messages: user('Hello!'),
        return_token_ids: true,
        ...body,
      });
      expect(choices[0]!.token_ids).toEqual(Array(10).fill(300));
    });

    test('of -100 never appears', async () => {
      const [free] = await ids({ max_tokens: 40 });
      const frequent = [...new Set(free)].slice(0, 4);
      const logit_bias = Object.fromEntries(frequent.map((id) => [id, -100]));
      for (const temperature of [0, 1]) {
        const [other] = await ids({ max_tokens: 40, temperature, seed: 1, logit_bias });
        for (const id of frequent) expect(other).not.toContain(id);
      }
    });

    test('leaves neighbours of the same step alone', async () => {
      const body = { temperature: 0.7, seed: 9, max_tokens: 30 };
      const alone = await ids(body);
      const [biased, ...neighbours] = await Promise.all([
        ids({ ...body, logit_bias: { '300': 100 } }),
        ids(body),
        ids(body),
      ]);
      expect(biased).toEqual([Array(30).fill(300)]);
      expect(neighbours).toEqual([alone, alone]);
    });

    test.each([String(vocabulary), '-1', 'abc', '1.5'])('of the key %s is refused', async (key) => {
      await expect(surface.complete({ ...story, logit_bias: { [key]: 1 } })).rejects.toMatchObject({
        status: 400,
        param: 'logit_bias',
        message: expect.stringContaining(`in [0, ${vocabulary - 1}], got ${key}`),
      });
    });
  });

  describe('row 22: ranges', () => {
    const ranges: [field: keyof ChatBody & keyof CompletionBody, good: number[], bad: number[]][] =
      [
        ['temperature', [0, 1e-7, 2, 100], [-0.1]],
        ['top_p', [1e-9, 1], [0, -1, 1.1]],
        ['top_k', [-1, 1, 5000], [0, -2, 1.5]],
        ['min_p', [0, 1], [-0.1, 1.1]],
        ['frequency_penalty', [-2, 2], [-2.1, 2.1]],
        ['presence_penalty', [-2, 2], [-2.1, 2.1]],
        ['repetition_penalty', [0.1, 2], [0, -1, 2.1]],
        ['min_tokens', [0, 3], [-1, 4]],
        ['n', [1, 3], [0, -1, 129, 1.5]],
      ];

    test.each(ranges)('%s', async (field, good, bad) => {
      for (const value of good) {
        const text = await surface.complete({ ...story, max_tokens: 3, [field]: value });
        expect(text.usage.completion_tokens).toBeGreaterThan(0);
        await surface.chat({ messages: user('Hello!'), max_tokens: 3, [field]: value });
      }
      for (const value of bad) {
        const refusal = { status: 400, param: field, message: expect.stringContaining(`${value}`) };
        const body = { ...story, max_tokens: 3, [field]: value };
        await expect(surface.complete(body)).rejects.toMatchObject(refusal);
        await expect(collect(surface.completeStream(body))).rejects.toMatchObject(refusal);
        const chat = { messages: user('Hello!'), max_tokens: 3, [field]: value };
        await expect(surface.chat(chat)).rejects.toMatchObject(refusal);
      }
    });

    test('greedy below 1e-6 and not at 1e-6', async () => {
      const first = async (temperature: number) => {
        const body = { ...story, max_tokens: 1, logprobs: 0, temperature };
        return (await surface.complete(body)).choices[0]!.logprobs!.token_logprobs[0]!;
      };
      // Greedy has the logprobs of no temperature; a temperature of 1e-6 leaves one token.
      expect(await first(0)).toBeLessThan(-0.01);
      expect(await first(9e-7)).toBe(await first(0));
      expect(await first(1e-6)).toBeGreaterThan(-1e-6);
    });

    test('truncation to one token is greedy too', async () => {
      const greedy = await ids({ temperature: 0 });
      for (const one of [{ top_k: 1 }, { top_p: 1e-9 }, { min_p: 1 }])
        expect(await ids({ temperature: 1, ...one })).toEqual(greedy);
    });
  });

  describe('row 23: penalties', () => {
    /** How far token 300 is above 301 in each step of a text that is nothing but 300. */
    const gaps = async (more: Partial<CompletionBody>) => {
      const { choices } = await surface.complete({
        prompt: story.prompt,
        max_tokens: 8,
        ignore_eos: true,
        logit_bias: { '300': 100, '301': 60 },
        logprobs: 2,
        return_token_ids: true,
        ...more,
      });
      expect(choices[0]!.token_ids).toEqual(Array(8).fill(300));
      const { tokens, top_logprobs } = choices[0]!.logprobs!;
      return top_logprobs.map((top) => {
        const [other] = Object.entries(top).filter(([token]) => token !== tokens[0]);
        return top[tokens[0]!]! - other![1];
      });
    };

    test('frequency goes by the count, presence does not', async () => {
      const plain = await gaps({});
      const less = async (more: Partial<CompletionBody>) =>
        (await gaps(more)).map((gap, step) => plain[step]! - gap);
      const frequency = await less({ frequency_penalty: 1.5 });
      const presence = await less({ presence_penalty: 1.5 });
      const both = await less({ frequency_penalty: -1, presence_penalty: 0.5 });
      for (let step = 0; step < 8; step++) {
        // The newest token counts at once.
        expect(frequency[step]).toBeCloseTo(1.5 * step, 3);
        expect(presence[step]).toBeCloseTo(step === 0 ? 0 : 1.5, 3);
        expect(both[step]).toBeCloseTo(step === 0 ? 0 : 0.5 - step, 3);
      }
    });

    test('positive ones make the words more diverse, negative ones less', async () => {
      const diversity = async (more: Partial<CompletionBody>) => {
        const seeds = [1, 2, 3, 4, 5];
        const texts = await Promise.all(
          seeds.map((seed) => ids({ temperature: 1, max_tokens: 100, seed, ...more })),
        );
        const shares = texts.map(([text]) => new Set(text).size / text!.length);
        return shares.reduce((total, share) => total + share, 0) / seeds.length;
      };
      const plain = await diversity({});
      for (const field of ['frequency_penalty', 'presence_penalty'] as const) {
        expect(await diversity({ [field]: 2 })).toBeGreaterThan(plain);
        expect(await diversity({ [field]: -2 })).toBeLessThan(plain);
      }
      expect(await diversity({ repetition_penalty: 1.5 })).toBeGreaterThan(plain);
    });

    test('of one request are not those of its neighbours', async () => {
      const body = { temperature: 1, seed: 4, max_tokens: 40 };
      const kinds = [{}, { frequency_penalty: 2 }, { presence_penalty: 2 }, { min_tokens: 40 }];
      const alone: number[][][] = [];
      for (const kind of kinds) alone.push(await ids({ ...body, ...kind }));
      expect(await Promise.all(kinds.map((kind) => ids({ ...body, ...kind })))).toEqual(alone);
    });

    test('min_tokens holds EOS and stop_token_ids back, and no stop string', async () => {
      const body: ChatBody = {
        messages: user('Hello!'),
        ...noThinking,
        logit_bias: { [eos]: 100, '300': 99 },
        stop_token_ids: [300],
        max_tokens: 20,
        return_token_ids: true,
      };
      expect((await surface.chat(body)).choices[0]!.token_ids).toEqual([eos]);
      const [held] = (await surface.chat({ ...body, min_tokens: 6 })).choices;
      expect(held!.token_ids).toHaveLength(7);
      for (const id of [eos, 300]) expect(held!.token_ids!.slice(0, 6)).not.toContain(id);
      expect([eos, 300]).toContain(held!.matched_stop);
      const stopped = await surface.complete({ ...story, min_tokens: 50, stop: '.' });
      expect(stopped.choices[0]!.matched_stop).toBe('.');
      expect(stopped.usage.completion_tokens).toBeLessThan(50);
    });
  });

  describe('seeds, which SGLang does not honour', () => {
    test('give the same samples again, and n different ones', async () => {
      const body = { temperature: 20, seed: 42, n: 4 };
      const first = await ids(body);
      expect(await ids(body)).toEqual(first);
      expect(new Set(first.map(String)).size).toBe(4);
      expect(await ids({ ...body, n: 1 })).toEqual(first.slice(0, 1));
      expect(await ids({ ...body, seed: 43 })).not.toEqual(first);
    });

    test('differ by themselves where none is given', async () => {
      const [a] = await ids({ temperature: 20 });
      const [b] = await ids({ temperature: 20 });
      expect(a).not.toEqual(b);
    });
  });
});
