/** What bad requests get: status, code, param, and a message that says expected, received and what to do. */
import { beforeAll, describe, expect, test } from 'vitest';
import type { EngineError } from '../../lib/errors.js';
import { type Fake, fakeEngine, modelVocabSize } from './fake-engine.js';

let fake: Fake;
beforeAll(async () => {
  fake = await fakeEngine();
});

type Body = Record<string, unknown>;
const user = { role: 'user', content: 'hi' };

async function refused(call: PromiseLike<unknown>): Promise<EngineError> {
  const error = await call.then(
    () => undefined,
    (e) => e,
  );
  expect(error).toMatchObject({ name: 'EngineError', status: 400, type: 'invalid_request_error' });
  return error as EngineError;
}

const chat = (body: Body) =>
  refused(fake.engine.chatCompletions({ messages: [user], ...body } as never));
const complete = (body: Body) =>
  refused(fake.engine.completions({ prompt: 'hi', ...body } as never));

type Case = [body: Body, param: string | null, code: string, message: string | RegExp];

function cases(rows: Case[], ask: (body: Body) => Promise<EngineError>) {
  test.each(rows)('%j', async (body, param, code, message) => {
    const error = await ask(body);
    expect(error.param).toBe(param);
    expect(error.code).toBe(code);
    if (typeof message === 'string') expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
  });
}

