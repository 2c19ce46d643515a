/** The objects and chunks of both endpoints, field by field. */
import { expect, test } from 'vitest';
import type { ChatCompletionRequest, CompletionRequest } from '../../lib/index.js';
import { bytesOf, collect, type Fake, fakeEngine, imEnd, type Step, world } from './fake-engine.js';

const messages = [{ role: 'user' as const, content: 'hi' }];
const promptTokens = 21;
const end: Step = { tokens: [imEnd], finish: 'stop' };

async function chat(fake: Fake, body: Partial<ChatCompletionRequest> = {}) {
  return fake.engine.chatCompletions({ messages, ...body, stream: false });
}

async function chatStream(fake: Fake, body: Partial<ChatCompletionRequest> = {}) {
  return collect(fake.engine.chatCompletions({ messages, ...body, stream: true }));
}

async function complete(fake: Fake, body: Partial<CompletionRequest> = {}) {
  return fake.engine.completions({ prompt: 'abc', ...body, stream: false });
}

async function completeStream(fake: Fake, body: Partial<CompletionRequest> = {}) {
  return collect(fake.engine.completions({ prompt: 'abc', ...body, stream: true }));
}

async function answering(...steps: Step[]): Promise<Fake> {
  const fake = await fakeEngine();
  fake.native.answer(...steps);
  return fake;
}

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
        message: { role: 'assistant', content: 'Hi', refusal: null, reasoning_content: null },
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

const scored: Step[] = [
  {
    tokens: [97],
    logprobs: [-0.5],
    top: [
      [
        [97, -0.5],
        [98, -1],
      ],
    ],
  },
  // Several tokens of one chunk: each has its own.
  {
    tokens: [0xf0, 0x9f],
    logprobs: [-1, -2],
    top: [
      [
        [0xf0, -1],
        [99, -1.5],
      ],
      [
        [100, -0.25],
        [0x9f, -2],
      ],
    ],
  },
  {
    tokens: [0x98, 0x80],
    logprobs: [-3, -4],
    top: [
      [
        [1, -1],
        [2, -2],
      ],
      [
        [3, -1],
        [4, -Infinity],
      ],
    ],
  },
  {
    tokens: [imEnd],
    logprobs: [-0.125],
    top: [
      [
        [imEnd, -0.125],
        [97, -8],
      ],
    ],
    finish: 'stop',
  },
];

test('chat logprobs: exact bytes, own tops, the EOS included, the same when streamed', async () => {
  const fake = await answering(...scored);
  const body = { logprobs: true, top_logprobs: 2 };
  const [choice] = (await chat(fake, body)).choices;
  const { content, refusal } = choice!.logprobs!;
  expect(refusal).toBe(null);
  expect(content).toHaveLength(6);
  expect(content[0]).toEqual({
    token: 'a',
    bytes: [97],
    logprob: -0.5,
    top_logprobs: [
      { token: 'a', bytes: [97], logprob: -0.5 },
      { token: 'b', bytes: [98], logprob: -1 },
    ],
  });
  expect(content[2]).toEqual({
    token: 'bytes:\\x9f',
    bytes: [0x9f],
    logprob: -2,
    top_logprobs: [
      { token: 'd', bytes: [100], logprob: -0.25 },
      { token: 'bytes:\\x9f', bytes: [0x9f], logprob: -2 },
    ],
  });
  expect(content[4]!.top_logprobs[1]!.logprob).toBe(-9999);
  expect(content[5]).toMatchObject({ token: '<|im_end|>', logprob: -0.125 });
  expect(content.flatMap((c) => c.bytes).slice(1, 5)).toEqual([...Buffer.from('😀')]);

  const chunks = await chatStream(fake, body);
  const streamed = chunks.flatMap((c) => c.choices).flatMap((c) => c.logprobs?.content ?? []);
  expect(streamed).toEqual(content);
  // A step's logprobs ride with its tokens, also when it gave no text.
  expect(chunks[2]!.choices[0]!.delta.content).toBe('');
  expect(chunks[2]!.choices[0]!.logprobs!.content).toHaveLength(2);
});

