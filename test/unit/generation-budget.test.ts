/** The thinking budget: a second native request goes on behind the closed block. */
import { describe, expect, test } from 'vitest';
import type { ChatCompletionRequest } from '../../lib/index.js';
import type { NativeSamplingParams } from '../../lib/native.js';
import { bytesOf, type Fake, fakeEngine, imEnd, type Step } from './fake-engine.js';
import { chat, chatStream, promptTokens } from './generation-asking.js';

const close = '\n</think>\n\n';
const thinking = () => fakeEngine({}, { text: { reasoningParser: 'qwen3' } });

/** The first request thinks on and on, the second answers. */
function thinksThen(fake: Fake, thought: string, answer: Step[]) {
  fake.native.onSubmit = async ({ id, promptIds }) => {
    const resumed = promptIds.length > promptTokens;
    const steps = resumed ? answer : bytesOf(thought).map((token) => ({ tokens: [token] }));
    for (const step of steps) {
      await new Promise((resolve) => setImmediate(resolve));
      fake.native.send(id, { ...step, cachedTokens: resumed ? 99 : 16 });
    }
  };
}

const answer: Step[] = [{ tokens: bytesOf('Hi') }, { tokens: [imEnd], finish: 'stop' }];

async function params(fake: Fake): Promise<NativeSamplingParams[]> {
  return fake.native.submitted.map((request) => request.params);
}

test('closes the block when it is spent, and goes on from there', async () => {
  const fake = await thinking();
  thinksThen(fake, '<think>abcdefgh', answer);
  const body: Partial<ChatCompletionRequest> = {
    thinking_budget: 4,
    max_tokens: 60,
    min_tokens: 20,
    return_token_ids: true,
    seed: 7,
  };
  const whole = await chat(fake, body);
  const [choice] = whole.choices;
  expect(choice!.message).toMatchObject({ reasoning_content: 'abcd\n', content: '\n\nHi' });
  expect(choice!.finish_reason).toBe('stop');
  const generated = bytesOf(`<think>abcd${close}`);
  expect(choice!.token_ids).toEqual([...generated, ...bytesOf('Hi'), imEnd]);
  const [first, second] = fake.native.submitted;
  expect([...second!.promptIds]).toEqual([...first!.promptIds, ...generated]);
  expect(fake.native.aborted).toEqual([first!.id]);
  const [before, after] = await params(fake);
  expect(after).toEqual({
    ...before,
    maxTokens: 60 - generated.length,
    minTokens: 0,
    countedTokens: generated.length,
    shareGroup: 0,
  });
  expect(whole.usage).toMatchObject({
    prompt_tokens: promptTokens,
    completion_tokens: generated.length + 3,
    reasoning_tokens: '<think>abcd\n</think>'.length,
    // Of the prompt; that of the second request is not what was asked for.
    prompt_tokens_details: { cached_tokens: 16 },
  });
});

test('streams the same', async () => {
  const fake = await thinking();
  thinksThen(fake, '<think>abcdefgh', answer);
  const body = { thinking_budget: 4, logprobs: true };
  const deltas = (await chatStream(fake, body)).flatMap((c) => c.choices).map((c) => c.delta);
  expect(deltas.map((d) => d.reasoning_content ?? '').join('')).toBe('abcd\n');
  expect(deltas.map((d) => d.content ?? '').join('')).toBe('\n\nHi');
});

test('0 closes a block that the prompt has opened before the first token', async () => {
  const fake = await thinking();
  fake.native.answer(...answer);
  const { choices, usage } = await chat(fake, {
    messages: [],
    input_ids: bytesOf('Q<think>\n'),
    chat_template_kwargs: { thinking_budget: 0 },
  });
  expect(fake.native.submitted).toHaveLength(1);
  expect([...fake.native.submitted[0]!.promptIds]).toEqual(bytesOf(`Q<think>\n${close}`));
  expect(choices[0]!.message.content).toBe('\n\nHi');
  expect(usage.prompt_tokens).toBe(9);
});