describe('ranges, on both endpoints', () => {
  const rows: Case[] = [
    [
      { temperature: -0.1 },
      'temperature',
      'invalid_value',
      'temperature must be a non-negative finite number, got -0.1.',
    ],
    [
      { temperature: Number.NaN },
      'temperature',
      'invalid_value',
      'temperature must be a non-negative finite number, got NaN.',
    ],
    [
      { temperature: Infinity },
      'temperature',
      'invalid_value',
      'temperature must be a non-negative finite number, got Infinity.',
    ],
    [
      { temperature: '0.5' },
      'temperature',
      'invalid_type',
      "Invalid type for 'temperature': expected a number, but got a string instead.",
    ],
    [{ top_p: 0 }, 'top_p', 'invalid_value', 'top_p must be in (0, 1], got 0.'],
    [{ top_p: 1.01 }, 'top_p', 'invalid_value', 'top_p must be in (0, 1], got 1.01.'],
    [{ top_k: 0 }, 'top_k', 'invalid_value', 'top_k must be -1 (disable) or at least 1, got 0.'],
    [{ top_k: 1.5 }, 'top_k', 'invalid_type', /expected an integer, but got the number 1.5/],
    [{ min_p: -1 }, 'min_p', 'invalid_value', 'min_p must be in [0, 1], got -1.'],
    [
      { frequency_penalty: 2.1 },
      'frequency_penalty',
      'invalid_value',
      'frequency_penalty must be in [-2, 2], got 2.1.',
    ],
    [
      { presence_penalty: -3 },
      'presence_penalty',
      'invalid_value',
      'presence_penalty must be in [-2, 2], got -3.',
    ],
    [
      { repetition_penalty: 0 },
      'repetition_penalty',
      'invalid_value',
      'repetition_penalty must be in (0, 2] (1.0 = no penalty), got 0.',
    ],
    [{ n: 0 }, 'n', 'invalid_value', 'n must be in [1, 128], got 0.'],
    [{ n: 2.5 }, 'n', 'invalid_type', /expected an integer/],
    [
      { n: true },
      'n',
      'invalid_type',
      "Invalid type for 'n': expected an integer, but got a boolean instead.",
    ],
    [{ seed: 1.5 }, 'seed', 'invalid_type', /expected an integer, but got the number 1.5/],
    [{ seed: Number.NaN }, 'seed', 'invalid_type', /but got NaN/],
    [{ min_tokens: -1 }, 'min_tokens', 'invalid_value', 'min_tokens must be at least 0, got -1.'],
    [
      { min_tokens: 6, max_tokens: 5 },
      'min_tokens',
      'invalid_value',
      'min_tokens must be in [0, max_tokens(5)], got 6.',
    ],
    [{ max_tokens: -1 }, 'max_tokens', 'invalid_value', /^max_tokens must be at least/],
    [
      { stop: '' },
      'stop',
      'invalid_value',
      /^stop must be a non-empty string .* got an empty string\. Leave it out/,
    ],
    [{ stop: ['a', 5] }, 'stop', 'invalid_type', /got an integer/],
    [
      { stop: {} },
      'stop',
      'invalid_type',
      /expected a string or an array of strings, but got an object/,
    ],
    [
      { stop: Array(65).fill('x') },
      'stop',
      'invalid_value',
      'stop can have up to 64 strings, got 65.',
    ],
    [
      { stop_token_ids: [modelVocabSize] },
      'stop_token_ids[0]',
      'invalid_value',
      /^stop_token_ids\[0\] must be a token id in \[0, 263\], got 264/,
    ],
    [{ stop_token_ids: [1, -1] }, 'stop_token_ids[1]', 'invalid_value', /got -1/],
    [
      { stop_token_ids: ['1'] },
      'stop_token_ids',
      'invalid_type',
      /'stop_token_ids\[0\]': expected a token id/,
    ],
    [{ stop_token_ids: 5 }, 'stop_token_ids', 'invalid_type', /expected an array of token ids/],
    [{ logit_bias: [] }, 'logit_bias', 'invalid_type', /expected an object/],
    [{ logit_bias: { abc: 1 } }, 'logit_bias', 'invalid_value', /keys in \[0, 263\], got abc/],
    [{ logit_bias: { '-1': 1 } }, 'logit_bias', 'invalid_value', /got -1/],
    [{ logit_bias: { '264': 1 } }, 'logit_bias', 'invalid_value', /got 264/],
    [
      { logit_bias: { '5': 101 } },
      'logit_bias',
      'invalid_value',
      'logit_bias must have values in [-100, 100], got 101 for key 5.',
    ],
    [{ logit_bias: { '5': Number.NaN } }, 'logit_bias', 'invalid_value', /got NaN/],
    [
      { logit_bias: { '5': '1' } },
      'logit_bias',
      'invalid_type',
      /'logit_bias.5': expected a number, but got a string/,
    ],
    [{ stream: 'yes' }, 'stream', 'invalid_type', /expected a boolean/],
    [
      { stream_options: { include_usages: true } },
      'stream_options.include_usages',
      'unsupported_parameter',
      /Did you mean 'include_usage'\?/,
    ],
    [
      { stream_options: 5 },
      'stream_options',
      'invalid_type',
      /expected an object, but got an integer/,
    ],
    [
      { stream_options: { include_usage: 1 } },
      'stream_options.include_usage',
      'invalid_type',
      /expected a boolean/,
    ],
    [{ ignore_eos: 'no' }, 'ignore_eos', 'invalid_type', /expected a boolean/],
    [
      { priority: 2 ** 31 },
      'priority',
      'invalid_value',
      'priority must be a 32-bit integer, got 2147483648.',
    ],
    [{ cache_salt: ['a'] }, 'cache_salt', 'invalid_type', /expected a string, but got an array/],
    [{ model: 5 }, 'model', 'invalid_type', /expected a string/],
    [
      { return_routed_experts: true },
      'return_routed_experts',
      'unsupported_value',
      /captureRoutedExperts: true/,
    ],
    [
      { routed_experts_start_len: 300 },
      'routed_experts_start_len',
      'invalid_value',
      /the prompt's tokens/,
    ],
  ];
  describe('chat', () => cases(rows, chat));
  describe('completions', () => cases(rows, complete));
});

