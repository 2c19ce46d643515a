/** Reasoning, tools, budgets and continued answers of the bundled model. */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type {
  ChatCompletionChunk,
  ChatCompletionRequest,
  Engine,
  ResponseMessage,
} from '../../lib/index.js';
import { describe, test } from '../device.js';
import { collect, loadPocket, settled, user } from './pocket.js';
import { noThinking, weather } from './surface/helpers.js';

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket();
});
afterEach(async () => {
  await settled(engine);
});
afterAll(() => engine.close());

const sum = user('What is 467 + 385?');

type Body = Omit<ChatCompletionRequest, 'stream'>;

async function streamed(body: Body): Promise<ChatCompletionChunk[]> {
  return collect(
    engine.chatCompletions({ ...body, stream: true, stream_options: { include_usage: true } }),
  );
}

function joined(chunks: ChatCompletionChunk[]) {
  const deltas = chunks.flatMap((c) => c.choices).map((c) => c.delta);
  return {
    content: deltas.map((d) => d.content ?? '').join(''),
    reasoning: deltas.map((d) => d.reasoning_content ?? '').join(''),
    arguments: deltas.flatMap((d) => d.tool_calls ?? []).map((c) => c.function.arguments),
    names: deltas.flatMap((d) => d.tool_calls ?? []).flatMap((c) => c.function.name ?? []),
  };
}

const said = (message: ResponseMessage) => ({
  content: message.content,
  reasoning: message.reasoning_content ?? '',
});

describe('reasoning', () => {
  test('stands apart from the answer, and its tokens are counted exactly', async () => {
    const whole = await engine.chatCompletions({
      messages: sum,
      max_tokens: 300,
      return_token_ids: true,
    });
    const { message, token_ids: ids } = whole.choices[0]!;
    expect(message.reasoning_content).toMatch(/\S/);
    expect(message.content).toMatch(/852/);
    expect(message.content + message.reasoning_content).not.toMatch(/<\/?think>/);
    const { tokens } = await engine.tokenize({ prompt: '</think>', add_special_tokens: false });
    expect(tokens).toHaveLength(1);
    const count = ids!.indexOf(tokens[0]!) + 1;
    expect(count).toBeGreaterThan(1);
    expect(whole.usage.reasoning_tokens).toBe(count);
    expect(whole.usage.completion_tokens_details.reasoning_tokens).toBe(count);
    expect(whole.usage.completion_tokens).toBe(ids!.length);

    const chunks = await streamed({ messages: sum, max_tokens: 300 });
    expect(joined(chunks)).toMatchObject(said(message));
    expect(chunks.at(-1)!.usage!.reasoning_tokens).toBe(count);
  });

  test.each([
    ['chat_template_kwargs', noThinking],
    ['reasoning_effort', { reasoning_effort: 'none' as const }],
    ['reasoning', { reasoning: { enabled: false } }],
  ])('is off by %s', async (_, body) => {
    const { choices, usage } = await engine.chatCompletions({
      messages: sum,
      max_tokens: 300,
      ...body,
    });
    expect(choices[0]!.message.reasoning_content).toBe(null);
    expect(choices[0]!.message.content).toMatch(/852/);
    expect(usage.reasoning_tokens).toBe(0);
  });

  test('stays in the content with separate_reasoning: false', async () => {
    const body = { messages: sum, max_tokens: 300 };
    const apart = (await engine.chatCompletions(body)).choices[0]!.message;
    const raw = await engine.chatCompletions({ ...body, separate_reasoning: false });
    const { content, reasoning_content } = raw.choices[0]!.message;
    expect(reasoning_content).toBe(null);
    expect(content).toBe(`<think>${apart.reasoning_content}</think>${apart.content}`);
    expect(raw.usage.reasoning_tokens).toBeGreaterThan(0);
    expect(joined(await streamed({ ...body, separate_reasoning: false })).content).toBe(content);
  });

  test('comes in one chunk with stream_reasoning: false', async () => {
    const body = { messages: sum, max_tokens: 300 };
    const chunks = await streamed({ ...body, stream_reasoning: false });
    const pieces = chunks.filter((c) => c.choices[0]?.delta.reasoning_content);
    expect(pieces).toHaveLength(1);
    expect(joined(chunks)).toMatchObject(
      said((await engine.chatCompletions(body)).choices[0]!.message),
    );
  });

  test('that is cut off is reasoning', async () => {
    const { choices, usage } = await engine.chatCompletions({ messages: sum, max_tokens: 8 });
    expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { content: '' } });
    expect(choices[0]!.message.reasoning_content).toMatch(/\S/);
    expect(usage.reasoning_tokens).toBe(8);
  });
});

describe('a thinking budget', () => {
  const ask = (body: Partial<Body>) =>
    engine.chatCompletions({ messages: sum, max_tokens: 300, return_token_ids: true, ...body });

  test('closes the block, the answer follows, and the tokens add up', async () => {
    const free = await ask({});
    const bounded = await ask({ thinking_budget: 10 });
    const [a, b] = [free.choices[0]!, bounded.choices[0]!];
    expect(bounded.usage.reasoning_tokens).toBeLessThan(free.usage.reasoning_tokens);
    expect(b.token_ids!.slice(0, 10)).toEqual(a.token_ids!.slice(0, 10));
    expect(b.message.content).toMatch(/\S/);
    expect(b.message.content).not.toMatch(/think>/);
    expect(b.finish_reason).toBe('stop');
    expect(bounded.usage.completion_tokens).toBe(b.token_ids!.length);
    expect(bounded.usage.prompt_tokens).toBe(free.usage.prompt_tokens);
    const chunks = await streamed({ messages: sum, max_tokens: 300, thinking_budget: 10 });
    expect(joined(chunks)).toMatchObject(said(b.message));
    expect(chunks.at(-1)!.usage).toMatchObject({
      completion_tokens: bounded.usage.completion_tokens,
      reasoning_tokens: bounded.usage.reasoning_tokens,
    });
  });

  test('that is not reached changes nothing', async () => {
    const free = await ask({});
    const bounded = await ask({ custom_params: { thinking_budget: 290 } });
    expect(bounded.choices).toEqual(free.choices);
  });

  test('of every sample, with logprobs on every token', async () => {
    const { choices } = await ask({
      thinking_budget: 6,
      n: 3,
      temperature: 1,
      seed: 4,
      logprobs: true,
    });
    for (const { logprobs, token_ids } of choices)
      expect(logprobs!.content).toHaveLength(token_ids!.length);
  });
});

