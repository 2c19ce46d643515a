/** Row 38 of SGLang's tests: aborts, from outside and by leaving, and timeouts. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, settled } from '../pocket.js';
import { joinTexts, sum, until } from './helpers.js';
import { live, overBoth } from './transports.js';

/** Far more than any test waits for. */
const long = { prompt: 'Once upon a time', max_tokens: 1000, ignore_eos: true };

overBoth((surface, parts) => {
  const inFlight = () => {
    const { running, waiting } = parts().engine.stats();
    return running + waiting;
  };

  describe('row 38: aborts', () => {
    test('of all 32 that run: every one ends with abort, and the next is answered', async () => {
      const all = Array.from({ length: 32 }, () => surface.complete(long));
      await until(() => inFlight() === 32);
      expect(await surface.abortAll()).toBe(32);
      for (const { choices, usage } of await Promise.all(all)) {
        expect(choices[0]).toMatchObject({ finish_reason: 'abort', matched_stop: null });
        expect(usage.completion_tokens).toBeLessThan(1000);
      }
      expect((await surface.complete({ ...long, max_tokens: 5 })).usage.completion_tokens).toBe(5);
    });

    test('of one: the others are not touched', async () => {
      const body = { ...long, max_tokens: 200 };
      const alone = await surface.complete(body);
      const rid = `one of several, ${surface.name}`;
      const aborted = surface.complete({ ...long, rid });
      const others = [1, 2, 3].map(() => surface.complete(body));
      await until(() => inFlight() === 4);
      expect(await surface.abort(rid)).toBe(1);
      const answer = await aborted;
      expect(answer.id).toBe(rid);
      expect(answer.choices[0]!.finish_reason).toBe('abort');
      for (const other of await Promise.all(others)) expect(other.choices).toEqual(alone.choices);
    });

    test('of all samples of one request at once', async () => {
      const rid = `of n, ${surface.name}`;
      const answer = surface.complete({ ...long, n: 3, temperature: 1, seed: 1, rid });
      await until(() => inFlight() === 3);
      expect(await surface.abort(rid)).toBe(1);
      expect((await answer).choices.map((c) => c.finish_reason)).toEqual(Array(3).fill('abort'));
    });

    test('of a stream: what came before is whole, and tokens and logprobs agree', async () => {
      const rid = `partial, ${surface.name}`;
      const body = { ...long, rid, logprobs: 1, return_token_ids: true };
      const chunks = [];
      for await (const chunk of surface.completeStream(body)) {
        chunks.push(chunk);
        if (chunks.length === 5) expect(await surface.abort(rid)).toBe(1);
      }
      const [partial] = joinTexts(chunks);
      expect(partial!.finishes).toEqual(['abort']);
      const { tokenIds, logprobs, text } = partial!;
      expect(tokenIds.length).toBeGreaterThan(0);
      expect(tokenIds.length).toBeLessThan(1000);
      expect(logprobs.tokens).toHaveLength(tokenIds.length);
      expect(logprobs.token_logprobs).toHaveLength(tokenIds.length);
      expect(await surface.detokenize({ tokens: tokenIds })).toEqual({ text });
    });

    test('of a request in the midst of its reasoning: it is not lost', async () => {
      const rid = `reasoning, ${surface.name}`;
      const full = (await surface.chat(sum)).choices[0]!.message.reasoning_content!;
      let reasoning = '';
      let finish: string | null = null;
      const body = { ...sum, ignore_eos: true, max_tokens: 900, rid };
      for await (const { choices } of surface.chatStream(body)) {
        const { delta, finish_reason } = choices[0]!;
        reasoning += delta.reasoning_content ?? '';
        finish = finish_reason;
        if (/\S/.test(reasoning)) await surface.abort(rid);
      }
      expect(finish).toBe('abort');
      expect(reasoning).toMatch(/\S/);
      expect(full.startsWith(reasoning)).toBe(true);
    });

    test('of what is not there are no error', async () => {
      expect(await surface.abort('nobody')).toBe(0);
      expect(await surface.abortAll()).toBe(0);
    });

    test('a rid is free again when its request has ended, and refused before', async () => {
      const rid = `twice, ${surface.name}`;
      const first = surface.complete({ ...long, rid });
      await until(() => inFlight() === 1);
      await expect(surface.complete({ ...long, rid })).rejects.toMatchObject({
        status: 400,
        param: 'rid',
      });
      await surface.abort(rid);
      await first;
      expect((await surface.complete({ ...long, max_tokens: 2, rid })).id).toBe(rid);
    });
  });

  describe('row 38: leaving', () => {
    test('a signal ends a request, whole or streamed, and frees what it had', async () => {
      const { requestsAborted } = parts().engine.stats();
      const controller = new AbortController();
      const { signal } = controller;
      const requests = [
        surface.complete(long, { signal }),
        surface.chat({ ...sum, ignore_eos: true, max_tokens: 900 }, { signal }),
        collect(surface.completeStream(long, { signal })),
      ];
      const outcomes = Promise.allSettled(requests);
      await until(() => inFlight() === 3);
      controller.abort();
      await outcomes;
      const stats = await settled(parts().engine);
      expect(stats.requestsAborted).toBe(requestsAborted + 3);
    });

    test('so does leaving the loop', async () => {
      const { requestsAborted } = parts().engine.stats();
      for await (const _ of surface.completeStream({ ...long, n: 2 })) break;
      const stats = await settled(parts().engine);
      expect(stats.requestsAborted).toBe(requestsAborted + 2);
    });
  });
});

describe('row 38: the time limit of a server', () => {
  const parts = live({ server: { requestTimeout: 150 } });

  test('is an error with a status, and the server goes on', async () => {
    const { client, engine } = parts();
    const body = { model: 'pocket', ...long, n: 16 };
    await expect(client.completions.create(body)).rejects.toMatchObject({
      status: 503,
      code: 'request_timeout',
      message: expect.stringContaining('150 ms'),
    });
    await settled(engine);
    const short = await client.completions.create({ ...body, n: 1, max_tokens: 2 });
    expect(short.usage!.completion_tokens).toBe(2);
  });

  test('ends a stream with that error', async () => {
    const { client } = parts();
    const stream = await client.completions.create({
      model: 'pocket',
      ...long,
      n: 16,
      stream: true,
    });
    await expect(collect(stream)).rejects.toMatchObject({
      code: 'request_timeout',
      message: expect.stringContaining('150 ms'),
    });
  });
});