describe('fields that are unknown or not supported', () => {
  const rows: Case[] = [
    [
      { temperatur: 1 },
      'temperatur',
      'unsupported_parameter',
      "Unrecognized request argument supplied: temperatur. Did you mean 'temperature'?",
    ],
    [
      { xyzzy: 1 },
      'xyzzy',
      'unsupported_parameter',
      'Unrecognized request argument supplied: xyzzy. Leave it out.',
    ],
    [{ topP: 1 }, 'topP', 'unsupported_parameter', /Did you mean 'top_p'\?/],
    [{ __proto__x: 1 }, '__proto__x', 'unsupported_parameter', /Unrecognized/],
    [
      { constructor: 1 },
      'constructor',
      'unsupported_parameter',
      /Unrecognized request argument supplied: constructor/,
    ],
    [
      { regex: 'a+' },
      'regex',
      'unsupported_parameter',
      /'regex' is not supported by this engine, got 'a\+'/,
    ],
    [{ ebnf: 'root ::= "a"' }, 'ebnf', 'unsupported_parameter', /not supported/],
    [{ lora_path: 'x' }, 'lora_path', 'unsupported_parameter', /not supported/],
    [{ suffix: 'x' }, 'suffix', 'unsupported_parameter', /not supported/],
    [{ audio: {} }, 'audio', 'unsupported_parameter', /not supported/],
    [{ functions: [{}] }, 'functions', 'unsupported_parameter', /not supported/],
    [
      { response_format: { type: 'json_object' } },
      'response_format.type',
      'unsupported_value',
      /must be 'text', got 'json_object'/,
    ],
    [{ reasoning_effort: 'low' }, 'reasoning_effort', 'unsupported_parameter', /not supported/],
    [{ separate_reasoning: true }, 'separate_reasoning', 'unsupported_parameter', /not supported/],
  ];
  describe('chat', () => cases(rows, chat));
  describe('completions', () => cases(rows, complete));
});

