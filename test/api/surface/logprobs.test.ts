/** Rows 19 and 24 of SGLang's tests: logprobs of prompts and of answers, and which distribution they are of. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect } from '../pocket.js';
import { countries, joinChat, joinTexts, story, sum } from './helpers.js';
import { overBoth } from './transports.js';

overBoth((surface) => {
  describe('row 19: the logprobs of prompts', () => {
    test('counts add up, and the texts are the prompt and the answer', async () => {
      const { tokens } = await surface.tokenize({ prompt: story.prompt });
      const body = { ...story, max_tokens: 12, echo: true, logprobs: 1, return_token_ids: true };
      const [choice] = (await surface.complete(body)).choices;
      const { tokens: names, text_offset } = choice!.logprobs!;
      expect(names).toHaveLength(tokens.length + 12);
      expect(names.slice(0, tokens.length).join('')).toBe(story.prompt);
      expect(names.join('')).toBe(choice!.text);
      expect(text_offset).toEqual(names.map((_, i) => names.slice(0, i).join('').length));
    });

    test('scoring a prompt and its answer gives what generating it did', async () => {
      const prompt = [...(await surface.tokenize({ prompt: story.prompt })).tokens];
      const body = { max_tokens: 12, logprobs: 0, ignore_eos: true, return_token_ids: true };
      const [generated] = (await surface.complete({ prompt, ...body })).choices;
      const all = [...prompt, ...generated!.token_ids!];
      const scored = await surface.complete({
        prompt: all,
        max_tokens: 0,
        echo: true,
        logprobs: 0,
      });
      const { token_logprobs, tokens } = scored.choices[0]!.logprobs!;
      expect(token_logprobs).toHaveLength(all.length);
      expect(token_logprobs[0]).toBe(null);
      expect(tokens.slice(prompt.length)).toEqual(generated!.logprobs!.tokens);
      token_logprobs.slice(prompt.length).forEach((value, i) => {
        expect(Math.abs(value - generated!.logprobs!.token_logprobs[i]!)).toBeLessThan(0.35);
      });
      expect(scored.usage.completion_tokens).toBe(0);
      expect(scored.choices[0]!.finish_reason).toBe('length');
    });

    test('in a stream come once, first', async () => {
      const body = { ...story, max_tokens: 12, echo: true, logprobs: 2 };
      const [whole] = (await surface.complete(body)).choices;
      const [streamed] = joinTexts(await collect(surface.completeStream(body)));
      expect(streamed!.logprobs).toEqual(whole!.logprobs);
    });
  });

  describe('row 24: the distribution', () => {
    /** Of the first token, by name. */
    const top = async (more: object) => {
      const body = { ...story, max_tokens: 1, logprobs: 20, ...more };
      return (await surface.complete(body)).choices[0]!.logprobs!.top_logprobs[0]!;
    };

    test('greedy has that of temperature 1', async () => {
      const greedy = await top({ temperature: 0 });
      const one = await top({ temperature: 1, seed: 1 });
      for (const [token, logprob] of Object.entries(greedy))
        expect(one[token]).toBeCloseTo(logprob, 4);
    });

    test('a temperature divides the differences', async () => {
      const one = await top({ temperature: 1, seed: 1 });
      const [best, ...others] = Object.keys(one).slice(0, 8);
      for (const temperature of [0.5, 2]) {
        const scaled = await top({ temperature, seed: 1 });
        for (const token of others)
          expect(scaled[best!]! - scaled[token]!).toBeCloseTo(
            (one[best!]! - one[token]!) / temperature,
            3,
          );
      }
    });

    test('sums to 1 with all that can be chosen, and is that before top_k', async () => {
      const free = await top({ temperature: 1, seed: 1 });
      const cut = await top({ temperature: 1, seed: 1, top_k: 2 });
      for (const [token, logprob] of Object.entries(free).slice(0, 5))
        expect(cut[token]).toBeCloseTo(logprob, 4);
      const total = Object.values(free).reduce((sum, logprob) => sum + Math.exp(logprob), 0);
      expect(total).toBeGreaterThan(0.5);
      expect(total).toBeLessThanOrEqual(1 + 1e-4);
    });

    test('is that after the bias', async () => {
      const { tokens } = await surface.tokenize({ prompt: ' boat' });
      const biased = await top({ temperature: 0, logit_bias: { [tokens[0]!]: 100 } });
      // A record has no order of its own: names that are numbers come first.
      expect(Math.max(...Object.values(biased))).toBeCloseTo(0, 4);
      expect(Math.min(...Object.values(biased))).toBeLessThan(-50);
    });
  });

  describe('every token has its own', () => {
    test('with reasoning apart: one for each token, in their order, whole and streamed', async () => {
      const body = { ...sum, logprobs: true, top_logprobs: 3, return_token_ids: true };
      const [whole] = (await surface.chat(body)).choices;
      const { content } = whole!.logprobs!;
      expect(content).toHaveLength(whole!.token_ids!.length);
      // Greedy: the chosen token is the likeliest of its own list, not of a neighbour's.
      for (const { token, bytes, logprob, top_logprobs } of content)
        expect(top_logprobs[0]).toEqual({ token, bytes, logprob });
      const [streamed] = joinChat(await collect(surface.chatStream(body)));
      expect(streamed!.logprobs).toEqual(content);
    });

    test('chunks that are read late carry several tokens, each with its own list', async () => {
      const body = { ...countries, logprobs: true, top_logprobs: 2, ignore_eos: true };
      const [whole] = (await surface.chat(body)).choices;
      const stream = surface.chatStream(body);
      const chunks = [];
      for await (const chunk of stream) {
        chunks.push(chunk);
        if (chunks.length < 3) await new Promise((resolve) => setTimeout(resolve, 60));
      }
      expect(joinChat(chunks)[0]!.logprobs).toEqual(whole!.logprobs!.content);
    });

    test('the bytes of a character in pieces are exact', async () => {
      const text = 'Grüße 😀';
      const { choices } = await surface.complete({
        prompt: text,
        echo: true,
        max_tokens: 0,
        logprobs: 0,
      });
      const { tokens } = choices[0]!.logprobs!;
      expect(tokens.filter((token) => token.startsWith('bytes:')).length).toBeGreaterThan(0);
      const bytes = tokens.flatMap((token) =>
        token.startsWith('bytes:')
          ? [...token.matchAll(/\\x([0-9a-f]{2})/g)].map(([, hex]) => Number.parseInt(hex!, 16))
          : [...Buffer.from(token)],
      );
      expect(Buffer.from(bytes).toString()).toBe(text);
    });
  });
});