describe('tools', () => {
  const body = {
    messages: user('What is the weather in Paris?'),
    tools: [weather],
    max_tokens: 300,
  };

  test.each([
    ['with thinking', {}],
    ['without', noThinking],
  ])('a call %s, whole and streamed', async (_, more) => {
    const { choices } = await engine.chatCompletions({ ...body, ...more });
    const { message, finish_reason, matched_stop } = choices[0]!;
    expect(finish_reason).toBe('tool_calls');
    expect(matched_stop).toBe(null);
    expect(message.tool_calls).toHaveLength(1);
    const [call] = message.tool_calls!;
    expect(call).toMatchObject({
      id: expect.stringMatching(/^call_[0-9a-f]{24}$/),
      index: 0,
      type: 'function',
      function: { name: 'get_weather' },
    });
    expect(JSON.parse(call!.function.arguments)).toEqual({ city: 'Paris' });
    expect(message.content).not.toMatch(/tool_call/);

    const chunks = await streamed({ ...body, ...more });
    const parts = joined(chunks);
    expect(parts.names).toEqual(['get_weather']);
    expect(parts.arguments[0]).toBe('');
    expect(parts.arguments.join('')).toBe(call!.function.arguments);
    expect(parts).toMatchObject(said(message));
    expect(chunks.flatMap((c) => c.choices).at(-1)!.finish_reason).toBe('tool_calls');
  });

  test('the result goes back in and is used', async () => {
    const first = (await engine.chatCompletions({ ...body, ...noThinking })).choices[0]!.message;
    const { choices } = await engine.chatCompletions({
      ...body,
      ...noThinking,
      messages: [
        ...body.messages,
        first,
        {
          role: 'tool',
          tool_call_id: first.tool_calls![0]!.id,
          content: '{"temperature": 21, "condition": "sunny"}',
        },
      ],
    });
    expect(choices[0]!.finish_reason).toBe('stop');
    expect(choices[0]!.message.tool_calls).toBe(null);
    expect(choices[0]!.message.content).toMatch(/21|sunny/);
  });

  test('stay text without a parser, and with tool_choice none are not called', async () => {
    const { choices } = await engine.chatCompletions({ ...body, tool_choice: 'none' });
    expect(choices[0]!.message.tool_calls).toBe(null);
    const plain = await loadPocket({ toolParser: 'none', reasoningParser: 'none' });
    try {
      const { message } = (await plain.chatCompletions({ ...body, ...noThinking })).choices[0]!;
      expect(message.content).toMatch(/<tool_call>/);
      expect(message.tool_calls).toBe(null);
    } finally {
      await plain.close();
    }
  });

  test('logprobs stay attached, one per token, in the same order', async () => {
    const asked = { ...body, logprobs: true, top_logprobs: 2, return_token_ids: true };
    const { choices, usage } = await engine.chatCompletions(asked);
    const { content } = choices[0]!.logprobs!;
    expect(content).toHaveLength(usage.completion_tokens);
    const chunks = (await streamed(asked)).flatMap((c) => c.choices);
    expect(chunks.flatMap((c) => c.logprobs?.content ?? []).map((c) => c.token)).toEqual(
      content.map((c) => c.token),
    );
    expect(chunks.flatMap((c) => c.token_ids ?? [])).toEqual(choices[0]!.token_ids);
  });
});

describe('prompts', () => {
  test('continue_final_message goes on where the last message ends', async () => {
    const messages = [
      ...user('What is the capital of France?'),
      { role: 'assistant' as const, content: 'The capital of France is' },
    ];
    const { choices, usage } = await engine.chatCompletions({
      messages,
      continue_final_message: true,
      ...noThinking,
      max_tokens: 20,
    });
    expect(choices[0]!.message.content).toMatch(/^ Paris/);
    const { count } = await engine.tokenize({
      messages,
      continue_final_message: true,
      ...noThinking,
    });
    expect(usage.prompt_tokens).toBe(count);
  });

  test('input_ids give what the messages give that they stand for', async () => {
    const { tokens } = await engine.tokenize({ messages: sum });
    const ids = await engine.chatCompletions({ messages: [], input_ids: tokens, max_tokens: 300 });
    const text = await engine.chatCompletions({ messages: sum, max_tokens: 300 });
    expect(ids.choices).toEqual(text.choices);
    expect(ids.usage.prompt_tokens).toBe(tokens.length);
  });

  test("the engine's chatTemplateKwargs give way to the request's", async () => {
    const silent = await loadPocket({ chatTemplateKwargs: { enable_thinking: false } });
    try {
      const ask = (more: object) =>
        silent.chatCompletions({ messages: sum, max_tokens: 300, ...more });
      expect((await ask({})).usage.reasoning_tokens).toBe(0);
      const kwargs = { chat_template_kwargs: { enable_thinking: true } };
      expect((await ask(kwargs)).usage.reasoning_tokens).toBeGreaterThan(0);
    } finally {
      await silent.close();
    }
  });
});