describe('chat', () => {
  cases(
    [
      [
        { messages: undefined },
        'messages',
        'missing_required_parameter',
        "Missing required parameter: 'messages'.",
      ],
      [
        { messages: null },
        'messages',
        'invalid_type',
        "Invalid type for 'messages': expected an array, but got null instead.",
      ],
      [{ messages: [] }, 'messages', 'invalid_value', 'Messages cannot be empty.'],
      [{ messages: 'hi' }, 'messages', 'invalid_type', /expected an array, but got a string/],
      [
        { messages: ['hi'] },
        'messages[0]',
        'invalid_type',
        /expected an object with role and content, but got a string/,
      ],
      [
        { messages: [user, { content: 'x' }] },
        'messages[1]',
        'missing_required_parameter',
        "Missing required parameter: 'messages[1].role'.",
      ],
      [
        { messages: [{ role: 'usr', content: 'x' }] },
        'messages[0].role',
        'invalid_value',
        "messages[0].role must be one of 'system', 'developer', 'user', 'assistant', 'tool', got 'usr'. Did you mean 'user'?",
      ],
      [
        { messages: [{ role: 'User', content: 'x' }] },
        'messages[0].role',
        'invalid_value',
        /Did you mean 'user'\?/,
      ],
      [
        { messages: [{ role: 'function', content: 'x' }] },
        'messages[0].role',
        'unsupported_value',
        /Use 'tool'/,
      ],
      [
        { messages: [{ role: 5, content: 'x' }] },
        'messages[0].role',
        'invalid_type',
        /but got an integer/,
      ],
      [
        { messages: [{ role: 'user' }] },
        'messages[0].content',
        'missing_required_parameter',
        "Missing required parameter: 'messages[0].content'.",
      ],
      [
        { messages: [{ role: 'user', content: null }] },
        'messages[0].content',
        'invalid_type',
        /expected a string or an array of text parts, but got null/,
      ],
      [
        { messages: [{ role: 'user', content: [] }] },
        'messages[0].content',
        'invalid_value',
        /at least one part/,
      ],
      [
        { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] },
        'messages[0].content',
        'unsupported_value',
        "messages[0].content[0].type must be 'text', got 'image_url': this engine reads text only.",
      ],
      [
        { messages: [{ role: 'user', content: [{ type: 'text' }] }] },
        'messages[0].content',
        'missing_required_parameter',
        "Missing required parameter: 'messages[0].content[0].text'.",
      ],
      [
        { messages: [{ role: 'user', content: [{ type: 'text', text: 1 }] }] },
        'messages[0].content',
        'invalid_type',
        /'messages\[0\].content\[0\].text': expected a string/,
      ],
      [
        { messages: [{ role: 'user', content: 'x', cotnent: 'y' }] },
        'messages[0].cotnent',
        'unsupported_parameter',
        /field of a user message supplied: cotnent. Did you mean 'content'\?/,
      ],
      [
        { messages: [{ role: 'assistant', audio: { id: 'x' } }] },
        'messages[0].audio',
        'unsupported_value',
        /leave it out or pass null/,
      ],
      [
        { messages: [{ role: 'assistant', tool_calls: [{ id: 'x', function: {} }] }] },
        'messages[0].tool_calls[0].function.name',
        'missing_required_parameter',
        /function\.name/,
      ],
      [
        { max_tokens: 0 },
        'max_tokens',
        'invalid_value',
        'max_tokens must be at least 1, got 0. Leave it out to generate up to the context length.',
      ],
      [{ max_completion_tokens: 0 }, 'max_completion_tokens', 'invalid_value', /at least 1/],
      [{ logprobs: 5 }, 'logprobs', 'invalid_type', /expected a boolean/],
      [
        { logprobs: true, top_logprobs: 21 },
        'top_logprobs',
        'invalid_value',
        'top_logprobs must be in [0, 20], got 21.',
      ],
      [{ top_logprobs: 2 }, 'top_logprobs', 'invalid_value', /needs logprobs: true/],
      [{ tools: {} }, 'tools', 'invalid_type', /expected an array/],
      [
        { tools: [{ type: 'function' }] },
        'tools[0].function',
        'missing_required_parameter',
        /tools\[0\]\.function/,
      ],
      [
        { tools: [{ type: 'custom', custom: {} }] },
        'tools[0].type',
        'unsupported_value',
        /must be 'function', got 'custom'/,
      ],
      [
        { tool_choice: 'required' },
        'tool_choice',
        'unsupported_value',
        /must be 'auto' or 'none', got 'required'/,
      ],
      [
        { tool_choice: { type: 'function', function: { name: 'f' } } },
        'tool_choice',
        'unsupported_value',
        /got an object/,
      ],
      [{ chat_template_kwargs: 'x' }, 'chat_template_kwargs', 'invalid_type', /expected an object/],
      [
        { chat_template_kwargs: { messages: [] } },
        'chat_template_kwargs.messages',
        'invalid_value',
        /leave it out/,
      ],
      [
        { prompt: 'x' },
        'prompt',
        'unsupported_parameter',
        /Unrecognized request argument supplied: prompt/,
      ],
      [
        { messages: [{ role: 'user', content: 'x'.repeat(300) }] },
        'messages',
        'context_length_exceeded',
        /^The input \(3\d\d tokens\) is longer than the model's context length \(200 tokens\)/,
      ],
      [
        { max_tokens: 199 },
        'max_tokens',
        'context_length_exceeded',
        /^Requested token count exceeds the model's maximum context length of 200 tokens\. You requested a total of \d+ tokens: \d+ tokens from the messages and 199 tokens for the completion/,
      ],
    ],
    chat,
  );
});

