/** Leaving, aborting and closing at any moment: everything is freed, and nothing else is disturbed. */
import { Worker } from 'node:worker_threads';
import { expect } from 'vitest';
import { Engine } from '../../lib/index.js';
import { test } from '../device.js';
import { collect, loadPocket, pocket, settled, small, user } from './pocket.js';

const long = {
  messages: user('Tell me a story.'),
  max_tokens: 900,
  ignore_eos: true,
  temperature: 1,
};
const closed = { name: 'EngineError', code: 'engine_closed', status: 503 };

test('leaving the loop frees the request', async () => {
  await using engine = await loadPocket();
  for (let i = 0; i < 5; i++) {
    let seen = 0;
    for await (const _ of engine.chatCompletions({ ...long, n: 3, stream: true })) {
      if (++seen > i * 10) break;
    }
  }
  const stats = await settled(engine);
  expect(stats.requestsAborted).toBe(15);
});

test('a signal ends a whole and a streamed request with its reason; others go on', async () => {
  await using engine = await loadPocket();
  const other = engine.chatCompletions({ messages: user('Hello!'), temperature: 0 });
  const controller = new AbortController();
  const { signal } = controller;
  const whole = engine.chatCompletions(long, { signal });
  const streamed = collect(engine.chatCompletions({ ...long, stream: true }, { signal }));
  const completion = engine.completions(
    { prompt: 'x', max_tokens: 900, ignore_eos: true },
    { signal },
  );
  setTimeout(() => controller.abort(new Error('enough')), 30);
  for (const request of [whole, streamed, completion])
    await expect(request).rejects.toThrow('enough');
  expect((await other).choices[0]!.message.content.length).toBeGreaterThan(0);
  await settled(engine);
});

test('a timeout is a reason too', async () => {
  await using engine = await loadPocket();
  const signal = AbortSignal.timeout(20);
  await expect(engine.chatCompletions({ ...long, n: 4 }, { signal })).rejects.toMatchObject({
    name: 'TimeoutError',
  });
  await settled(engine);
});

test('a hundred aborts at random moments leave nothing behind', async () => {
  await using engine = await loadPocket({ maxModelLen: 512, kvCacheBytes: 2 ** 20 });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 100 }, async (_, i) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), (i * 13) % 120);
      const body = { ...long, max_tokens: 60, seed: i };
      return engine.chatCompletions(body, { signal: controller.signal });
    }),
  );
  for (const outcome of outcomes)
    if (outcome.status === 'rejected') expect(outcome.reason.name).toBe('AbortError');
  const stats = await settled(engine);
  expect(stats.failure).toBe(null);
  const after = await engine.chatCompletions({ messages: user('Hello!'), temperature: 0 });
  expect(after.choices[0]!.message.content.length).toBeGreaterThan(0);
});

test('a stop string frees the rest of the request', async () => {
  await using engine = await loadPocket();
  const body = { ...long, logit_bias: { '100': 100 }, temperature: 0 };
  const token = (await engine.detokenize({ tokens: [100] })).text;
  const result = await engine.chatCompletions({ ...body, stop: token.repeat(3) });
  expect(result.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: '' } });
  expect(result.usage.completion_tokens).toBe(3);
  await settled(engine);
});

test('close during generation: callers get engine_closed, and so does everyone after', async () => {
  const engine = await loadPocket();
  const whole = engine.chatCompletions(long);
  const stream = await engine.chatCompletions({ ...long, stream: true });
  expect((await stream.next()).done).toBe(false);
  const failures = Promise.all([
    expect(whole).rejects.toMatchObject(closed),
    expect(collect(stream)).rejects.toMatchObject(closed),
  ]);
  await engine.close();
  await failures;
  await engine.close();
  await expect(engine.chatCompletions(long)).rejects.toMatchObject(closed);
  await expect(engine.completions({ prompt: 'x' })).rejects.toMatchObject(closed);
  await expect(engine.detokenize({ tokens: [1] })).rejects.toMatchObject(closed);
  expect(() => engine.stats()).toThrow(expect.objectContaining(closed));
});

test('two engines in one process do not know of each other', async () => {
  const [a, b] = await Promise.all([loadPocket(), loadPocket()]);
  const body = { messages: user('What is 467 + 385?'), temperature: 0, max_tokens: 40 };
  const [first, second] = await Promise.all([a.chatCompletions(body), b.chatCompletions(body)]);
  expect(second.choices).toEqual(first.choices);
  await a.close();
  expect((await b.chatCompletions(body)).choices).toEqual(first.choices);
  await b.close();
});

test('an engine in a worker thread gives the same tokens', async () => {
  await using engine = await loadPocket();
  const body = { messages: user('What is 467 + 385?'), temperature: 0, max_tokens: 40 };
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.url).then(async ({ Engine }) => {
      const engine = await Engine.load(workerData.model, workerData.options);
      parentPort.postMessage(await engine.chatCompletions(workerData.body));
      await engine.close();
    });`;
  const url = new URL('../../dist/index.js', import.meta.url).href;
  const worker = new Worker(code, {
    eval: true,
    workerData: { url, model: pocket, options: small, body },
  });
  const [message, exit] = await Promise.all([
    new Promise<{ choices: unknown }>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    }),
    new Promise<number>((resolve) => {
      worker.once('exit', resolve);
    }),
  ]);
  expect(exit).toBe(0);
  expect(message.choices).toEqual((await engine.chatCompletions(body)).choices);
});

test('a load that is aborted rejects with the reason', async () => {
  const signal = AbortSignal.abort(new Error('never mind'));
  await expect(Engine.load(pocket, { signal })).rejects.toThrow('never mind');
  const controller = new AbortController();
  const loading = Engine.load(pocket, {
    ...small,
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('stop loading')),
  });
  await expect(loading).rejects.toThrow('stop loading');
});
