import { describe, expect, test } from 'vitest';
import { measure, quantiles, randomIds } from '../../lib/cli/bench/measure.js';
import { fakeEngine } from './fake-engine.js';

test('quantiles are values that were measured', () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect(quantiles(values)).toEqual({ mean: 50.5, p50: 50, p90: 90, p99: 99 });
  expect(quantiles([7])).toEqual({ mean: 7, p50: 7, p90: 7, p99: 7 });
  expect(quantiles([1, 2])).toEqual({ mean: 1.5, p50: 1, p90: 2, p99: 2 });
});

test('prompts: equal for equal seeds, all of the vocabulary, none outside', () => {
  expect(randomIds(1, 50, 1000)).toEqual(randomIds(1, 50, 1000));
  expect(randomIds(1, 50, 1000)).not.toEqual(randomIds(2, 50, 1000));
  const many = randomIds(0, 20_000, 100);
  expect(new Set(many).size).toBe(100);
  expect(Math.max(...many)).toBe(99);
});

describe('a measurement', () => {
  test('counts tokens and times as they come', async () => {
    const { engine, native } = await fakeEngine();
    let most = 0;
    const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    native.onSubmit = async ({ id }) => {
      most = Math.max(most, native.live.size);
      await wait(20);
      native.send(id, { tokens: [65] });
      await wait(20);
      native.send(id, { tokens: [66, 67] });
      await wait(1);
      native.send(id, { tokens: [68], finish: 'length' });
    };
    const plan = {
      concurrency: 2,
      requests: 5,
      inputLen: 10,
      outputLen: 4,
      temperature: 0,
      seed: 3,
      vocabSize: 256,
    };
    let done = 0;
    const result = await measure(engine, plan, { onRequest: () => done++ });
    expect(most).toBe(2);
    expect(done).toBe(5);
    expect(result).toMatchObject({
      requests: 5,
      prompt_tokens: 50,
      generated_tokens: 20,
      cached_tokens: 0,
    });
    expect(native.submitted.map(({ promptIds }) => [...promptIds])).toEqual(
      [0, 1, 2, 3, 4].map((i) => randomIds(3 + i, 10, 256)),
    );
    for (const { params } of native.submitted)
      expect(params).toMatchObject({ maxTokens: 4, temperature: 0 });
    // A timer is never early, but for its rounding; how late it is depends on the machine.
    expect(result.ttft_ms.p50).toBeGreaterThanOrEqual(19);
    expect(result.itl_ms!.mean).toBeGreaterThan(0);
    expect(result.e2e_ms.p50).toBeGreaterThan(result.ttft_ms.p50);
    expect(result.seconds).toBeGreaterThanOrEqual(0.1);
    const rate = result.generated_tokens_per_s * result.seconds;
    expect(rate).toBeGreaterThan(19.5);
    expect(rate).toBeLessThan(20.5);
  });

  test('of one token each has no time between tokens', async () => {
    const { engine, native } = await fakeEngine();
    native.answer({ tokens: [65], finish: 'length' });
    const plan = { requests: 2, inputLen: 1, outputLen: 1, temperature: 0, seed: 0, vocabSize: 9 };
    const result = await measure(engine, { ...plan, concurrency: 8 });
    expect(result).toMatchObject({ requests: 2, generated_tokens: 2, itl_ms: null });
  });

  test('a request that fails fails it', async () => {
    const { engine, native } = await fakeEngine();
    native.answer({ error: { code: 'out_of_memory', message: 'none left' } });
    const plan = { requests: 1, inputLen: 1, outputLen: 1, temperature: 0, seed: 0, vocabSize: 9 };
    await expect(measure(engine, { ...plan, concurrency: 1 })).rejects.toThrow('none left');
  });
});
