/** Reasoning and tool calls in the answer: whole and streamed, with logprobs, usage and every cutting. */
import { describe, expect, test } from 'vitest';
import type { ChatCompletionChunk, ChatCompletionRequest, Tool } from '../../lib/index.js';
import { bytesOf, type Fake, fakeEngine, imEnd, type Step } from './fake-engine.js';
import { chat, chatStream } from './generation-asking.js';

const tools: Tool[] = [
  {
    type: 'function',
    function: {
      name: 'weather',
      parameters: { type: 'object', properties: { city: { type: 'string' } } },
    },
  },
];
const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';

const thinking = (text: object = {}) =>
  fakeEngine({}, { text: { reasoningParser: 'qwen3', toolParser: 'hermes', ...text } });

/** A logprob per token that tells the tokens apart. */
const saying = (text: string): Step[] => [
  ...bytesOf(text).map((token, i): Step => ({ tokens: [token], logprobs: [-(i + 1)] })),
  { tokens: [imEnd], logprobs: [-0.5], finish: 'stop' },
];

/** The message that a stream's deltas join to. */
function joined(chunks: ChatCompletionChunk[]) {
  const deltas = chunks.flatMap((c) => c.choices).map((c) => c.delta);
  const calls: { index: number; id: string; type: string; function: object }[] = [];
  for (const part of deltas.flatMap((d) => d.tool_calls ?? [])) {
    const { index, id, function: f } = part;
    const known = calls[index] as { function: { arguments: string } } | undefined;
    if (known) known.function.arguments += f.arguments;
    else calls[index] = { id: id!, index, type: part.type!, function: { ...f } };
  }
  const reasoning = deltas.map((d) => d.reasoning_content ?? '').join('');
  return {
    role: deltas.find((d) => d.role)?.role,
    content: deltas.map((d) => d.content ?? '').join(''),
    refusal: null,
    reasoning_content: reasoning === '' ? null : reasoning,
    tool_calls: calls.length > 0 ? calls : null,
  };
}

/** Whole and streamed, which must say the same. */
async function both(fake: Fake, steps: Step[], body: Partial<ChatCompletionRequest> = {}) {
  fake.native.answer(...steps);
  const whole = await chat(fake, body);
  const chunks = await chatStream(fake, { ...body, stream_options: { include_usage: true } });
  const [choice] = whole.choices;
  const ids = (message: { tool_calls?: unknown }) =>
    JSON.stringify(message).replaceAll(/call_[0-9a-f]{24}/g, 'call');
  expect(ids(joined(chunks))).toBe(ids(choice!.message));
  const finishes = chunks.flatMap((c) => c.choices).filter((c) => c.finish_reason !== null);
  expect(finishes).toHaveLength(1);
  expect(finishes[0]).toMatchObject({
    finish_reason: choice!.finish_reason,
    matched_stop: choice!.matched_stop,
  });
  expect(chunks.at(-1)!.usage).toEqual(whole.usage);
  return { whole, choice: choice!, chunks };
}

