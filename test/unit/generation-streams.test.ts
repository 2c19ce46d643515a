/** Streams as objects: awaitable or not, left early, aborted, failed, never read. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bytesOf, collect, type Fake, fakeEngine, imEnd, type Step } from './fake-engine.js';

const body = { messages: [{ role: 'user' as const, content: 'hi' }], stream: true as const };
const whole = { messages: body.messages };
const steps: Step[] = [
  ...bytesOf('Hello').map((t) => ({ tokens: [t] })),
  { tokens: [imEnd], finish: 'stop' },
];

let fake: Fake;
const stray: unknown[] = [];
const onStray = (reason: unknown) => stray.push(reason);

beforeEach(async () => {
  fake = await fakeEngine();
  stray.length = 0;
  process.on('unhandledRejection', onStray);
});

afterEach(async () => {
  await turns(5);
  await until(() => fake.native.live.size === 0 && fake.native.mailbox.size === 0);
  process.off('unhandledRejection', onStray);
  expect(stray).toEqual([]);
});

/** A condition that never comes true is a test that times out. */
async function until(condition: () => boolean) {
  while (!condition()) await turns(1);
}

async function turns(n: number) {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function textOf(stream: AsyncIterable<{ choices: { delta: { content?: string } }[] }>) {
  return (await collect(stream)).map((c) => c.choices[0]?.delta.content ?? '').join('');
}

test('the same chunks with and without await', async () => {
  fake.native.answer(...steps);
  expect(await textOf(fake.engine.chatCompletions(body))).toBe('Hello');
  expect(await textOf(await fake.engine.chatCompletions(body))).toBe('Hello');
});

test('leaving the loop aborts natively', async () => {
  fake.native.answer(...steps.slice(0, 3));
  for await (const chunk of fake.engine.chatCompletions(body)) {
    if (chunk.choices[0]!.delta.content) break;
  }
  expect(fake.native.aborted).toHaveLength(1);
});

test('throwing out of the loop aborts natively', async () => {
  fake.native.answer(...steps.slice(0, 2));
  await expect(async () => {
    for await (const _ of fake.engine.chatCompletions(body)) throw new Error('mine');
  }).rejects.toThrow('mine');
  expect(fake.native.aborted).toHaveLength(1);
});

test('return() while a next() waits ends both', async () => {
  const stream = await fake.engine.chatCompletions(body);
  const waiting = stream.next();
  await turns(2);
  expect(await stream.return!()).toEqual({ done: true, value: undefined });
  expect(await waiting).toEqual({ done: true, value: undefined });
  expect(fake.native.aborted).toHaveLength(1);
});

test('disposing of a stream aborts natively', async () => {
  const stream = await fake.engine.chatCompletions(body);
  await stream[Symbol.asyncDispose]();
  expect(fake.native.aborted).toHaveLength(1);
});

test('n samples are all aborted', async () => {
  const stream = await fake.engine.chatCompletions({ ...body, n: 4 });
  await stream.return!();
  expect(fake.native.aborted).toHaveLength(4);
});

test('a stream that ended aborts nothing when it is left', async () => {
  fake.native.answer(...steps);
  const stream = await fake.engine.chatCompletions(body);
  await collect(stream);
  await stream.return!();
  expect(fake.native.aborted).toEqual([]);
});

test('a signal that is already aborted: nothing is submitted', async () => {
  const signal = AbortSignal.abort(new Error('too late'));
  await expect(fake.engine.chatCompletions(whole, { signal })).rejects.toThrow('too late');
  await expect(collect(fake.engine.chatCompletions(body, { signal }))).rejects.toThrow('too late');
  await expect(fake.engine.completions({ prompt: 'x' }, { signal })).rejects.toThrow('too late');
  expect(fake.native.submitted).toEqual([]);
});

test('a signal that aborts while tokenising: nothing is submitted', async () => {
  const controller = new AbortController();
  const result = fake.engine.chatCompletions(whole, { signal: controller.signal });
  controller.abort();
  await expect(result).rejects.toMatchObject({ name: 'AbortError' });
  expect(fake.native.submitted).toEqual([]);
});

test('a signal in mid-generation rejects with its reason and aborts natively', async () => {
  const controller = new AbortController();
  fake.native.answer(...steps.slice(0, 2));
  const result = fake.engine.chatCompletions({ ...whole, n: 2 }, { signal: controller.signal });
  const rejected = expect(result).rejects.toThrow('enough');
  await until(() => fake.native.submitted.length === 2);
  controller.abort(new Error('enough'));
  await rejected;
  expect(fake.native.aborted).toHaveLength(2);

  const again = new AbortController();
  const seen: string[] = [];
  await expect(async () => {
    for await (const c of fake.engine.chatCompletions(body, { signal: again.signal })) {
      seen.push(c.choices[0]!.delta.content ?? '');
      if (seen.length === 2) again.abort();
    }
  }).rejects.toMatchObject({ name: 'AbortError' });
  expect(seen.join('')).toBe('H');
});

test('a finished request lets go of its signal', async () => {
  fake.native.answer(...steps);
  const controller = new AbortController();
  await fake.engine.chatCompletions(whole, { signal: controller.signal });
  controller.abort();
  expect(fake.native.aborted).toEqual([]);
});

test('one signal for many requests: all are aborted, without a warning', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const controller = new AbortController();
  const { signal } = controller;
  const requests = Array.from({ length: 30 }, () => fake.engine.chatCompletions(whole, { signal }));
  const outcomes = Promise.allSettled(requests);
  await until(() => fake.native.submitted.length === 30);
  controller.abort();
  for (const { status } of await outcomes) expect(status).toBe('rejected');
  await turns(3);
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
  expect(fake.native.aborted).toHaveLength(30);
});

