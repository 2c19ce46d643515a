/** What is generated, and that it depends on the request alone. */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { ChatCompletionRequest, CompletionRequest, Engine } from '../../lib/index.js';
import { describe, test } from '../device.js';
import { collect, loadPocket, prompts, settled, user } from './pocket.js';

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket();
});
afterEach(async () => {
  await settled(engine);
});
afterAll(() => engine.close());

const preempting = 'with so few blocks that they are preempted';

type Chat = Omit<ChatCompletionRequest, 'stream'>;

async function answer(body: Chat, on = engine) {
  const { choices } = await on.chatCompletions({ ...body, return_token_ids: true });
  return choices.map(({ token_ids, message, finish_reason, matched_stop }) => ({
    token_ids,
    text: message.content,
    finish_reason,
    matched_stop,
  }));
}

test('an answer, its usage and its end', async () => {
  const result = await engine.chatCompletions({ messages: user('Hello!'), max_tokens: 200 });
  const [choice] = result.choices;
  expect(choice!.message.role).toBe('assistant');
  expect(choice!.message.content.length).toBeGreaterThan(0);
  expect(['stop', 'length']).toContain(choice!.finish_reason);
  expect(result.model).toBe('pocket');
  const { count } = await engine.tokenize({ messages: user('Hello!') });
  expect(result.usage.prompt_tokens).toBe(count);
  expect(result.usage.total_tokens).toBe(count + result.usage.completion_tokens);
});

test('the text is that of the tokens', async () => {
  const body = { prompt: 'Once upon a time', max_tokens: 60, return_token_ids: true, seed: 3 };
  for (const temperature of [0, 1.5]) {
    const { choices } = await engine.completions({ ...body, temperature });
    const ids = choices[0]!.token_ids!;
    const shown = choices[0]!.finish_reason === 'stop' ? ids.slice(0, -1) : ids;
    expect(choices[0]!.text).toBe((await engine.detokenize({ tokens: shown })).text);
  }
});

describe('64 requests at a time give the tokens of each alone', () => {
  const requests = Array.from({ length: 64 }, (_, i): Chat => {
    const greedy = i % 2 === 0;
    return {
      messages: user(prompts[i % prompts.length]!),
      max_tokens: 8 + ((i * 7) % 60),
      ignore_eos: i % 4 < 2,
      ...(greedy
        ? { temperature: 0 }
        : {
            temperature: 1.2,
            top_p: 0.95,
            top_k: 50,
            min_p: 0.01,
            seed: i,
            frequency_penalty: 0.3,
          }),
      chat_template_kwargs: { enable_thinking: i % 3 === 0 },
    };
  });

  test.each([
    ['with room for all', {}],
    ['with prefix caching off', { prefixCaching: false }],
    ['through chunked prefill', { maxBatchTokens: 24 }],
    // 1 KiB of keys and values per token.
    [preempting, { maxModelLen: 384, kvCacheBytes: 384 * 1024, blockSize: 4 }],
    ['eight at a time', { maxRunningSeqs: 8, blockSize: 4 }],
  ])('%s', async (name, options) => {
    const alone = await loadPocket({ maxRunningSeqs: 1, prefixCaching: false });
    const together = await loadPocket(options);
    try {
      const expected = [];
      for (const request of requests) expected.push(await answer(request, alone));
      const results = await Promise.all(requests.map((request) => answer(request, together)));
      expect(results).toEqual(expected);
      // Again, now that prefixes are in the cache.
      const again = await Promise.all(requests.map((request) => answer(request, together)));
      expect(again).toEqual(expected);
      const stats = await settled(together);
      expect(stats.requestsFinished).toBe(128);
      if (name === preempting) expect(stats.preemptions).toBeGreaterThan(0);
      expect(stats.failure).toBe(null);
    } finally {
      await Promise.all([alone.close(), together.close()]);
    }
  });
});