test('tokens after a stop string have no logprobs either', async () => {
  const fake = await fakeEngine();
  fake.native.onSubmit = ({ id }) =>
    fake.native.sendMerged(
      id,
      bytesOf('abcd').map((token) => ({ tokens: [token], logprobs: [-1] })),
    );
  const result = await chat(fake, { logprobs: true, stop: 'c' });
  expect(result.choices[0]!.message.content).toBe('ab');
  expect(result.choices[0]!.logprobs!.content).toHaveLength(3);
  expect(result.usage.completion_tokens).toBe(3);
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

test('completion logprobs: offsets, bytes of half characters, no collisions', async () => {
  const [choice] = (await complete(await answering(...scored), { logprobs: 2 })).choices;
  expect(choice!.text).toBe('a😀');
  expect(choice!.logprobs).toEqual({
    tokens: ['a', 'bytes:\\xf0', 'bytes:\\x9f', 'bytes:\\x98', 'bytes:\\x80', '<|im_end|>'],
    token_logprobs: [-0.5, -1, -2, -3, -4, -0.125],
    // UTF-16 units: the four bytes are one character of two.
    text_offset: [0, 1, 1, 1, 1, 3],
    top_logprobs: [
      { a: -0.5, b: -1 },
      { 'bytes:\\xf0': -1, c: -1.5 },
      { d: -0.25, 'bytes:\\x9f': -2 },
      // The chosen token is added where it is not among the likeliest.
      { '\u0001': -1, '\u0002': -2, 'bytes:\\x98': -3 },
      { '\u0003': -1, '\u0004': -9999, 'bytes:\\x80': -4 },
      { '<|im_end|>': -0.125, a: -8 },
    ],
  });
});

const prompted: Step[] = [
  { isPrompt: true, tokens: [98], logprobs: [-2], top: [[[98, -2]]] },
  { isPrompt: true, tokens: [99], logprobs: [-3], top: [[[97, -1]]] },
  { tokens: [world], logprobs: [-1], top: [[[world, -1]]] },
  { tokens: [33], logprobs: [-1], top: [[[33, -1]]], finish: 'length' },
];

test('echo: the prompt before the text, with its logprobs', async () => {
  const fake = await answering(...prompted);
  const body = { echo: true, logprobs: 1 };
  const whole = await complete(fake, body);
  expect(whole.choices[0]).toMatchObject({
    text: 'abc world!',
    logprobs: {
      tokens: ['a', 'b', 'c', ' world', '!'],
      token_logprobs: [null, -2, -3, -1, -1],
      text_offset: [0, 1, 2, 3, 9],
      top_logprobs: [null, { b: -2 }, { a: -1, c: -3 }, { ' world': -1 }, { '!': -1 }],
    },
  });
  expect(whole.usage.completion_tokens).toBe(2);

  const chunks = (await completeStream(fake, body)).map((c) => c.choices[0]!);
  expect(chunks.map((c) => c.text)).toEqual(['abc world', '!']);
  expect(chunks.flatMap((c) => c.logprobs!.tokens)).toEqual(whole.choices[0]!.logprobs!.tokens);
  expect(chunks.flatMap((c) => c.logprobs!.text_offset)).toEqual([0, 1, 2, 3, 9]);
});

test('echo without logprobs, and of token ids', async () => {
  const fake = await answering({ tokens: [100], finish: 'length' });
  expect((await complete(fake, { echo: true })).choices[0]).toMatchObject({
    text: 'abcd',
    logprobs: null,
  });
  expect((await complete(fake, { echo: true, prompt: [97, imEnd, 98] })).choices[0]!.text).toBe(
    'abd',
  );
});

test('scoring: echo with max_tokens 0', async () => {
  const fake = await answering(prompted[0]!, { ...prompted[1]!, finish: 'length' });
  for (const body of [{ echo: true, logprobs: 0, max_tokens: 0 }]) {
    const { choices, usage } = await complete(fake, body);
    expect(choices[0]).toMatchObject({ text: 'abc', finish_reason: 'length' });
    expect(choices[0]!.logprobs!.token_logprobs).toEqual([null, -2, -3]);
    expect(usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 0, total_tokens: 3 });
    const chunks = await completeStream(fake, body);
    expect(chunks).toHaveLength(1);
    expect(chunks[0]!.choices).toEqual(choices);
  }
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