test('something that is no signal', async () => {
  await expect(fake.engine.chatCompletions(whole, { signal: 5 as never })).rejects.toMatchObject({
    code: 'invalid_type',
    param: 'signal',
  });
});

test('a bad streaming request rejects at await and at the first next, and nowhere if unread', async () => {
  const bad = { ...body, temperature: -1 };
  await expect(fake.engine.chatCompletions(bad).then()).rejects.toMatchObject({
    code: 'invalid_value',
    param: 'temperature',
  });
  await expect(collect(fake.engine.chatCompletions(bad))).rejects.toMatchObject({ status: 400 });
  await expect(
    collect(fake.engine.completions({ prompt: '', stream: true })),
  ).rejects.toMatchObject({ param: 'prompt' });
  fake.engine.chatCompletions(bad);
  fake.engine.completions({ prompt: '', stream: true });
  fake.engine.chatCompletions(body, { signal: AbortSignal.abort() });
});

test('a failed stream that nobody reads is no unhandled rejection', async () => {
  fake.native.answer({ error: { code: 'engine_failed', message: 'device lost' } });
  fake.engine.chatCompletions(body);
  const stream = await fake.engine.chatCompletions(body);
  await turns(3);
  await expect(stream.next()).rejects.toMatchObject({ code: 'engine_failed', status: 500 });
});

test('after an error a stream has ended', async () => {
  fake.native.answer({ error: { code: 'engine_failed', message: 'device lost' } });
  const stream = await fake.engine.chatCompletions(body);
  await expect(stream.next()).rejects.toMatchObject({ message: 'device lost' });
  expect(await stream.next()).toEqual({ done: true, value: undefined });
});

test('streams run side by side without being read', async () => {
  fake.native.answer(...steps);
  const a = fake.engine.chatCompletions(body);
  const b = fake.engine.chatCompletions(body);
  await until(() => fake.native.submitted.length === 2 && fake.native.live.size === 0);
  expect([await textOf(b), await textOf(a)]).toEqual(['Hello', 'Hello']);
});

test('close ends what is in flight with engine_closed, and refuses what comes later', async () => {
  fake.native.answer(...steps.slice(0, 2));
  const pending = fake.engine.chatCompletions(whole);
  const stream = await fake.engine.chatCompletions(body);
  const rest = collect(stream);
  const expected = { name: 'EngineError', code: 'engine_closed', status: 503 };
  const failures = Promise.all([
    expect(pending).rejects.toMatchObject(expected),
    expect(rest).rejects.toMatchObject(expected),
  ]);
  await turns(4);
  await Promise.all([fake.engine.close(), fake.engine.close()]);
  await failures;
  await expect(fake.engine.chatCompletions(whole)).rejects.toMatchObject(expected);
  await expect(collect(fake.engine.chatCompletions(body))).rejects.toMatchObject(expected);
  await expect(fake.engine.tokenize({ prompt: 'x' })).rejects.toMatchObject(expected);
  expect(() => fake.engine.stats()).toThrow(expect.objectContaining(expected));
  await fake.engine[Symbol.asyncDispose]();
});

test('close while a request is being tokenised', async () => {
  const pending = fake.engine.chatCompletions(whole);
  const failure = expect(pending).rejects.toMatchObject({ code: 'engine_closed' });
  await fake.engine.close();
  await failure;
  expect(fake.native.submitted).toEqual([]);
});
