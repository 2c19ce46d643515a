/** Ids and aborts, stops, best_of, echo and optional fields, on the bundled model. */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { Engine } from '../../lib/index.js';
import { describe, test } from '../device.js';
import { collect, loadPocket, settled, user } from './pocket.js';

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket();
});
afterEach(async () => {
  await settled(engine);
});
afterAll(() => engine.close());

const story = { prompt: 'Once upon a time', max_tokens: 60 };

describe('abort by rid', () => {
  test('ends with what there is; tokens and logprobs agree in length', async () => {
    const stream = engine.completions({
      ...story,
      max_tokens: 900,
      ignore_eos: true,
      rid: 'long',
      logprobs: 0,
      return_token_ids: true,
      stream: true,
    });
    const tokens: number[] = [];
    const scores: number[] = [];
    let finish: string | null = null;
    for await (const { id, choices } of stream) {
      expect(id).toBe('long');
      tokens.push(...(choices[0]!.token_ids ?? []));
      scores.push(...(choices[0]!.logprobs?.token_logprobs ?? []));
      finish = choices[0]!.finish_reason;
      if (tokens.length > 5) engine.abort('long');
    }
    expect(finish).toBe('abort');
    expect(scores).toHaveLength(tokens.length);
    expect(tokens.length).toBeLessThan(900);
  });

  test('abortAll with 32 running: all end with abort, and the engine goes on', async () => {
    const all = Array.from({ length: 32 }, () =>
      engine.completions({ ...story, max_tokens: 900, ignore_eos: true }),
    );
    while (engine.stats().running < 8) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(engine.abortAll()).toBe(32);
    for (const { choices } of await Promise.all(all))
      expect(choices[0]!.finish_reason).toBe('abort');
    expect((await engine.completions(story)).choices[0]!.text).toMatch(/\S/);
  });

  test('a rid in flight is refused a second time', async () => {
    const first = engine.completions({ ...story, rid: 'twice' });
    await expect(engine.completions({ ...story, rid: 'twice' })).rejects.toMatchObject({
      status: 400,
      param: 'rid',
    });
    expect((await first).id).toBe('twice');
    expect((await engine.completions({ ...story, rid: 'twice' })).id).toBe('twice');
  });
});

describe('stops', () => {
  const chat = (more: object) =>
    engine.chatCompletions({
      messages: user('What is 467 + 385?'),
      chat_template_kwargs: { enable_thinking: false },
      max_tokens: 100,
      ...more,
    });

  test('a regular expression, trimmed, named and said', async () => {
    const plain = (await chat({})).choices[0]!.message.content;
    expect(plain).toMatch(/852/);
    const { choices } = await chat({ stop_regex: '8\\d2' });
    expect(choices[0]).toMatchObject({
      finish_reason: 'stop',
      matched_stop: '8\\d2',
      matched_stop_text: '852',
      message: { content: plain.slice(0, plain.indexOf('852')) },
    });
  });

  test('ends of sentences', async () => {
    const { choices } = await engine.completions({ ...story, stop_regex: '[.!?]\\s*$' });
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', matched_stop: '[.!?]\\s*$' });
    expect(choices[0]!.text).not.toMatch(/[.!?]/);
  });

  test('stop_token_ids end an answer under ignore_eos', async () => {
    const { tokens } = await engine.tokenize({ prompt: '5', add_special_tokens: false });
    const { choices } = await chat({ ignore_eos: true, stop_token_ids: tokens });
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', matched_stop: tokens[0] });
    const on = await chat({ ignore_eos: true, max_tokens: 60 });
    expect(on.choices[0]).toMatchObject({ finish_reason: 'length', matched_stop: null });
    expect(on.usage.completion_tokens).toBe(60);
  });
});

test('best_of returns the likeliest of the samples that n would', async () => {
  const body = { ...story, temperature: 1.5, seed: 11, logprobs: 0 };
  const all = await engine.completions({ ...body, n: 6 });
  const mean = (c: (typeof all.choices)[number]) => {
    const list = c.logprobs!.token_logprobs;
    return list.reduce((sum, x) => sum + x, 0) / list.length;
  };
  const order = [...all.choices].sort((a, b) => mean(b) - mean(a)).map((c) => c.text);
  const best = await engine.completions({ ...body, n: 2, best_of: 6 });
  expect(best.choices.map((c) => c.text)).toEqual(order.slice(0, 2));
  expect(best.choices.map((c) => c.index)).toEqual([0, 1]);
  expect(best.usage.completion_tokens).toBe(all.usage.completion_tokens);
});

test('scoring: echo with max_tokens 0 and logprobs 0 agrees with generation', async () => {
  const generated = await engine.completions({ ...story, logprobs: 0, return_token_ids: true });
  const { tokens } = await engine.tokenize({ prompt: story.prompt });
  const ids = [...tokens, ...generated.choices[0]!.token_ids!];
  const { choices, usage } = await engine.completions({
    prompt: ids,
    echo: true,
    max_tokens: 0,
    logprobs: 0,
  });
  const scores = choices[0]!.logprobs!.token_logprobs;
  expect(scores).toHaveLength(ids.length);
  expect(scores[0]).toBe(null);
  const own = generated.choices[0]!.logprobs!.token_logprobs;
  scores.slice(tokens.length).forEach((score, i) => {
    expect(score).toBeCloseTo(own[i]!, 2);
  });
  expect(usage.completion_tokens).toBe(0);
});

test('matched_stop is the id of an EOS, and meta_info says the same', async () => {
  const { choices } = await engine.chatCompletions({
    messages: user('Hello!'),
    max_tokens: 300,
    return_meta_info: true,
    return_prompt_token_ids: true,
  });
  const { matched_stop, meta_info, prompt_token_ids } = choices[0]!;
  expect([0, 2]).toContain(matched_stop);
  expect(meta_info).toMatchObject({
    finish_reason: { type: 'stop', matched: matched_stop },
    prompt_tokens: prompt_token_ids!.length,
  });
});

test('an adapter is refused, and a served name with a colon is none', async () => {
  await expect(engine.completions({ ...story, model: 'pocket:french' })).rejects.toMatchObject({
    status: 400,
    param: 'model',
    message: expect.stringContaining('not enabled'),
  });
  const named = await loadPocket({ servedModelName: 'pocket:4m' });
  try {
    expect((await named.completions({ ...story, model: 'pocket:4m' })).model).toBe('pocket:4m');
    await expect(named.completions({ ...story, model: 'pocket:4m:x' })).rejects.toMatchObject({
      message: expect.stringContaining("adapter 'x'"),
    });
  } finally {
    await named.close();
  }
});

test('chunks of n samples share an id, and each token is counted once', async () => {
  const chunks = await collect(
    engine.chatCompletions({
      messages: user('What is 12 + 30?'),
      n: 3,
      seed: 1,
      temperature: 1,
      max_tokens: 200,
      stream: true,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    }),
  );
  expect(new Set(chunks.map((c) => c.id)).size).toBe(1);
  const last = new Map<number, number>();
  for (const { choices, usage } of chunks) {
    if (choices[0] && usage) last.set(choices[0].index, usage.completion_tokens);
  }
  const total = [...last.values()].reduce((sum, x) => sum + x, 0);
  expect(chunks.at(-1)!.choices).toEqual([]);
  // The token that ends a choice may come after its last text.
  expect(chunks.at(-1)!.usage!.completion_tokens - total).toBeLessThanOrEqual(3);
});
