/** Rows 39 and 40 of SGLang's tests: priorities, the queue's limit, and the same answer in every company. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { pocketConfig, prompts, user } from '../pocket.js';
import { story, until } from './helpers.js';
import { type CompletionBody, live, overBoth } from './transports.js';

const long = { ...story, max_tokens: 1000, ignore_eos: true };

overBoth(
  (surface, parts) => {
    describe('row 39: priorities, one at a time', () => {
      /** Fills the one place, queues requests in this order, frees the place; the order in which they end. */
      const ending = async (priorities: (number | null)[]) => {
        const { engine } = parts();
        const rid = `first, ${surface.name}`;
        const first = surface.complete({ ...long, rid });
        await until(() => engine.stats().running === 1);
        const ended: number[] = [];
        const queued: Promise<unknown>[] = [];
        for (const [i, priority] of priorities.entries()) {
          const body = { ...story, max_tokens: 30, ignore_eos: true, priority };
          queued.push(surface.complete(body).then(() => ended.push(i)));
          await until(() => engine.stats().waiting === i + 1);
        }
        await surface.abort(rid);
        await Promise.all([first, ...queued]);
        return ended;
      };

      test('larger ones go first, equal ones as they came', async () => {
        expect(await ending([0, 5, 1, 5, -1, 1])).toEqual([1, 3, 2, 5, 0, 4]);
      });

      test('without any it is first come, first served', async () => {
        expect(await ending([null, 0, null, 0])).toEqual([0, 1, 2, 3]);
      });
    });
  },
  { load: { maxRunningSeqs: 1 } },
);

describe("row 39: the queue's limit of a server", () => {
  const parts = live({ load: { maxRunningSeqs: 1 }, server: { maxQueuedRequests: 2 } });

  test.each([false, true])('is a 503 that says when to come again; stream %s', async (stream) => {
    const { engine, client } = parts();
    const ask = (rid: string) =>
      client.completions.create({ model: 'pocket', ...long, rid } as {
        model: string;
      } & typeof long);
    // The first has the one place before the others come: only then are they the queue.
    const first = ask('one');
    await until(() => engine.stats().running === 1);
    const all = [first, ask('two'), ask('three')];
    await until(() => engine.stats().waiting === 2);
    const refused = client.completions.create({ model: 'pocket', ...story, stream });
    const error = await refused.then(
      () => null,
      (e: unknown) => e,
    );
    expect(error).toMatchObject({
      status: 503,
      code: 'queue_full',
      message: '503 The request queue is full.',
    });
    expect((error as { headers: Headers }).headers.get('retry-after')).toMatch(/^\d+$/);
    expect(engine.abortAll()).toBe(3);
    for (const { choices } of await Promise.all(all))
      expect(choices[0]!.finish_reason).toBe('abort');
    expect((await client.completions.create({ model: 'pocket', ...story })).choices).toHaveLength(
      1,
    );
  });
});

overBoth((surface) => {
  describe('row 40: the same answer in every company', () => {
    const ids = async (body: Partial<CompletionBody>) => {
      const asked = { ...story, max_tokens: 40, ignore_eos: true, return_token_ids: true, ...body };
      return (await surface.complete(asked)).choices[0]!.token_ids!;
    };
    const kinds = [{ temperature: 0 }, { temperature: 0.5, seed: 7 }];

    test.each(kinds)('in batches of any size: %j', async (kind) => {
      const expected = await ids(kind);
      for (const size of [2, 7, 3, 16, 5]) {
        const batch = await Promise.all(Array.from({ length: size }, () => ids(kind)));
        expect(new Set(batch.map(String))).toEqual(new Set([String(expected)]));
      }
    });

    test.each(kinds)('beside others that share its beginning, cached or not: %j', async (kind) => {
      const base = 'Once upon a time there was a fox. ';
      const own = { prompt: base.repeat(5), ...kind };
      const cold = await ids({ ...own, cache_salt: `row 40, ${surface.name}` });
      expect(await ids({ ...own, cache_salt: `row 40, ${surface.name}` })).toEqual(cold);
      const [mixed] = await Promise.all([
        ids({ ...own, cache_salt: `another, ${surface.name}` }),
        ...[1, 2, 3, 4, 6, 8].map((n) => ids({ prompt: `${base.repeat(n)}Then`, ...kind })),
      ]);
      expect(mixed).toEqual(cold);
    });

    test('eight different ones at once are those eight alone', async () => {
      const alone: number[][] = [];
      for (const prompt of prompts) alone.push(await ids({ prompt }));
      expect(await Promise.all(prompts.map((prompt) => ids({ prompt })))).toEqual(alone);
      const chats = prompts.map((prompt) =>
        surface.chat({ messages: user(prompt), max_tokens: 60, temperature: 0.5, seed: 3 }),
      );
      const together = (await Promise.all(chats)).map(({ choices }) => choices);
      for (const [i, prompt] of prompts.entries()) {
        const body = { messages: user(prompt), max_tokens: 60, temperature: 0.5, seed: 3 };
        expect((await surface.chat(body)).choices).toEqual(together[i]);
      }
    });

    test('a prompt that nearly fills the context, beside short ones', async () => {
      const length = pocketConfig.max_position_embeddings! - 30;
      const prompt = Array.from({ length }, (_, i) => 300 + ((i * 7) % 200));
      const expected = await ids({ prompt, max_tokens: 30, cache_salt: `1, ${surface.name}` });
      expect(expected).toHaveLength(30);
      const [again] = await Promise.all([
        ids({ prompt, max_tokens: 30, cache_salt: `2, ${surface.name}` }),
        ...Array.from({ length: 7 }, () => ids({})),
      ]);
      expect(again).toEqual(expected);
    });
  });
});
