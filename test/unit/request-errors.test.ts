/** What bad requests get, in fields of both endpoints. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type Fake, fakeEngine, modelVocabSize } from './fake-engine.js';
import { asking, type Case, cases, refused } from './request-refused.js';

let fake: Fake;
beforeAll(async () => {
  fake = await fakeEngine();
});
const { chat, complete } = asking(() => fake);

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
      { stop_regex: '(' },
      'stop_regex',
      'invalid_value',
      /regular expression in JavaScript's syntax/,
    ],
    [{ stop_regex: ['a', '(?=b)'] }, 'stop_regex[1]', 'invalid_value', /lookaround/],
    [{ stop_regex: '(a)\\1' }, 'stop_regex', 'invalid_value', /backreference/],
    [{ stop_regex: 'a*' }, 'stop_regex', 'invalid_value', /matches the empty text/],
    [{ stop_regex: '(a{100}){100}' }, 'stop_regex', 'invalid_value', /too large/],
    [{ stop_regex: '((()){2000}){2000}x' }, 'stop_regex', 'invalid_value', /repeats too much/],
    [{ stop_regex: 'a'.repeat(1001) }, 'stop_regex', 'invalid_value', /at most 1000 characters/],
    [{ stop_regex: 5 }, 'stop_regex', 'invalid_type', /expected a string or an array/],
    [{ rid: '' }, 'rid', 'invalid_value', /1 to 512 characters/],
    [{ rid: ['a'] }, 'rid', 'invalid_type', /expected a string, but got an array/],
    [{ return_meta_info: 1 }, 'return_meta_info', 'invalid_type', /expected a boolean/],
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
      { stream_options: { toString: true } },
      'stream_options.toString',
      'unsupported_parameter',
      /Unrecognized stream option supplied: toString/,
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
      { lora_path: 'x' },
      'lora_path',
      'unsupported_value',
      /^LoRA adapter 'x' was requested, but LoRA is not enabled/,
    ],
    [{ lora_path: [null, 'y'] }, 'lora_path', 'unsupported_value', /^LoRA adapter 'y' was/],
    [{ lora_path: 5 }, 'lora_path', 'invalid_type', /the name of an adapter/],
    [{ model: 'fake:z' }, 'model', 'unsupported_value', /^LoRA adapter 'z' was requested/],
    [{ model: 'other:a:b' }, 'model', 'unsupported_value', /^LoRA adapter 'a:b' was requested/],
    [{ suffix: 'x' }, 'suffix', 'unsupported_parameter', /filling in the middle/],
    [{ audio: {} }, 'audio', 'unsupported_parameter', /not supported/],
    [{ functions: [{}] }, 'functions', 'unsupported_parameter', /not supported/],
  ];
  describe('chat', () => cases(rows, chat));
  describe('completions', () => cases(rows, complete));
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

test('fields of chat are no fields of completions', async () => {
  for (const [field, value] of Object.entries({
    reasoning_effort: 'low',
    reasoning: { effort: 'low' },
    separate_reasoning: true,
    thinking_budget: 5,
    input_ids: [1],
  })) {
    const error = await complete({ [field]: value });
    expect(error).toMatchObject({ param: field, code: 'unsupported_parameter' });
  }
});

test('nothing refused reached native code', () => {
  expect(fake.native.submitted).toEqual([]);
});
