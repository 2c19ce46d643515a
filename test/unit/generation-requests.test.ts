/** Request ids and aborts by id, best_of, stop expressions, and the optional fields of a choice. */
import { describe, expect, test } from 'vitest';
import type { CompletionRequest } from '../../lib/index.js';
import { adapterOf } from '../../lib/request/adapter.js';
import { bytesOf, collect, type Fake, fakeEngine, imEnd } from './fake-engine.js';
import {
  answering,
  chat,
  chatStream,
  complete,
  completeStream,
  end,
  messages,
  promptTokens,
} from './generation-asking.js';

async function turns(n: number) {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** That many requests are with native code, and have had their first answer. A test that waits in vain times out. */
async function submitted(fake: Fake, count: number) {
  while (fake.native.submitted.length < count) await turns(1);
  await turns(2);
}

describe('rid', () => {
  test('is the id of the response, whole and streamed', async () => {
    const fake = await answering({ tokens: [97] }, end);
    expect((await chat(fake, { rid: 'mine' })).id).toBe('mine');
    for (const chunk of await chatStream(fake, { rid: 'mine' })) expect(chunk.id).toBe('mine');
    expect((await complete(fake, { rid: 'mine', n: 2 })).id).toBe('mine');
  });

  test('a second request of the same id is refused while the first is in flight', async () => {
    const fake = await fakeEngine();
    const first = chat(fake, { rid: 'a' });
    await expect(chat(fake, { rid: 'a' })).rejects.toMatchObject({
      status: 400,
      param: 'rid',
      message: expect.stringMatching(/^Duplicate request ID detected: a\./),
    });
    await submitted(fake, 1);
    fake.native.answer(end);
    for (const id of fake.native.live) fake.native.send(id, end);
    await first;
    expect((await chat(fake, { rid: 'a' })).id).toBe('a');
  });

  test.each([
    ['refused by its fields', { temperature: -1 }],
    ['too long', { messages: [{ role: 'user' as const, content: 'x'.repeat(300) }] }],
  ])('is free again after a request that was %s', async (_, bad) => {
    const fake = await answering(end);
    await expect(chat(fake, { rid: 'a', ...bad })).rejects.toMatchObject({ status: 400 });
    expect((await chat(fake, { rid: 'a' })).id).toBe('a');
  });

  test('is free again after a signal, a failure and leaving the loop', async () => {
    const fake = await fakeEngine();
    const controller = new AbortController();
    const aborted = fake.engine.chatCompletions(
      { messages, rid: 'a' },
      { signal: controller.signal },
    );
    await submitted(fake, 1);
    controller.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    fake.native.answer({ error: { code: 'out_of_memory', message: 'full' } });
    await expect(chat(fake, { rid: 'a' })).rejects.toThrow('full');
    fake.native.answer({ tokens: [97] });
    for await (const _ of fake.engine.chatCompletions({ messages, rid: 'a', stream: true })) break;
    expect(fake.engine.abortAll()).toBe(0);
  });
});

describe('abort', () => {
  test('ends one request with what it has, and no other', async () => {
    const fake = await answering({ tokens: bytesOf('Hel') });
    const [a, b] = [chat(fake, { rid: 'a', n: 2 }), chat(fake, { rid: 'b' })];
    await submitted(fake, 3);
    expect(fake.engine.abort('a')).toBe(true);
    expect(fake.engine.abort('a')).toBe(false);
    expect(fake.engine.abort('nobody')).toBe(false);
    const { choices, usage } = await a;
    expect(choices.map((c) => c.message.content)).toEqual(['Hel', 'Hel']);
    expect(choices.map((c) => c.finish_reason)).toEqual(['abort', 'abort']);
    expect(choices[0]!.matched_stop).toBe(null);
    expect(usage.completion_tokens).toBe(6);
    expect(fake.native.aborted).toHaveLength(2);
    for (const id of fake.native.live) fake.native.send(id, end);
    expect((await b).choices[0]!.finish_reason).toBe('stop');
    await turns(2);
    expect(fake.native.mailbox.size).toBe(0);
  });

  test('ends a stream with a finish chunk and usage', async () => {
    const fake = await answering({ tokens: bytesOf('Hel') });
    const stream = fake.engine.chatCompletions({
      messages,
      rid: 's',
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = collect(stream);
    await submitted(fake, 1);
    expect(fake.engine.abort('s')).toBe(true);
    const seen = await chunks;
    expect(seen.at(-2)!.choices[0]!.finish_reason).toBe('abort');
    expect(seen.at(-1)!.usage!.completion_tokens).toBe(3);
  });

  test('before the request was submitted ends it too', async () => {
    const fake = await fakeEngine();
    const pending = chat(fake, { rid: 'early' });
    expect(fake.engine.abort('early')).toBe(true);
    expect((await pending).choices[0]).toMatchObject({
      finish_reason: 'abort',
      message: { content: '' },
    });
    await turns(3);
    expect(fake.native.live.size).toBe(0);
  });

  test('abortAll ends all and says how many', async () => {
    const fake = await answering({ tokens: [97] });
    const all = [chat(fake), chat(fake), complete(fake)];
    await submitted(fake, 3);
    expect(fake.engine.abortAll()).toBe(3);
    for (const { choices } of await Promise.all(all))
      expect(choices[0]!.finish_reason).toBe('abort');
    expect(fake.engine.abortAll()).toBe(0);
  });

  test('by the id that a response without rid has', async () => {
    const fake = await answering({ tokens: [97] });
    const stream = await fake.engine.chatCompletions({ messages, stream: true });
    const { value } = await stream.next();
    expect(fake.engine.abort(value!.id)).toBe(true);
    const rest = await collect(stream);
    expect(rest.at(-1)!.choices[0]!.finish_reason).toBe('abort');
  });
});

describe('best_of', () => {
  const sampling = async () => {
    const fake = await fakeEngine();
    // The k-th sample says its own letter, with a logprob of its own.
    const logprobs = [-3, -1, -2, -5];
    fake.native.onSubmit = ({ id }) => {
      const k = (fake.native.submitted.length - 1) % 4;
      setImmediate(() => {
        fake.native.send(id, { tokens: [97 + k], logprobs: [logprobs[k]!] });
        fake.native.send(id, { tokens: [97 + k], logprobs: [logprobs[k]!], finish: 'length' });
      });
    };
    return fake;
  };
  const ask = async (body: Partial<CompletionRequest>) => {
    const fake = await sampling();
    const result = await complete(fake, body);
    return { fake, result, said: result.choices.map((c) => [c.index, c.text]) };
  };

  test('returns the n likeliest per token, the best first, and counts all', async () => {
    const { said, result, fake } = await ask({ n: 2, best_of: 4, seed: 1 });
    expect(said).toEqual([
      [0, 'bb'],
      [1, 'cc'],
    ]);
    expect(result.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 8 });
    expect(result.choices[0]!.logprobs).toBe(null);
    expect(new Set(fake.native.submitted.map((r) => r.params.seed)).size).toBe(4);
    expect(fake.native.submitted[0]!.params.numLogprobs).toBe(0);
  });

  test('for every prompt of a list', async () => {
    const { said } = await ask({ prompt: ['x', 'y'], best_of: 4 });
    expect(said).toEqual([
      [0, 'bb'],
      [1, 'bb'],
    ]);
  });

  test('with logprobs, those of the returned ones', async () => {
    const { result } = await ask({ best_of: 4, logprobs: 0 });
    expect(result.choices[0]!.logprobs!.token_logprobs).toEqual([-1, -1]);
  });
});

describe('stop_regex', () => {
  test('trims at the match, names the pattern and says what matched', async () => {
    const fake = await answering(...bytesOf('It is 42 now').map((t) => ({ tokens: [t] })), end);
    const { choices, usage } = await chat(fake, { stop_regex: ['\\d\\d', 'zz'] });
    expect(choices[0]).toMatchObject({
      message: { content: 'It is ' },
      finish_reason: 'stop',
      matched_stop: '\\d\\d',
      matched_stop_text: '42',
    });
    expect(usage.completion_tokens).toBe(8);
    expect(fake.native.aborted).toHaveLength(1);
    const chunks = (await chatStream(fake, { stop_regex: '\\d\\d' })).flatMap((c) => c.choices);
    expect(chunks.map((c) => c.delta.content ?? '').join('')).toBe('It is ');
    expect(chunks.at(-1)).toMatchObject({ matched_stop: '\\d\\d', matched_stop_text: '42' });
    const kept = await complete(fake, { stop_regex: '\\d\\d', no_stop_trim: true });
    expect(kept.choices[0]).toMatchObject({ text: 'It is 42', matched_stop_text: '42' });
  });

  test('is no field of a choice that ended otherwise', async () => {
    const fake = await answering({ tokens: [97] }, end);
    const [choice] = (await chat(fake, { stop_regex: 'x' })).choices;
    expect(choice).toMatchObject({ matched_stop: imEnd });
    expect(choice).not.toHaveProperty('matched_stop_text');
  });
});

describe('optional fields of a choice', () => {
  test('return_prompt_token_ids on both endpoints, whole and streamed', async () => {
    const fake = await answering({ tokens: [97] }, end);
    const body = { return_prompt_token_ids: true };
    const [choice] = (await chat(fake, body)).choices;
    expect(choice!.prompt_token_ids).toHaveLength(promptTokens);
    expect(choice).not.toHaveProperty('token_ids');
    const chunks = (await chatStream(fake, body)).flatMap((c) => c.choices);
    expect(chunks[0]!.prompt_token_ids).toEqual(choice!.prompt_token_ids);
    expect(chunks.filter((c) => c.prompt_token_ids)).toHaveLength(1);
    expect((await complete(fake, body)).choices[0]!.prompt_token_ids).toEqual(bytesOf('abc'));
    const texts = (await completeStream(fake, body)).flatMap((c) => c.choices);
    expect(texts.filter((c) => c.prompt_token_ids)).toHaveLength(1);
  });

  test('return_meta_info', async () => {
    const fake = await answering({ tokens: [97], cachedTokens: 16 }, { ...end, cachedTokens: 16 });
    const whole = await chat(fake, { return_meta_info: true, rid: 'r' });
    const expected = {
      id: 'r',
      finish_reason: { type: 'stop', matched: imEnd },
      prompt_tokens: promptTokens,
      completion_tokens: 2,
      cached_tokens: 16,
      weight_version: 'default',
      e2e_latency: expect.any(Number),
    };
    expect(whole.choices[0]!.meta_info).toEqual(expected);
    expect(whole.choices[0]!.meta_info!.e2e_latency).toBeLessThan(30);
    const chunks = (await chatStream(fake, { return_meta_info: true, rid: 'r' })).flatMap(
      (c) => c.choices,
    );
    expect(chunks.filter((c) => c.meta_info)).toHaveLength(1);
    expect(chunks.at(-1)!.meta_info).toEqual(expected);
  });
});

test('adapters in a model name', () => {
  expect(adapterOf('base', ['base'])).toBe(null);
  expect(adapterOf('base:a', ['base'])).toBe('a');
  expect(adapterOf('base:a:b', ['base'])).toBe('a:b');
  expect(adapterOf('base: ', ['base'])).toBe(null);
  expect(adapterOf('m:', ['base'])).toBe(null);
  expect(adapterOf('m:Ünï', ['base'])).toBe('Ünï');
  // A served name with colons of its own.
  expect(adapterOf('qwen:7b', ['qwen:7b'])).toBe(null);
  expect(adapterOf('qwen:7b:a', ['qwen:7b'])).toBe('a');
  expect(adapterOf('other', ['qwen:7b'])).toBe(null);
  expect(adapterOf('qwen:7b', ['base', 'qwen:7b'])).toBe(null);
  expect(adapterOf('qwen:7b:a', ['base', 'qwen:7b'])).toBe('a');
  expect(adapterOf('qwen:8b', ['base', 'qwen:7b'])).toBe('8b');
});
