/** What accepted requests become: the prompt's tokens and native sampling parameters. */
import { expect, test } from 'vitest';
import type { ChatCompletionRequest, ChatMessage, CompletionRequest } from '../../lib/index.js';
import type { NativeSamplingParams } from '../../lib/native.js';
import { nearest } from '../../lib/request/nearest.js';
import { sampleSeed } from '../../lib/request/seed.js';
import { endOfText, type Fake, fakeEngine, imEnd } from './fake-engine.js';

const user = { role: 'user' as const, content: 'hi' };

async function submitted(fake: Fake, body: Record<string, unknown>) {
  const at = fake.native.submitted.length;
  fake.native.answer({ tokens: [97], finish: 'length' });
  if ('prompt' in body) await fake.engine.completions(body as unknown as CompletionRequest);
  else await fake.engine.chatCompletions({ messages: [user], ...body } as ChatCompletionRequest);
  return fake.native.submitted.slice(at);
}

async function params(body: Record<string, unknown>, facts = {}): Promise<NativeSamplingParams> {
  return (await submitted(await fakeEngine(facts), body))[0]!.params;
}

async function promptText(body: Record<string, unknown>): Promise<string> {
  const fake = await fakeEngine();
  const [request] = await submitted(fake, body);
  return fake.parts.text!.tokenizer.decode(request!.promptIds);
}

test('defaults of chat', async () => {
  expect(await params({})).toEqual({
    temperature: 1,
    topP: 1,
    topK: -1,
    minP: 0,
    frequencyPenalty: 0,
    presencePenalty: 0,
    repetitionPenalty: 1,
    logitBiasTokens: null,
    logitBiasValues: null,
    seed: expect.any(BigInt),
    // The context less the prompt's 21 tokens.
    maxTokens: 179,
    minTokens: 0,
    ignoreEos: false,
    stopTokenIds: Int32Array.of(imEnd, endOfText),
    numLogprobs: -1,
    numPromptLogprobs: -1,
    returnRoutedExperts: false,
    priority: 0,
    cacheSalt: 0n,
    shareGroup: 0,
    countedTokens: 0,
    grammar: null,
    grammarStart: '',
  });
});

test('null means the default, for every optional field', async () => {
  const names =
    'model temperature top_p top_k min_p frequency_penalty presence_penalty repetition_penalty logit_bias ' +
    'stop stop_token_ids n stream stream_options ignore_eos min_tokens skip_special_tokens no_stop_trim ' +
    'priority cache_salt extra_key return_token_ids return_routed_experts routed_experts_start_len user ' +
    'metadata store service_tier max_tokens response_format regex ebnf json_schema ' +
    'lora_path functions stop_regex rid return_prompt_token_ids return_meta_info parallel_tool_calls';
  const nulls = Object.fromEntries(names.split(' ').map((name) => [name, null]));
  const chat = { max_completion_tokens: null, logprobs: null, top_logprobs: null, tools: null };
  const rest = {
    tool_choice: null,
    chat_template_kwargs: null,
    input_ids: null,
    reasoning_effort: null,
    reasoning: null,
    separate_reasoning: null,
    stream_reasoning: null,
    thinking_budget: null,
    custom_params: null,
    continue_final_message: null,
  };
  const { seed: _, ...expected } = await params({});
  expect(await params({ ...nulls, ...chat, ...rest, seed: 1 })).toMatchObject(expected);
  const { seed: __, ...completion } = await params({ prompt: 'x' });
  const own = { logprobs: null, echo: null, best_of: null, suffix: null };
  expect(await params({ prompt: 'x', ...nulls, ...own })).toMatchObject(completion);
  expect(completion.maxTokens).toBe(16);
});

test('every sampling field reaches native code', async () => {
  const sent = await params({
    temperature: 0.5,
    top_p: 0.9,
    top_k: 40,
    min_p: 0.1,
    frequency_penalty: -2,
    presence_penalty: 2,
    repetition_penalty: 1.5,
    logit_bias: { '5': 100, '7': -3.5 },
    stop_token_ids: [9, imEnd],
    ignore_eos: true,
    min_tokens: 3,
    max_tokens: 10,
    logprobs: true,
    top_logprobs: 4,
    priority: -2,
    cache_salt: 'tenant',
  });
  expect(sent).toMatchObject({
    temperature: 0.5,
    topP: 0.9,
    topK: 40,
    minP: 0.1,
    frequencyPenalty: -2,
    presencePenalty: 2,
    repetitionPenalty: 1.5,
    logitBiasTokens: Int32Array.of(5, 7),
    logitBiasValues: Float32Array.of(100, -3.5),
    // EOS ids are left out with ignore_eos, but not those that were asked for.
    stopTokenIds: Int32Array.of(9, imEnd),
    ignoreEos: false,
    minTokens: 3,
    maxTokens: 10,
    numLogprobs: 4,
    priority: -2,
  });
  expect(sent.cacheSalt).not.toBe(0n);
});