describe('reasoning', () => {
  test('is told apart, and its tokens are counted at both places', async () => {
    const { choice, whole, chunks } = await both(
      await thinking(),
      saying('<think>\nhm</think>\n\nHi'),
    );
    expect(choice.message).toMatchObject({ reasoning_content: '\nhm', content: '\n\nHi' });
    expect(choice.message.tool_calls).toBe(null);
    const count = '<think>\nhm</think>'.length;
    expect(whole.usage).toMatchObject({
      completion_tokens: count + 5,
      reasoning_tokens: count,
      completion_tokens_details: { reasoning_tokens: count },
    });
    for (const c of chunks.flatMap((c) => c.choices))
      expect(c.delta).toHaveProperty('reasoning_content');
    expect(chunks.find((c) => c.choices[0]?.delta.reasoning_content)!.choices[0]!.delta).toEqual({
      reasoning_content: '\n',
    });
  });

  test('that never ends is all reasoning', async () => {
    const { choice, whole } = await both(await thinking(), [
      { tokens: bytesOf('<think>on and on'), finish: 'length' },
    ]);
    expect(choice.message).toMatchObject({ reasoning_content: 'on and on', content: '' });
    expect(whole.usage.reasoning_tokens).toBe(whole.usage.completion_tokens);
  });

  test('there is none without its tag, or without a parser', async () => {
    const none = await both(await thinking(), saying('Hi'), {
      chat_template_kwargs: { enable_thinking: false },
    });
    expect(none.choice.message).toMatchObject({ reasoning_content: null, content: 'Hi' });
    expect(none.whole.usage.reasoning_tokens).toBe(0);
    const raw = await both(await fakeEngine(), saying('<think>a</think>b'));
    expect(raw.choice.message).toMatchObject({
      reasoning_content: null,
      content: '<think>a</think>b',
    });
  });

  test('separate_reasoning: false leaves it in the content, and still counts it', async () => {
    const { choice, whole } = await both(await thinking(), saying('<think>a</think>b'), {
      separate_reasoning: false,
    });
    expect(choice.message).toMatchObject({
      reasoning_content: null,
      content: '<think>a</think>b',
    });
    expect(whole.usage.reasoning_tokens).toBe(16);
  });

  test('stream_reasoning: false sends it in one chunk', async () => {
    const { chunks } = await both(await thinking(), saying('<think>abc</think>d'), {
      stream_reasoning: false,
    });
    const parts = chunks.map((c) => c.choices[0]?.delta.reasoning_content).filter(Boolean);
    expect(parts).toEqual(['abc']);
  });

  test('a stop string in it ends the answer', async () => {
    const { choice } = await both(await thinking(), saying('<think>abc</think>d'), { stop: 'b' });
    expect(choice.message).toMatchObject({ reasoning_content: 'a', content: '' });
    expect(choice).toMatchObject({ finish_reason: 'stop', matched_stop: 'b' });
  });
});

describe('tool calls', () => {
  test('id and name first, then the arguments in pieces', async () => {
    const { choice, chunks } = await both(await thinking(), saying(`Let me see.\n${call}`), {
      tools,
      separate_reasoning: false,
    });
    expect(choice.message.content).toBe('Let me see.');
    expect(choice.message.tool_calls).toEqual([
      {
        id: expect.stringMatching(/^call_[0-9a-f]{24}$/),
        index: 0,
        type: 'function',
        function: { name: 'weather', arguments: '{"city": "Oslo"}' },
      },
    ]);
    expect(choice).toMatchObject({ finish_reason: 'tool_calls', matched_stop: null });
    const parts = chunks.flatMap((c) => c.choices[0]?.delta.tool_calls ?? []);
    expect(parts[0]).toEqual({
      index: 0,
      id: expect.any(String),
      type: 'function',
      function: { name: 'weather', arguments: '' },
    });
    expect(parts.length).toBeGreaterThan(3);
    for (const part of parts.slice(1)) expect(Object.keys(part)).toEqual(['index', 'function']);
  });

  test('several at once, after reasoning, in one delivery', async () => {
    const text = `<think>two</think>\n\n${call}\n${call.replace('Oslo', 'Rome')}`;
    const { choice } = await both(
      await thinking(),
      [{ tokens: [...bytesOf(text), imEnd], finish: 'stop' }],
      { tools },
    );
    expect(choice.message.reasoning_content).toBe('two');
    expect(choice.message.tool_calls!.map((c) => JSON.parse(c.function.arguments).city)).toEqual([
      'Oslo',
      'Rome',
    ]);
    expect(choice.message.tool_calls!.map((c) => c.index)).toEqual([0, 1]);
  });

  test('that break off end by length', async () => {
    const { choice } = await both(
      await thinking(),
      [{ tokens: bytesOf(`</think>${call.slice(0, -20)}`), finish: 'length' }],
      { tools },
    );
    expect(choice.finish_reason).toBe('length');
    expect(choice.message.tool_calls).toHaveLength(1);
  });

  test.each([
    ['no tools', {}],
    ['tool_choice none', { tools, tool_choice: 'none' as const }],
  ])('are content with %s', async (_, body) => {
    const { choice } = await both(await thinking(), saying(`</think>${call}`), body);
    expect(choice.message.content).toBe(call);
    expect(choice).toMatchObject({ finish_reason: 'stop', matched_stop: imEnd });
  });

  test('parallel_tool_calls: false makes the second one text', async () => {
    const { choice } = await both(await thinking(), saying(`</think>${call}\n${call}`), {
      tools,
      parallel_tool_calls: false,
    });
    expect(choice.message.tool_calls).toHaveLength(1);
    expect(choice.message.content).toContain(call);
  });
});