describe('streaming gives what is given whole', () => {
  const bodies: Partial<Chat>[] = [
    { temperature: 0 },
    { temperature: 1.3, seed: 11, n: 3 },
    { temperature: 1.3, seed: 12, stop: ['e', 'th'], n: 4 },
    { temperature: 1, seed: 5, logprobs: true, top_logprobs: 3 },
    { temperature: 2, seed: 1, max_tokens: 150, skip_special_tokens: false, ignore_eos: true },
    { temperature: 2, seed: 1, max_tokens: 5, no_stop_trim: true, stop: 'a', n: 8 },
  ];
  test.each(bodies)('chat %j', async (more) => {
    const body = { messages: user(prompts[1]!), max_tokens: 40, return_token_ids: true, ...more };
    const whole = await engine.chatCompletions(body);
    const options = { stream_options: { include_usage: true } };
    const chunks = await collect(engine.chatCompletions({ ...body, ...options, stream: true }));
    for (const choice of whole.choices) {
      const own = chunks.flatMap((c) => c.choices).filter((c) => c.index === choice.index);
      expect(own.map((c) => c.delta.content ?? '').join('')).toBe(choice.message.content);
      expect(own.flatMap((c) => c.token_ids ?? [])).toEqual(choice.token_ids);
      expect(own.flatMap((c) => c.logprobs?.content ?? [])).toEqual(choice.logprobs?.content ?? []);
      expect(own.filter((c) => c.delta.role)).toHaveLength(1);
      expect(own.filter((c) => c.finish_reason)).toHaveLength(1);
      const { finish_reason, matched_stop } = own.at(-1)!;
      expect({ finish_reason, matched_stop }).toEqual({
        finish_reason: choice.finish_reason,
        matched_stop: choice.matched_stop,
      });
    }
    expect(new Set(chunks.map((c) => c.id)).size).toBe(1);
    expect(chunks.at(-1)!.choices).toEqual([]);
    expect(chunks.at(-1)!.usage!.completion_tokens).toBe(whole.usage.completion_tokens);
  });

  test('completions of several prompts, echoed and scored', async () => {
    const body: Omit<CompletionRequest, 'stream'> = {
      prompt: ['Once upon', 'The capital of'],
      n: 2,
      seed: 4,
      temperature: 1,
      max_tokens: 12,
      echo: true,
      logprobs: 2,
    };
    const whole = await engine.completions(body);
    const chunks = await collect(engine.completions({ ...body, stream: true }));
    expect(whole.choices.map((c) => c.index)).toEqual([0, 1, 2, 3]);
    for (const choice of whole.choices) {
      const own = chunks.flatMap((c) => c.choices).filter((c) => c.index === choice.index);
      expect(own.map((c) => c.text).join('')).toBe(choice.text);
      expect(choice.text.startsWith(body.prompt[choice.index >> 1] as string)).toBe(true);
      for (const key of ['tokens', 'text_offset', 'token_logprobs', 'top_logprobs'] as const)
        expect(own.flatMap((c) => c.logprobs![key] as unknown[])).toEqual(choice.logprobs![key]);
    }
  });
});

test('a second equal request takes its prompt from the prefix cache', async () => {
  const body = { messages: user(`${prompts[5]} Which of these is it?`), max_tokens: 4 };
  const first = await engine.chatCompletions(body);
  const second = await engine.chatCompletions(body);
  const cached = second.usage.prompt_tokens_details.cached_tokens;
  expect(first.usage.prompt_tokens_details.cached_tokens).toBe(0);
  expect(cached).toBeGreaterThan(second.usage.prompt_tokens / 2);
  expect(cached).toBeLessThan(second.usage.prompt_tokens);
  expect(cached % 16).toBe(0);
  const salted = await engine.chatCompletions({ ...body, cache_salt: 'another tenant' });
  expect(salted.usage.prompt_tokens_details.cached_tokens).toBe(0);
});

test('n samples are prefilled once', async () => {
  const messages = user(`${prompts[5]} ${prompts[7]}`);
  const before = await settled(engine);
  const { usage } = await engine.chatCompletions({ messages, n: 6, max_tokens: 2, seed: 1 });
  const after = await settled(engine);
  const asked = after.promptTokens - before.promptTokens;
  const computed = asked - (after.cachedPromptTokens - before.cachedPromptTokens);
  expect(asked).toBe(6 * usage.prompt_tokens);
  // All of it once, and for the others what is beyond the last whole block.
  expect(computed).toBeLessThanOrEqual(usage.prompt_tokens + 5 * 16);
});
