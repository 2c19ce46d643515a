/** The objects and chunks of both endpoints, field by field. */
import { expect, test } from 'vitest';
import { bytesOf, fakeEngine, imEnd } from './fake-engine.js';
import {
  answering,
  chat,
  chatStream,
  complete,
  completeStream,
  end,
  promptTokens,
} from './generation-asking.js';

test('a chat completion', async () => {
  const fake = await answering(
    { tokens: bytesOf('Hi'), cachedTokens: 16 },
    { ...end, cachedTokens: 16 },
  );
  const before = Math.floor(Date.now() / 1000);
  const result = await chat(fake);
  expect(result).toEqual({
    id: expect.stringMatching(/^[0-9a-f]{32}$/),
    object: 'chat.completion',
    created: expect.any(Number),
    model: 'fake',
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: 'Hi',
          refusal: null,
          reasoning_content: null,
          tool_calls: null,
        },
        logprobs: null,
        finish_reason: 'stop',
        matched_stop: imEnd,
      },
    ],
    usage: {
      prompt_tokens: promptTokens,
      total_tokens: promptTokens + 3,
      completion_tokens: 3,
      prompt_tokens_details: { cached_tokens: 16 },
      reasoning_tokens: 0,
      completion_tokens_details: { reasoning_tokens: 0 },
    },
    metadata: { weight_version: 'default' },
  });
  expect(result.created).toBeGreaterThanOrEqual(before);
  expect(result.created).toBeLessThanOrEqual(Date.now() / 1000);
  expect((await chat(fake, { model: 'mine' })).model).toBe('mine');
});

test('an empty answer has empty content, not null', async () => {
  expect((await chat(await answering(end))).choices[0]!.message.content).toBe('');
});

test('chat chunks: role, contents, one finish; one id and one created', async () => {
  const fake = await answering({ tokens: bytesOf('H') }, { tokens: bytesOf('i') }, end);
  const chunks = await chatStream(fake);
  const [first] = chunks;
  const chunk = (delta: object, more: object = {}) => ({
    id: first!.id,
    object: 'chat.completion.chunk',
    created: first!.created,
    model: 'fake',
    choices: [
      { index: 0, delta, logprobs: null, finish_reason: null, matched_stop: null, ...more },
    ],
  });
  expect(chunks).toEqual([
    chunk({ reasoning_content: null, role: 'assistant', content: '' }),
    chunk({ reasoning_content: null, content: 'H' }),
    chunk({ reasoning_content: null, content: 'i' }),
    chunk({ reasoning_content: null }, { finish_reason: 'stop', matched_stop: imEnd }),
  ]);
  expect(first!.id).toMatch(/^[0-9a-f]{32}$/);
});

test('n samples: one id, a role and a finish per index, prompt counted once', async () => {
  const fake = await fakeEngine();
  fake.native.onSubmit = ({ id }) => {
    const letter = 97 + fake.native.submitted.length - 1;
    setImmediate(() => {
      fake.native.send(id, { tokens: [letter], cachedTokens: id === 1 ? 0 : 16 });
      fake.native.send(id, end);
    });
  };
  const whole = await chat(fake, { n: 3 });
  expect(whole.choices.map((c) => [c.index, c.message.content])).toEqual([
    [0, 'a'],
    [1, 'b'],
    [2, 'c'],
  ]);
  expect(whole.usage).toMatchObject({
    prompt_tokens: promptTokens,
    completion_tokens: 6,
    // The first sample's: the others took the prompt from it.
    prompt_tokens_details: { cached_tokens: 0 },
  });
  const chunks = await chatStream(fake, { n: 3 });
  expect(new Set(chunks.map((c) => c.id)).size).toBe(1);
  for (const index of [0, 1, 2]) {
    const own = chunks.flatMap((c) => c.choices).filter((c) => c.index === index);
    expect(own[0]!.delta.role).toBe('assistant');
    expect(own.filter((c) => c.delta.role)).toHaveLength(1);
    expect(own.filter((c) => c.finish_reason)).toHaveLength(1);
    expect(own.at(-1)!.finish_reason).toBe('stop');
  }
});

test('include_usage: one last chunk without choices; otherwise no usage key', async () => {
  const fake = await answering(
    { tokens: bytesOf('H'), cachedTokens: 16 },
    { ...end, cachedTokens: 16 },
  );
  const chunks = await chatStream(fake, { stream_options: { include_usage: true } });
  expect(chunks.at(-1)).toEqual({
    id: chunks[0]!.id,
    object: 'chat.completion.chunk',
    created: chunks[0]!.created,
    model: 'fake',
    choices: [],
    usage: (await chat(fake)).usage,
  });
  expect(chunks.slice(0, -1).some((c) => 'usage' in c)).toBe(false);
  expect((await chatStream(fake)).some((c) => 'usage' in c)).toBe(false);
  const completions = await completeStream(fake, { stream_options: { include_usage: true } });
  expect(completions.at(-1)).toMatchObject({
    choices: [],
    usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
  });
});

