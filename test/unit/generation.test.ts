import { expect, test } from 'vitest';
import type { ChatCompletionChunk, ChatCompletionRequest } from '../../lib/index.js';
import { bytesOf, collect, type Fake, fakeEngine, imEnd, type Step, world } from './fake-engine.js';

type Fields = Omit<ChatCompletionRequest, 'stream'>;

const ask = (more: Partial<Fields> = {}): Fields => ({
  messages: [{ role: 'user', content: 'hi' }],
  ...more,
});

/** The same request whole and streamed: [text, finish, matched] of both, which must be equal. */
async function both(fake: Fake, steps: Step[], more: Partial<Fields> = {}) {
  fake.native.answer(...steps);
  const object = await fake.engine.chatCompletions(ask(more));
  const chunks = await collect(
    fake.engine.chatCompletions({
      ...ask(more),
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const choice = object.choices[0]!;
  const last = chunks.flatMap((c) => c.choices).find((c) => c.finish_reason !== null)!;
  expect(textOf(chunks)).toBe(choice.message.content);
  expect(last.finish_reason).toBe(choice.finish_reason);
  expect(last.matched_stop).toBe(choice.matched_stop);
  expect(chunks.at(-1)!.usage).toEqual(object.usage);
  return { object, chunks, choice, pieces: chunks.flatMap((c) => c.choices).map((c) => c.delta) };
}

function textOf(chunks: ChatCompletionChunk[]): string {
  return chunks.flatMap((c) => c.choices.map((choice) => choice.delta.content ?? '')).join('');
}

const oneByOne = (text: string): Step[] => bytesOf(text).map((token) => ({ tokens: [token] }));

test('text of an answer that ends by EOS, without the EOS', async () => {
  const { choice, object } = await both(await fakeEngine(), [
    ...oneByOne('Hello'),
    { tokens: [world] },
    { tokens: [imEnd], finish: 'stop' },
  ]);
  expect(choice.message.content).toBe('Hello world');
  expect(choice.finish_reason).toBe('stop');
  expect(choice.matched_stop).toBe(imEnd);
  expect(object.usage.completion_tokens).toBe(7);
});

test('no delta shows half a character', async () => {
  const text = 'naïve 😀 日本';
  const { pieces } = await both(await fakeEngine(), [
    ...oneByOne(text),
    { tokens: [imEnd], finish: 'stop' },
  ]);
  for (const piece of pieces) expect(piece.content ?? '').not.toMatch(/\uFFFD|\p{Surrogate}/u);
  expect(pieces.map((p) => p.content ?? '').join('')).toBe(text);
});

test('bytes that never become a character end as U+FFFD', async () => {
  const { choice } = await both(await fakeEngine(), [
    { tokens: [97] },
    { tokens: [0xf0] },
    { tokens: [0x9f], finish: 'length' },
  ]);
  expect(choice.message.content).toBe('a\uFFFD');
  expect(choice.finish_reason).toBe('length');
  expect(choice.matched_stop).toBe(null);
});

test('a stop string ends the text before it, aborts the rest and is named', async () => {
  const fake = await fakeEngine();
  const steps = [...oneByOne('one STOP two'), { tokens: [imEnd], finish: 'stop' } as Step];
  const { choice, object, pieces } = await both(fake, steps, { stop: ['nope', 'STOP'] });
  expect(choice.message.content).toBe('one ');
  expect(choice.finish_reason).toBe('stop');
  expect(choice.matched_stop).toBe('STOP');
  // "one STOP": what came after is not counted.
  expect(object.usage.completion_tokens).toBe(8);
  expect(fake.native.aborted).toHaveLength(2);
  for (const piece of pieces) expect(piece.content ?? '').not.toMatch(/S/);
});

test('a stop string that only began is part of the text', async () => {
  const { choice } = await both(
    await fakeEngine(),
    [...oneByOne('STO'), { tokens: [imEnd], finish: 'stop' }],
    { stop: 'STOP' },
  );
  expect(choice.message.content).toBe('STO');
  expect(choice.matched_stop).toBe(imEnd);
});

test('the first of two stop strings wins, across merged steps', async () => {
  const fake = await fakeEngine();
  fake.native.onSubmit = ({ id }) => fake.native.sendMerged(id, oneByOne('abcdef'));
  const { choices } = await fake.engine.chatCompletions(ask({ stop: ['def', 'bcd'] }));
  expect(choices[0]!.message.content).toBe('a');
  expect(choices[0]!.matched_stop).toBe('bcd');
});

test('a stop string held back at the end counts, when only the end shows that it is one', async () => {
  // "ab" waits for "abc", which starts as early and was given first.
  const { choice } = await both(
    await fakeEngine(),
    [...oneByOne('xab'), { tokens: [imEnd], finish: 'stop' }],
    { stop: ['abc', 'ab'] },
  );
  expect(choice.message.content).toBe('x');
  expect(choice.matched_stop).toBe('ab');
});

test('no_stop_trim keeps the stop string, and nothing behind it', async () => {
  const { choice } = await both(await fakeEngine(), oneByOne('one STOP two'), {
    stop: 'STOP',
    no_stop_trim: true,
  });
  expect(choice.message.content).toBe('one STOP');
});

test('a special token as stop string ends the text though it is not in it', async () => {
  const fake = await fakeEngine();
  const { choice, object } = await both(
    fake,
    [{ tokens: [97] }, { tokens: [257] }, { tokens: [98], finish: 'length' }],
    { stop: '<|im_start|>' },
  );
  expect(choice.message.content).toBe('a');
  expect(choice.matched_stop).toBe('<|im_start|>');
  expect(object.usage.completion_tokens).toBe(2);
});

test('a stop token id that is no special token is trimmed, and kept with no_stop_trim', async () => {
  const steps: Step[] = [{ tokens: [97] }, { tokens: [98], finish: 'stop' }];
  const trimmed = await both(await fakeEngine(), steps, { stop_token_ids: [98] });
  expect(trimmed.choice.message.content).toBe('a');
  expect(trimmed.choice.matched_stop).toBe(98);
  const kept = await both(await fakeEngine(), steps, { stop_token_ids: [98], no_stop_trim: true });
  expect(kept.choice.message.content).toBe('ab');
});

test('a stop token id as the very last token of max_tokens is text: the answer ended by length', async () => {
  const { choice } = await both(
    await fakeEngine(),
    [{ tokens: [97] }, { tokens: [98], finish: 'length' }],
    { stop_token_ids: [98] },
  );
  expect(choice.message.content).toBe('ab');
  expect(choice.finish_reason).toBe('length');
});

test('special tokens show with skip_special_tokens: false, but not the one that ends', async () => {
  const { choice } = await both(
    await fakeEngine(),
    [{ tokens: [257] }, { tokens: [97] }, { tokens: [imEnd], finish: 'stop' }],
    { skip_special_tokens: false },
  );
  expect(choice.message.content).toBe('<|im_start|>a');
});

test('ids without a token give no text', async () => {
  const { choice } = await both(await fakeEngine(), [
    { tokens: [97, 262, 98] },
    { tokens: [imEnd], finish: 'stop' },
  ]);
  expect(choice.message.content).toBe('ab');
});

test('a reader who comes late gets the whole text in few chunks', async () => {
  const fake = await fakeEngine();
  fake.native.answer(...oneByOne('x'.repeat(150)), { tokens: [imEnd], finish: 'stop' });
  const stream = await fake.engine.chatCompletions({ ...ask(), stream: true });
  await stream.next();
  while (fake.native.live.size > 0) await new Promise((resolve) => setImmediate(resolve));
  const chunks = await collect(stream);
  expect(textOf(chunks)).toBe('x'.repeat(150));
  expect(chunks.length).toBeLessThan(5);
});

test('an error record rejects with its code, and other choices are aborted', async () => {
  const fake = await fakeEngine();
  fake.native.onSubmit = ({ id }) => {
    if (fake.native.submitted.length === 2)
      setImmediate(() =>
        fake.native.send(id, { error: { code: 'out_of_memory', message: 'no blocks left' } }),
      );
  };
  const error = await fake.engine.chatCompletions(ask({ n: 3 })).catch((e) => e);
  expect(error).toMatchObject({
    name: 'EngineError',
    status: 503,
    code: 'out_of_memory',
    message: 'no blocks left',
  });
  expect(fake.native.aborted).toHaveLength(2);
});

test('submit that refuses the second of two choices takes the first one back', async () => {
  const fake = await fakeEngine();
  fake.native.onSubmit = () => {
    fake.native.refuse = Object.assign(new Error('the engine is closed'), {
      code: 'engine_closed',
    });
  };
  const error = await fake.engine.chatCompletions(ask({ n: 2 })).catch((e) => e);
  expect(error).toMatchObject({ code: 'engine_closed', status: 503 });
  expect(fake.native.aborted).toEqual([fake.native.submitted[0]!.id]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(fake.native.mailbox.size).toBe(0);
});