test('max_completion_tokens wins over max_tokens', async () => {
  expect((await params({ max_tokens: 5, max_completion_tokens: 7 })).maxTokens).toBe(7);
});

test('logprobs without top_logprobs: the chosen token only', async () => {
  expect((await params({ logprobs: true })).numLogprobs).toBe(0);
  expect((await params({ prompt: 'x', logprobs: 3 })).numLogprobs).toBe(3);
});

test('generation_config defaults hold on both endpoints, and give way to the request', async () => {
  const facts = { samplingDefaults: { temperature: 0.6, top_k: 20, repetition_penalty: 1.1 } };
  const expected = { temperature: 0.6, topK: 20, repetitionPenalty: 1.1, topP: 1 };
  expect(await params({}, facts)).toMatchObject(expected);
  expect(await params({ prompt: 'x' }, facts)).toMatchObject(expected);
  expect(await params({ temperature: 0 }, facts)).toMatchObject({ temperature: 0, topK: 20 });
});

test('the salt separates: equal only for equal strings, and extra_key is appended', async () => {
  const salt = async (body: object) => (await params({ ...body })).cacheSalt;
  expect(await salt({ cache_salt: 'a' })).toBe(await salt({ cache_salt: 'a' }));
  expect(await salt({ cache_salt: 'a' })).not.toBe(await salt({ cache_salt: 'b' }));
  expect(await salt({ cache_salt: 'a', extra_key: 'b' })).toBe(await salt({ cache_salt: 'ab' }));
});

test('seeds: equal for equal seeds, different per sample, whatever their size', async () => {
  const fake = await fakeEngine();
  const seeds = async (seed: unknown) =>
    (await submitted(fake, { seed, n: 3 })).map((request) => request.params.seed);
  for (const seed of [0, 7, -1, 2 ** 53, 1e300, 2n ** 70n, -(2n ** 200n)]) {
    const first = await seeds(seed);
    expect(await seeds(seed)).toEqual(first);
    expect(new Set(first).size).toBe(3);
    for (const value of first) expect(BigInt.asUintN(64, value)).toBe(value);
  }
  const all = [0, 1, -1, 2n ** 64n, 2n ** 70n, 2n ** 71n].map((seed) => sampleSeed(seed, 0));
  expect(new Set(all).size).toBe(all.length);
  expect(await seeds(undefined)).not.toEqual(await seeds(undefined));
});

test("a prompt's seed does not depend on its place in a list", async () => {
  const fake = await fakeEngine();
  const alone = await submitted(fake, { prompt: 'b', seed: 5, n: 2 });
  const listed = await submitted(fake, { prompt: ['a', 'b'], seed: 5, n: 2 });
  expect(listed.slice(2).map((r) => r.params.seed)).toEqual(alone.map((r) => r.params.seed));
});

test('samples of one prompt share a group, other prompts have another', async () => {
  const fake = await fakeEngine();
  const groups = (await submitted(fake, { prompt: ['a', 'b'], n: 2 })).map(
    (r) => r.params.shareGroup,
  );
  expect(groups[0]).toBeGreaterThan(0);
  expect(groups[1]).toBe(groups[0]);
  expect(groups[2]).not.toBe(groups[0]);
  expect(groups[3]).toBe(groups[2]);
});

test('prompts: text, texts, ids, lists of ids', async () => {
  const fake = await fakeEngine();
  const ids = async (prompt: unknown) =>
    (await submitted(fake, { prompt })).map((r) => [...r.promptIds]);
  expect(await ids('hé')).toEqual([[104, 0xc3, 0xa9]]);
  expect(await ids(['a', 'b'])).toEqual([[97], [98]]);
  expect(await ids([1, 2, 263])).toEqual([[1, 2, 263]]);
  expect(await ids([[1], [2, 3]])).toEqual([[1], [2, 3]]);
});

test('the default of 16 tokens gives way to the context', async () => {
  expect((await params({ prompt: Array(195).fill(1) })).maxTokens).toBe(5);
});

test('echo asks for prompt logprobs, and may ask for nothing else', async () => {
  expect(await params({ prompt: 'abc', echo: true, logprobs: 2 })).toMatchObject({
    numPromptLogprobs: 2,
    numLogprobs: 2,
  });
  expect((await params({ prompt: 'abc', echo: true })).numPromptLogprobs).toBe(-1);
  expect(await params({ prompt: 'abc', echo: true, max_tokens: 0 })).toMatchObject({
    numPromptLogprobs: 0,
    maxTokens: 0,
  });
});