describe('completions', () => {
  cases(
    [
      [
        { prompt: undefined },
        'prompt',
        'missing_required_parameter',
        "Missing required parameter: 'prompt'.",
      ],
      [{ prompt: '' }, 'prompt', 'invalid_value', /^Prompt cannot be empty/],
      [{ prompt: [] }, 'prompt', 'invalid_value', /^Prompt cannot be empty/],
      [{ prompt: ['a', ''] }, 'prompt[1]', 'invalid_value', /^Prompt cannot be empty/],
      [{ prompt: [[1], []] }, 'prompt[1]', 'invalid_value', /^Prompt cannot be empty/],
      [{ prompt: 5 }, 'prompt', 'invalid_type', /but got an integer/],
      [{ prompt: {} }, 'prompt', 'invalid_type', /but got an object/],
      [
        { prompt: [1, 'a'] },
        'prompt[1]',
        'invalid_type',
        /expected a token id, as prompt\[0\] is: the kinds cannot be mixed, but got a string/,
      ],
      [{ prompt: ['a', 1] }, 'prompt[1]', 'invalid_type', /expected a string/],
      [{ prompt: [[1], [1.5]] }, 'prompt[1][0]', 'invalid_type', /expected a token id/],
      [{ prompt: [null] }, 'prompt[0]', 'invalid_type', /but got null/],
      [
        { prompt: [1, 264] },
        'prompt[1]',
        'invalid_value',
        'prompt[1] must be a token id in [0, 263], got 264. Use ids of this model, such as tokenize() returns.',
      ],
      [{ prompt: [[1], [2 ** 40]] }, 'prompt[1][0]', 'invalid_value', /got 1099511627776/],
      [{ prompt: [-1] }, 'prompt[0]', 'invalid_value', /got -1/],
      [
        { prompt: Array(200).fill(1) },
        'prompt',
        'context_length_exceeded',
        /longer than the model's context length/,
      ],
      [
        { prompt: 'x', max_tokens: 200 },
        'max_tokens',
        'context_length_exceeded',
        /a total of 201 tokens/,
      ],
      [
        { max_tokens: 0 },
        'max_tokens',
        'invalid_value',
        /must be positive, got 0\. Only with echo/,
      ],
      [{ logprobs: true }, 'logprobs', 'invalid_type', /expected an integer/],
      [{ logprobs: 21 }, 'logprobs', 'invalid_value', 'logprobs must be in [0, 20], got 21.'],
      [{ best_of: 3 }, 'best_of', 'unsupported_value', /best_of must equal n \(1\)/],
      [{ messages: [user] }, 'messages', 'unsupported_parameter', /Unrecognized/],
    ],
    complete,
  );
});

test.each([null, 5, 'x', [], undefined])('a body that is no object: %j', async (body) => {
  for (const call of [
    fake.engine.chatCompletions(body as never),
    fake.engine.completions(body as never),
  ]) {
    const error = await refused(call);
    expect(error.code).toBe('invalid_type');
    expect(error.message).toMatch(/^The request must be an object/);
  }
});

test('tokenize and detokenize refuse what they cannot read', async () => {
  const { engine } = fake;
  expect((await refused(engine.tokenize({} as never))).param).toBe('prompt');
  expect((await refused(engine.tokenize({ prompt: 5 } as never))).code).toBe('invalid_type');
  expect((await refused(engine.tokenize({ messages: [] } as never))).param).toBe('messages');
  expect((await refused(engine.detokenize({ tokens: 'x' } as never))).code).toBe('invalid_type');
  expect((await refused(engine.detokenize({ tokens: [264] }))).param).toBe('tokens[0]');
  expect((await refused(engine.detokenize({ tokens: [1.5] }))).code).toBe('invalid_type');
});

test('nothing refused reached native code', () => {
  expect(fake.native.submitted).toEqual([]);
});

test('a model without a tokenizer refuses text and answers ids', async () => {
  const { engine, native } = await fakeEngine({}, { withText: false });
  native.answer({ tokens: [1, 2], finish: 'length' });
  const messages = [{ role: 'user' as const, content: 'hi' }];
  expect((await refused(engine.chatCompletions({ messages }))).message).toMatch(/tokenizer/);
  expect((await refused(engine.completions({ prompt: 'hi' }))).param).toBe('prompt');
  expect((await refused(engine.completions({ prompt: [1], stop: 'x' }))).param).toBe('stop');
  const { choices } = await engine.completions({ prompt: [1], return_token_ids: true });
  expect(choices[0]).toMatchObject({ text: '', token_ids: [1, 2], finish_reason: 'length' });
});