test('continuous_usage_stats: usage of the choice so far on every content chunk', async () => {
  const fake = await answering({ tokens: bytesOf('H') }, { tokens: bytesOf('ey') }, end);
  const options = { stream_options: { continuous_usage_stats: true } };
  const counts = (await chatStream(fake, options)).map((c) => c.usage?.completion_tokens);
  expect(counts).toEqual([undefined, 1, 3, undefined]);
});

test('a completion', async () => {
  const fake = await answering({ tokens: bytesOf('de') }, { tokens: [102], finish: 'length' });
  expect(await complete(fake)).toEqual({
    id: expect.stringMatching(/^[0-9a-f]{32}$/),
    object: 'text_completion',
    created: expect.any(Number),
    model: 'fake',
    choices: [
      { index: 0, text: 'def', logprobs: null, finish_reason: 'length', matched_stop: null },
    ],
    usage: {
      prompt_tokens: 3,
      total_tokens: 6,
      completion_tokens: 3,
      prompt_tokens_details: { cached_tokens: 0 },
      reasoning_tokens: 0,
      completion_tokens_details: { reasoning_tokens: 0 },
    },
    metadata: { weight_version: 'default' },
  });
  const chunks = await completeStream(fake);
  expect(chunks.map((c) => c.choices[0])).toEqual([
    { index: 0, text: 'de', logprobs: null, finish_reason: null, matched_stop: null },
    { index: 0, text: 'f', logprobs: null, finish_reason: 'length', matched_stop: null },
  ]);
});

test('a list of prompts: index = prompt * n + sample', async () => {
  const fake = await fakeEngine();
  fake.native.onSubmit = ({ id, promptIds }) =>
    setImmediate(() => fake.native.send(id, { tokens: [promptIds[0]! + 1], finish: 'length' }));
  const whole = await complete(fake, { prompt: ['a', 'p'], n: 2 });
  expect(whole.choices.map((c) => [c.index, c.text])).toEqual([
    [0, 'b'],
    [1, 'b'],
    [2, 'q'],
    [3, 'q'],
  ]);
  expect(whole.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 4 });
});

test('return_token_ids on both endpoints, whole and streamed', async () => {
  const fake = await answering({ tokens: bytesOf('H') }, { tokens: bytesOf('i') }, end);
  const body = { return_token_ids: true };
  const [choice] = (await chat(fake, body)).choices;
  expect(choice!.token_ids).toEqual([72, 105, imEnd]);
  expect(choice!.prompt_token_ids).toHaveLength(promptTokens);
  const chunks = (await chatStream(fake, body)).flatMap((c) => c.choices);
  expect(chunks.flatMap((c) => c.token_ids ?? [])).toEqual(choice!.token_ids);
  expect(chunks[0]!.prompt_token_ids).toEqual(choice!.prompt_token_ids);
  const texts = (await completeStream(fake, body)).flatMap((c) => c.choices);
  expect(texts.flatMap((c) => c.token_ids ?? [])).toEqual([72, 105, imEnd]);
  expect(texts.flatMap((c) => c.prompt_token_ids ?? [])).toEqual(bytesOf('abc'));
});

test('return_routed_experts: base64 int32 from the start asked for, at both places', async () => {
  const fake = await fakeEngine({ captureRoutedExperts: true });
  // 3 prompt tokens + 2 generated - 1 = 4 rows of 2 layers x 1 expert.
  const experts = [0, 1, 2, 3, 4, 5, 6, 7];
  fake.native.answer({ tokens: [97] }, { tokens: [98], finish: 'length', experts });
  const decode = (text: string) => [
    ...new Int32Array(new Uint8Array(Buffer.from(text, 'base64')).buffer),
  ];
  const body = { return_routed_experts: true };
  const whole = await complete(fake, body);
  expect(decode(whole.sglext!.routed_experts)).toEqual(experts);
  expect(whole.choices[0]!.sgl_ext).toEqual(whole.sglext);
  const later = await complete(fake, { ...body, routed_experts_start_len: 3 });
  expect(decode(later.sglext!.routed_experts)).toEqual([6, 7]);
  const chunks = await completeStream(fake, body);
  expect(chunks.at(-1)).toMatchObject({ choices: [], sglext: whole.sglext });
  const chats = await chatStream(fake, body);
  expect(chats.at(-1)!.sglext).toBeDefined();
  // An abort brings none, and a stop string ends a request by an abort.
  await expect(complete(fake, { ...body, stop: 'x' })).rejects.toMatchObject({
    param: 'return_routed_experts',
    code: 'unsupported_value',
  });
  fake.native.answer({ tokens: [97], finish: 'length' });
  const none = await complete(fake);
  expect('sglext' in none || 'sgl_ext' in none.choices[0]!).toBe(false);
});