test('messages are rendered: text parts, developer as system, tool results, no nulls', async () => {
  const messages: ChatMessage[] = [
    { role: 'developer', content: 'be brief' },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'a' },
        { type: 'text', text: 'b' },
      ],
    },
    {
      role: 'assistant',
      content: null,
      refusal: null,
      reasoning_content: null,
      tool_calls: [
        { id: 'c1', type: 'function', function: { name: 'w', arguments: '{"city":"Oslo"}' } },
      ],
    },
    { role: 'tool', content: 'rain', tool_call_id: 'c1' },
  ];
  expect(await promptText({ messages })).toBe(
    '<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\na b<|im_end|>\n' +
      '<|im_start|>assistant\nOslo<|im_end|>\n<|im_start|>tool\nrain<|im_end|>\n<|im_start|>assistant\n',
  );
});

test('tools reach the template, unless tool_choice is none', async () => {
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];
  expect(await promptText({ tools })).toMatch(/^TOOLS 1\n/);
  expect(await promptText({ tools, tool_choice: 'auto' })).toMatch(/^TOOLS 1\n/);
  expect(await promptText({ tools, tool_choice: 'none' })).not.toMatch(/TOOLS/);
  expect(await promptText({ tools: [] })).not.toMatch(/TOOLS/);
});

test('chat_template_kwargs reach the template', async () => {
  expect(await promptText({ chat_template_kwargs: { enable_thinking: false } })).toMatch(
    /<think><\/think>$/,
  );
});

test('fields without effect are accepted, and neutral values of unsupported ones', async () => {
  await params({
    user: 'u',
    metadata: { a: 'b' },
    store: true,
    service_tier: 'auto',
    safety_identifier: 'x',
    prompt_cache_key: 'k',
    parallel_tool_calls: false,
    response_format: { type: 'text' },
    modalities: ['text'],
    separate_reasoning: false,
    continue_final_message: false,
    undefined_is_absent: undefined,
  });
  await params({ prompt: 'x', best_of: 1, suffix: '', separate_reasoning: false });
  await params({ lora_path: ['', null], model: 'anything' });
  await params({ model: 'fake: ' });
});

test('an answer can be handed back as the next message', async () => {
  const fake = await fakeEngine();
  fake.native.answer({ tokens: [97], finish: 'length' });
  const { choices } = await fake.engine.chatCompletions({ messages: [user] });
  await fake.engine.chatCompletions({ messages: [user, choices[0]!.message, user] });
  expect(fake.native.submitted).toHaveLength(2);
});

test('tokenize and detokenize', async () => {
  const { engine } = await fakeEngine();
  expect(await engine.tokenize({ prompt: 'ab world' })).toEqual({
    tokens: [97, 98, 259],
    count: 3,
    max_model_len: 200,
  });
  const chat = await engine.tokenize({ messages: [user] });
  const text = '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n';
  expect(await engine.detokenize({ tokens: chat.tokens, skip_special_tokens: false })).toEqual({
    text,
  });
  expect((await engine.detokenize({ tokens: chat.tokens })).text).toBe('user\nhi\nassistant\n');
  const tools = [{ type: 'function' as const, function: { name: 'f' } }];
  const withTools = await engine.tokenize({ messages: [user], tools });
  expect(withTools.count).toBeGreaterThan(chat.count);
  const none = await engine.tokenize({ messages: [user], tools, tool_choice: 'none' });
  expect(none.tokens).toEqual(chat.tokens);
});

test('nearest names', () => {
  const known = ['temperature', 'top_p', 'top_k', 'max_tokens'];
  expect(nearest('temprature', known)).toBe('temperature');
  expect(nearest('topP', known)).toBe('top_p');
  expect(nearest('maxTokens', known)).toBe('max_tokens');
  expect(nearest('zebra', known)).toBe(null);
  expect(nearest('x'.repeat(100_000), known)).toBe(null);
});

test('numbers beyond what 32 bits hold mean what the last one within them does', async () => {
  const sent = await params({ temperature: 1e300, top_k: 2 ** 40, top_p: 1e-300 });
  expect(sent.temperature).toBe(Math.fround(sent.temperature));
  expect(sent.topK).toBe(2 ** 31 - 1);
  expect(Math.fround(sent.topP)).toBeGreaterThan(0);
  const { repetitionPenalty } = await params({ repetition_penalty: 1e-300 });
  expect(Math.fround(repetitionPenalty)).toBeGreaterThan(0);
});

test('with input_ids messages may be null', async () => {
  const fake = await fakeEngine();
  const [request] = await submitted(fake, { messages: null, input_ids: [97, 98] });
  expect([...request!.promptIds]).toEqual([97, 98]);
});
