/** Logprobs and echo on both endpoints. */
import { expect, test } from 'vitest';
import { bytesOf, fakeEngine, imEnd, type Step, world } from './fake-engine.js';
import { answering, chat, chatStream, complete, completeStream } from './generation-asking.js';

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