test('tokens of the closing text have the logprob 0', async () => {
  const fake = await thinking();
  fake.native.onSubmit = ({ id }) => {
    const scored = (tokens: number[]) => ({
      tokens,
      logprobs: tokens.map(() => -1),
      top: tokens.map((t): [number, number][] => [[t, -1]]),
    });
    if (fake.native.submitted.length === 1) fake.native.send(id, scored(bytesOf('<think>ab')));
    else fake.native.send(id, { ...scored([97, imEnd]), finish: 'stop' });
  };
  const { choices } = await chat(fake, {
    custom_params: { thinking_budget: 2 },
    logprobs: true,
    top_logprobs: 1,
  });
  const { content } = choices[0]!.logprobs!;
  const drawn = '<think>ab'.length;
  expect(content.map((c) => c.logprob)).toEqual([
    ...Array(drawn).fill(-1),
    ...Array(close.length).fill(0),
    -1,
    -1,
  ]);
  expect(content[drawn]!.top_logprobs).toEqual([{ token: '\n', bytes: [10], logprob: 0 }]);
});

describe('nothing is closed', () => {
  test.each([
    ['where the model ends its reasoning in time', '<think>abc</think>So', 20],
    ['where the model is about to end it', '<think>abc</think>So', 5],
    ['where the budget is not reached', '<think>abcde', 6],
  ])('%s', async (_, text, budget) => {
    const fake = await thinking();
    fake.native.answer({ tokens: bytesOf(text) }, { tokens: [imEnd], finish: 'stop' });
    await chat(fake, { thinking_budget: budget });
    expect(fake.native.submitted).toHaveLength(1);
  });

  test('where the answer has no reasoning', async () => {
    const fake = await thinking();
    fake.native.answer({ tokens: bytesOf('none at all') }, { tokens: [imEnd], finish: 'stop' });
    await chat(fake, {
      thinking_budget: 0,
      chat_template_kwargs: { enable_thinking: false },
    });
    expect(fake.native.submitted).toHaveLength(1);
  });

  test('where the closing text and an answer do not fit into max_tokens', async () => {
    const fake = await thinking();
    fake.native.answer({ tokens: bytesOf('<think>abcdefgh'), finish: 'length' });
    const { choices, usage } = await chat(fake, { thinking_budget: 2, max_tokens: 15 });
    expect(fake.native.submitted).toHaveLength(1);
    expect(choices[0]!.finish_reason).toBe('length');
    expect(usage.completion_tokens).toBe(15);
  });
});

test('half a character is waited for', async () => {
  const fake = await thinking();
  thinksThen(fake, '<think>a😀bc', answer);
  const { choices } = await chat(fake, { thinking_budget: 2 });
  expect(choices[0]!.message.reasoning_content).toBe('a😀\n');
});

test('tokens and the end of the request that was given up are not heard any more', async () => {
  const fake = await thinking();
  fake.native.onSubmit = ({ id }) => {
    if (fake.native.submitted.length > 1) {
      setImmediate(() => fake.native.send(id, { tokens: [97, imEnd], finish: 'stop' }));
      return;
    }
    // One record with more than the budget, and its end in the same delivery.
    setImmediate(() => {
      fake.native.send(id, { tokens: [...bytesOf('<think>abcdefgh'), imEnd], finish: 'stop' });
    });
  };
  const { choices } = await chat(fake, { thinking_budget: 2 });
  expect(choices[0]!.message).toMatchObject({ reasoning_content: 'ab\n', content: '\n\na' });
  await new Promise((resolve) => setImmediate(resolve));
  expect(fake.native.mailbox.size).toBe(0);
});

test('a second request that is refused is the error of the answer', async () => {
  const fake = await thinking();
  fake.native.onSubmit = ({ id }) => {
    fake.native.refuse = Object.assign(new Error('no more'), { code: 'engine_failed' });
    setImmediate(() => fake.native.send(id, { tokens: bytesOf('<think>abc') }));
  };
  await expect(chat(fake, { thinking_budget: 2, rid: 'r' })).rejects.toMatchObject({
    code: 'engine_failed',
    message: 'no more',
  });
  expect(fake.engine.abort('r')).toBe(false);
});

test('with every sample on its own', async () => {
  const fake = await thinking();
  thinksThen(fake, '<think>abcdefgh', answer);
  const { choices, usage } = await chat(fake, { thinking_budget: 3, n: 3 });
  expect(choices.map((c) => c.message.reasoning_content)).toEqual(Array(3).fill('abc\n'));
  expect(fake.native.submitted).toHaveLength(6);
  expect(usage.reasoning_tokens).toBe(3 * '<think>abc\n</think>'.length);
});

test('experts cannot be asked for with it', async () => {
  const fake = await fakeEngine(
    { captureRoutedExperts: true },
    { text: { reasoningParser: 'qwen3' } },
  );
  await expect(
    chat(fake, { thinking_budget: 3, return_routed_experts: true }),
  ).rejects.toMatchObject({ param: 'return_routed_experts', code: 'unsupported_value' });
});
