/** Rows 14 to 17 of SGLang's tests: lengths, usage while streaming, cached tokens. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, pocketConfig, user } from '../pocket.js';
import { countries, story, usageChunks } from './helpers.js';
import { overBoth } from './transports.js';

const context = pocketConfig.max_position_embeddings!;
const block = 16;

/** As many tokens as the cache can give of a prompt: whole blocks, and the last token is always computed. */
const whole = (tokens: number) => Math.floor(tokens / block) * block;
/** Token ids like no others. */
const idsFrom = (first: number, count: number) =>
  Array.from({ length: count }, (_, i) => 300 + ((first * 37 + i * 7) % 200));

overBoth(
  (surface) => {
    describe('row 14: lengths', () => {
      const tooLong = { messages: user('x '.repeat(context)) };
      const longPrompt = { prompt: Array<number>(context + 5).fill(100) };
      const longer = {
        status: 400,
        code: 'context_length_exceeded',
        message: expect.stringContaining("is longer than the model's context length"),
      };

      test('a chat that is too long, whole and streamed', async () => {
        await expect(surface.chat(tooLong)).rejects.toMatchObject({ ...longer, param: 'messages' });
        await expect(collect(surface.chatStream(tooLong))).rejects.toMatchObject({
          ...longer,
          param: 'messages',
        });
      });

      test('a prompt that is too long, whole and streamed', async () => {
        await expect(surface.complete(longPrompt)).rejects.toMatchObject({
          ...longer,
          param: 'prompt',
        });
        await expect(collect(surface.completeStream(longPrompt))).rejects.toMatchObject({
          ...longer,
          param: 'prompt',
        });
      });

      test.each(['max_tokens', 'max_completion_tokens'] as const)(
        'a %s beyond the context',
        async (param) => {
          const body = { messages: user('Hello!'), [param]: context };
          const expected = {
            status: 400,
            code: 'context_length_exceeded',
            param,
            message: expect.stringContaining(`maximum context length of ${context} tokens`),
          };
          await expect(surface.chat(body)).rejects.toMatchObject(expected);
          await expect(collect(surface.chatStream(body))).rejects.toMatchObject(expected);
        },
      );

      test('up to the brim is fine', async () => {
        const prompt = Array<number>(context - 3).fill(100);
        const { usage } = await surface.complete({ prompt, max_tokens: 3, ignore_eos: true });
        expect(usage.total_tokens).toBe(context);
      });
    });

    describe('row 15: usage in a stream', () => {
      const options = [false, true].flatMap((include_usage) =>
        [false, true].map((continuous_usage_stats) => ({ include_usage, continuous_usage_stats })),
      );

      test.each(options)(
        'of a chat: $include_usage, continuous $continuous_usage_stats',
        async (o) => {
          const body = { ...countries, stream_options: o };
          const chunks = await collect(surface.chatStream(body));
          const content = chunks.filter((chunk) => chunk.choices[0]?.delta.content);
          expect(content.length).toBeGreaterThan(0);
          for (const { usage } of content) {
            expect(usage !== undefined).toBe(o.continuous_usage_stats);
            if (!usage) continue;
            expect(usage.completion_tokens).toBeGreaterThan(0);
            expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
          }
          expect(usageChunks(chunks)).toHaveLength(o.include_usage ? 1 : 0);
          if (!o.include_usage) return;
          const { usage } = chunks.at(-1)!;
          const { usage: expected } = await surface.chat(countries);
          expect(usage!.completion_tokens).toBe(expected.completion_tokens);
          expect(usage!.total_tokens).toBe(expected.total_tokens);
        },
      );

      test.each(options)(
        'of a completion: $include_usage, continuous $continuous_usage_stats',
        async (o) => {
          const chunks = await collect(surface.completeStream({ ...story, stream_options: o }));
          const texts = chunks.filter((chunk) => chunk.choices[0]?.text);
          expect(texts.length).toBeGreaterThan(0);
          let before = 0;
          for (const { usage } of texts) {
            expect(usage !== undefined).toBe(o.continuous_usage_stats);
            if (!usage) continue;
            expect(usage.completion_tokens).toBeGreaterThan(before);
            before = usage.completion_tokens;
            expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
          }
          expect(usageChunks(chunks)).toHaveLength(o.include_usage ? 1 : 0);
        },
      );
    });

    describe('row 16: the same prompt again', () => {
      test.each([12 * block, 12 * block + 5, 40 * block + 1])('of %i tokens', async (length) => {
        const body = {
          prompt: idsFrom(length, length),
          max_tokens: 4,
          cache_salt: `row 16, ${surface.name}`,
        };
        const first = await surface.complete(body);
        expect(first.usage.prompt_tokens_details.cached_tokens).toBe(0);
        const again = await surface.complete(body);
        const cached = whole(length - 1);
        expect(again.usage.prompt_tokens_details.cached_tokens).toBe(cached);
        expect(again.choices).toEqual(first.choices);
        const [chunk] = usageChunks(
          await collect(
            surface.completeStream({ ...body, stream_options: { include_usage: true } }),
          ),
        );
        expect(chunk!.usage!.prompt_tokens_details.cached_tokens).toBe(cached);
      });

      test('many times at once', async () => {
        const body = {
          prompt: idsFrom(77, 150),
          max_tokens: 4,
          cache_salt: `row 16 at once, ${surface.name}`,
        };
        const first = await surface.complete(body);
        const all = await Promise.all(Array.from({ length: 6 }, () => surface.complete(body)));
        for (const { usage, choices } of all) {
          expect(usage.prompt_tokens_details.cached_tokens).toBe(whole(149));
          expect(choices).toEqual(first.choices);
        }
      });

      test('is not found under another salt', async () => {
        const body = { prompt: idsFrom(5, 100), max_tokens: 1 };
        await surface.complete({ ...body, cache_salt: `one, ${surface.name}` });
        const other = await surface.complete({ ...body, cache_salt: `two, ${surface.name}` });
        expect(other.usage.prompt_tokens_details.cached_tokens).toBe(0);
      });

      test('in a chat, with n counted once', async () => {
        const body = { ...countries, cache_salt: `chat, ${surface.name}`, n: 2 };
        const { usage: first } = await surface.chat(body);
        expect(first.prompt_tokens_details.cached_tokens).toBe(0);
        const { usage } = await surface.chat(body);
        expect(usage.prompt_tokens).toBe(first.prompt_tokens);
        expect(usage.prompt_tokens_details.cached_tokens).toBe(whole(first.prompt_tokens - 1));
      });
    });

    test('row 17: growing prompts share the longest beginning, block by block', async () => {
      const ids = idsFrom(123, 400);
      const cachedOf = async (prompt: number[]) => {
        const salt = `row 17, ${surface.name}`;
        const { usage } = await surface.complete({ prompt, max_tokens: 1, cache_salt: salt });
        return usage.prompt_tokens_details.cached_tokens;
      };
      let longest = 0;
      for (const length of [5, 16, 17, 40, 40, 64, 65, 200, 130, 400]) {
        const expected = Math.min(whole(longest), whole(length - 1));
        expect([length, await cachedOf(ids.slice(0, length))]).toEqual([length, expected]);
        longest = Math.max(longest, length);
      }
      // Another end: what is common is found, what is not is not.
      const forked = [...ids.slice(0, 100), ...idsFrom(9, 60)];
      expect(await cachedOf(forked)).toBe(whole(100));
      expect(await cachedOf(forked)).toBe(whole(159));
      expect(await cachedOf(ids)).toBe(whole(399));
    });

    test('rows 16 and 17: what is cached changes no token', async () => {
      const prompt = idsFrom(31, 90);
      const body = { prompt, max_tokens: 20, ignore_eos: true, return_token_ids: true };
      const cold = await surface.complete({ ...body, cache_salt: `cold, ${surface.name}` });
      const warm = await surface.complete({ ...body, cache_salt: `cold, ${surface.name}` });
      expect(warm.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(0);
      expect(warm.choices[0]!.token_ids).toEqual(cold.choices[0]!.token_ids);
    });
  },
  // Prompts are computed in several chunks.
  { load: { maxBatchTokens: 64 } },
);
