/** Every sampling parameter does what it says, on real logits. */
import { afterAll, beforeAll, expect } from 'vitest';
import type { ChatCompletionRequest, Engine } from '../../lib/index.js';
import { describe, test } from '../device.js';
import { loadPocket, prompts, settled, user } from './pocket.js';

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket();
});
afterAll(async () => {
  await settled(engine);
  await engine.close();
});

async function ids(body: Partial<Omit<ChatCompletionRequest, 'stream'>>): Promise<number[][]> {
  const { choices } = await engine.chatCompletions({
    messages: user('Tell me a story.'),
    max_tokens: 24,
    ignore_eos: true,
    return_token_ids: true,
    ...body,
  });
  return choices.map((choice) => choice.token_ids!);
}

describe('seeds', () => {
  test('the same seed gives the same samples, and n of them differ', async () => {
    const body = { temperature: 50, seed: 42, n: 4 };
    const first = await ids(body);
    expect(await ids(body)).toEqual(first);
    expect(new Set(first.map(String)).size).toBe(4);
    expect(await ids({ ...body, seed: 43 })).not.toEqual(first);
  });

  test('without a seed every sample differs', async () => {
    const samples = [
      ...(await ids({ temperature: 50, n: 3 })),
      ...(await ids({ temperature: 50 })),
    ];
    expect(new Set(samples.map(String)).size).toBe(4);
  });

  test('the first of n is the sample alone', async () => {
    const [first] = await ids({ temperature: 50, seed: 7, n: 3 });
    expect(await ids({ temperature: 50, seed: 7 })).toEqual([first]);
  });
});

test('temperature 0 is greedy, and so are top_k 1 and a temperature below 1e-6', async () => {
  const greedy = await ids({ temperature: 0 });
  expect(await ids({ temperature: 0 })).toEqual(greedy);
  expect(await ids({ temperature: 1, top_k: 1 })).toEqual(greedy);
  expect(await ids({ temperature: 1e-7 })).toEqual(greedy);
  expect(await ids({ temperature: 1, top_p: 1e-9 })).toEqual(greedy);
  expect(await ids({ temperature: 1, min_p: 1 })).toEqual(greedy);
});

test('logit_bias forces a token, and forbids one', async () => {
  expect(await ids({ temperature: 1, seed: 1, logit_bias: { '100': 100 } })).toEqual([
    Array(24).fill(100),
  ]);
  const [free] = await ids({ temperature: 0 });
  const forbidden = free![0]!;
  const [other] = await ids({ temperature: 0, logit_bias: { [forbidden]: -100 } });
  expect(other).not.toContain(forbidden);
});

test('a biased request does not touch its neighbours', async () => {
  const alone = await ids({ temperature: 0 });
  const [biased, neighbour] = await Promise.all([
    ids({ temperature: 0, logit_bias: { '100': 100 } }),
    ids({ temperature: 0 }),
  ]);
  expect(biased).toEqual([Array(24).fill(100)]);
  expect(neighbour).toEqual(alone);
});

test('penalties change the logit of a token that was generated, by what they say', async () => {
  // The bias leaves two candidates; in the second step the first token has been seen once.
  const gap = async (more: object) => {
    const { choices } = await engine.chatCompletions({
      messages: user('Tell me a story.'),
      logit_bias: { '100': 100, '101': 100 },
      temperature: 0,
      max_tokens: 3,
      logprobs: true,
      top_logprobs: 2,
      return_token_ids: true,
      ...more,
    });
    const [first, second] = choices[0]!.logprobs!.content;
    const of = (token: string) => second!.top_logprobs.find((t) => t.token === token)!.logprob;
    const other = second!.top_logprobs.find((t) => t.token !== first!.token)!;
    return of(first!.token) - other.logprob;
  };
  const plain = await gap({});
  expect((await gap({ presence_penalty: 2 })) - plain).toBeCloseTo(-2, 3);
  expect((await gap({ frequency_penalty: 1.5 })) - plain).toBeCloseTo(-1.5, 3);
  expect((await gap({ presence_penalty: -1 })) - plain).toBeCloseTo(1, 3);
  expect((await gap({ presence_penalty: 1, frequency_penalty: 1 })) - plain).toBeCloseTo(-2, 3);
  expect(await gap({ repetition_penalty: 1.5 })).not.toBeCloseTo(plain, 3);
  // By count: in a hundred steps it must have been the other one's turn.
  const body = { logit_bias: { '100': 100, '101': 100 }, temperature: 0, max_tokens: 100 };
  const [often] = await ids({ ...body, frequency_penalty: 2 });
  expect(new Set(often).size).toBeGreaterThan(1);
});

test('ignore_eos goes on to max_tokens, but not past stop_token_ids', async () => {
  const end = { logit_bias: { '2': 100 }, temperature: 0 };
  const ended = await engine.chatCompletions({ messages: user('x'), max_tokens: 9, ...end });
  expect(ended.choices[0]).toMatchObject({
    finish_reason: 'stop',
    matched_stop: 2,
    message: { content: '' },
  });
  expect(ended.usage.completion_tokens).toBe(1);
  const body = {
    messages: user('x'),
    max_tokens: 9,
    ignore_eos: true,
    ...end,
  };
  const ignored = await engine.chatCompletions(body);
  expect(ignored.choices[0]!.finish_reason).toBe('length');
  expect(ignored.usage.completion_tokens).toBe(9);
  const stopped = await engine.chatCompletions({ ...body, stop_token_ids: [2] });
  expect(stopped.choices[0]).toMatchObject({ finish_reason: 'stop', matched_stop: 2 });
  expect(stopped.usage.completion_tokens).toBe(1);
});