test('every token has its logprobs and its id on exactly one chunk, whatever is held back', async () => {
  const text = `<think>why <not></think>\n\nso ${call} x`;
  const fake = await thinking();
  const body = { tools, logprobs: true, return_token_ids: true };
  const { choice, chunks } = await both(fake, saying(text), body);
  const all = bytesOf(text).map((_, i) => -(i + 1));
  expect(choice.logprobs!.content.map((c) => c.logprob)).toEqual([...all, -0.5]);
  const choices = chunks.flatMap((c) => c.choices);
  expect(choices.flatMap((c) => c.logprobs?.content ?? [])).toEqual(choice.logprobs!.content);
  expect(choices.flatMap((c) => c.token_ids ?? [])).toEqual([...bytesOf(text), imEnd]);
});

test("gpt-oss's channels", async () => {
  const fake = await fakeEngine(
    {},
    { text: { reasoningParser: 'gpt-oss', toolParser: 'gpt-oss' } },
  );
  const thought = '<|channel|>analysis<|message|>hm<|end|><|start|>assistant';
  const answer = await both(fake, saying(`${thought}<|channel|>final<|message|>Hi`), { tools });
  expect(answer.choice.message).toMatchObject({ reasoning_content: 'hm', content: 'Hi' });
  const called = `${thought}<|channel|>commentary to=functions.weather<|message|>{"city":"Oslo"}`;
  const { choice } = await both(fake, saying(called), { tools });
  expect(choice.message.tool_calls![0]!.function).toEqual({
    name: 'weather',
    arguments: '{"city":"Oslo"}',
  });
  expect(choice.finish_reason).toBe('tool_calls');
});

describe('the template gets', () => {
  const rendered = async (fake: Fake, body: Partial<ChatCompletionRequest>) => {
    fake.native.answer({ tokens: [97], finish: 'length' });
    await chat(fake, body);
    return fake.parts.text!.tokenizer.decode(fake.native.submitted.at(-1)!.promptIds);
  };

  test('thinking switches from the effort, the engine and the request', async () => {
    const closed = /<think><\/think>$/;
    const plain = await fakeEngine();
    expect(await rendered(plain, { reasoning_effort: 'none' })).toMatch(closed);
    expect(await rendered(plain, { reasoning: { enabled: false } })).toMatch(closed);
    expect(await rendered(plain, { reasoning_effort: 'low' })).not.toMatch(closed);
    const off = await fakeEngine({}, { text: { templateKwargs: { enable_thinking: false } } });
    expect(await rendered(off, {})).toMatch(closed);
    expect(await rendered(off, { reasoning_effort: 0.5 })).not.toMatch(closed);
    const on = {
      chat_template_kwargs: { enable_thinking: true },
      reasoning_effort: 'none' as const,
    };
    expect(await rendered(off, on)).not.toMatch(closed);
  });

  test('the beginning of an answer that goes on', async () => {
    const messages: ChatCompletionRequest['messages'] = [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'So I ' },
    ];
    expect(await rendered(await fakeEngine(), { messages, continue_final_message: true })).toBe(
      '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nSo I ',
    );
  });
});

test('a continued answer that has opened its reasoning goes on inside', async () => {
  const messages: ChatCompletionRequest['messages'] = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: '<think>so' },
  ];
  const { choice } = await both(await thinking(), saying(' far</think>Yes'), {
    messages,
    continue_final_message: true,
  });
  expect(choice.message).toMatchObject({ reasoning_content: ' far', content: 'Yes' });
});

test('input_ids are the prompt, and their end tells whether the answer begins inside', async () => {
  const fake = await thinking();
  const { choice } = await both(fake, saying('a</think>b'), {
    messages: [],
    input_ids: bytesOf('Q: <think>\n'),
  });
  expect([...fake.native.submitted[0]!.promptIds]).toEqual(bytesOf('Q: <think>\n'));
  expect(choice.message).toMatchObject({ reasoning_content: 'a', content: 'b' });
});

test('gpt-oss has no effort none', async () => {
  const fake = await fakeEngine({}, { text: { reasoningParser: 'gpt-oss' } });
  await expect(chat(fake, { reasoning_effort: 'none' })).rejects.toMatchObject({
    status: 400,
    param: 'reasoning_effort',
    message: expect.stringContaining('Harmony does not support reasoning effort none'),
  });
});