test('min_tokens holds EOS and stop_token_ids back, and nothing longer', async () => {
  const body = {
    messages: user('x'),
    max_tokens: 20,
    temperature: 0,
    logit_bias: { '2': 100, '100': 99 },
    stop_token_ids: [100],
    return_token_ids: true,
  };
  const none = await engine.chatCompletions(body);
  expect(none.choices[0]!.token_ids).toHaveLength(1);
  const { choices } = await engine.chatCompletions({ ...body, min_tokens: 6 });
  expect(choices[0]!.token_ids).toHaveLength(7);
  expect(choices[0]!.token_ids!.slice(0, 6)).not.toContain(2);
  expect(choices[0]!.token_ids!.slice(0, 6)).not.toContain(100);
  expect(choices[0]!.finish_reason).toBe('stop');
  expect([2, 100]).toContain(choices[0]!.matched_stop);
});

test('max_tokens ends by length', async () => {
  const { choices, usage } = await engine.chatCompletions({
    messages: user(prompts[1]!),
    max_tokens: 5,
    ignore_eos: true,
  });
  expect(choices[0]).toMatchObject({ finish_reason: 'length', matched_stop: null });
  expect(usage.completion_tokens).toBe(5);
});

test('a stop string cuts the text where it begins, in every place', async () => {
  const body = { messages: user(prompts[3]!), max_tokens: 60, temperature: 0, ignore_eos: true };
  const { content } = (await engine.chatCompletions(body)).choices[0]!.message;
  expect(content.length).toBeGreaterThan(20);
  for (const at of [1, 7, 13, content.length - 4]) {
    const stop = content.slice(at, at + 3);
    const [choice] = (await engine.chatCompletions({ ...body, stop })).choices;
    expect(choice!.message.content).toBe(content.slice(0, content.indexOf(stop)));
    expect(choice).toMatchObject({ finish_reason: 'stop', matched_stop: stop });
    const kept = await engine.chatCompletions({ ...body, stop, no_stop_trim: true });
    expect(kept.choices[0]!.message.content).toBe(
      content.slice(0, content.indexOf(stop) + stop.length),
    );
  }
});

describe('logprobs', () => {
  test('are probabilities: the greedy token is the likeliest, tops fall and sum to at most 1', async () => {
    const { choices } = await engine.chatCompletions({
      messages: user(prompts[1]!),
      max_tokens: 16,
      temperature: 0,
      logprobs: true,
      top_logprobs: 20,
    });
    const { content } = choices[0]!.logprobs!;
    expect(content.length).toBeGreaterThan(0);
    for (const { token, bytes, logprob, top_logprobs } of content) {
      expect(top_logprobs).toHaveLength(20);
      expect(top_logprobs[0]).toEqual({ token, bytes, logprob });
      const values = top_logprobs.map((t) => t.logprob);
      expect(values).toEqual([...values].sort((a, b) => b - a));
      const sum = values.reduce((total, value) => total + Math.exp(value), 0);
      expect(sum).toBeLessThanOrEqual(1 + 1e-4);
      expect(sum).toBeGreaterThan(0.02);
    }
  });

  test('without top_logprobs the chosen token has its own alone', async () => {
    const { choices } = await engine.chatCompletions({
      messages: user('x'),
      max_tokens: 3,
      logprobs: true,
      ignore_eos: true,
    });
    expect(choices[0]!.logprobs!.content.map((c) => c.top_logprobs)).toEqual([[], [], []]);
    expect(choices[0]!.logprobs!.content.every((c) => c.logprob <= 0)).toBe(true);
  });

  test('of the prompt agree with those of generating it', async () => {
    // In f32: on a GPU a prompt and what is generated meet kernels that round to 16 bits in other places.
    await using precise = await loadPocket({ computeDtype: 'f32' });
    const prompt = [...(await precise.tokenize({ prompt: 'Once upon a time' })).tokens];
    const body = { prompt, max_tokens: 12, temperature: 0, logprobs: 0, ignore_eos: true };
    const generated = (await precise.completions({ ...body, return_token_ids: true })).choices[0]!;
    const scored = await precise.completions({
      prompt: [...prompt, ...generated.token_ids!],
      max_tokens: 0,
      echo: true,
      logprobs: 0,
    });
    const { token_logprobs, tokens, text_offset } = scored.choices[0]!.logprobs!;
    expect(token_logprobs).toHaveLength(prompt.length + 12);
    expect(token_logprobs[0]).toBe(null);
    expect(tokens.slice(prompt.length)).toEqual(generated.logprobs!.tokens);
    token_logprobs.slice(prompt.length).forEach((value, i) => {
      expect(Math.abs(value - generated.logprobs!.token_logprobs[i]!)).toBeLessThan(1e-3);
    });
    const { text } = scored.choices[0]!;
    tokens.forEach((token, i) => {
      if (!token.startsWith('bytes:') && !token.startsWith('<'))
        expect(text.slice(text_offset[i]!, text_offset[i]! + token.length)).toBe(token);
    });
  });
});
