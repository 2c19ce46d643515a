/** What bad requests get, in the fields of one endpoint. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type Fake, fakeEngine } from './fake-engine.js';
import { asking, cases, refused, user } from './request-refused.js';

let fake: Fake;
beforeAll(async () => {
  fake = await fakeEngine();
});
const { chat, complete } = asking(() => fake);

const f = (parameters?: unknown) => ({ type: 'function', function: { name: 'f', parameters } });

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
        'missing_required_parameter',
        "Missing required parameter: 'messages'.",
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
        'tools',
        'invalid_value',
        'Tools cannot be empty if tool choice is set to required.',
      ],
      [{ tool_choice: 'any' }, 'tool_choice', 'invalid_value', /must be 'auto', 'none'/],
      [{ tool_choice: 5 }, 'tool_choice', 'invalid_type', /or an object, but got an integer/],
      [
        { tool_choice: { type: 'custom' } },
        'tool_choice',
        'unsupported_value',
        /type must be 'function', got 'custom'/,
      ],
      [
        { tool_choice: { type: 'function', function: {} } },
        'tool_choice',
        'missing_required_parameter',
        /tool_choice\.function\.name/,
      ],
      [
        { tools: [f()], tool_choice: { type: 'function', function: { name: 'g' } } },
        'tool_choice.function.name',
        'invalid_value',
        "Tool 'g' not found in tools list.",
      ],
      [
        { tools: [f(), f({ type: 'objekt' })] },
        'tools[1].function.parameters',
        'invalid_value',
        /^Tool 1 function has invalid 'parameters' schema: type must be one of .* got 'objekt'/,
      ],
      [
        { tools: [f({ properties: { a: { items: { required: [1] } } } })] },
        'tools[0].function.parameters',
        'invalid_value',
        /at properties\.a\.items: required must be an array of strings/,
      ],
      [{ parallel_tool_calls: 1 }, 'parallel_tool_calls', 'invalid_type', /boolean/],
      [{ reasoning_effort: 'much' }, 'reasoning_effort', 'invalid_value', /one of 'none'/],
      [{ reasoning_effort: 1 }, 'reasoning_effort', 'invalid_value', /a number in \[0, 0\.99\]/],
      [{ reasoning_effort: true }, 'reasoning_effort', 'invalid_type', /got a boolean/],
      [{ reasoning: { efort: 'low' } }, 'reasoning', 'unsupported_parameter', /got efort/],
      [{ reasoning: { effort: 'x' } }, 'reasoning', 'invalid_value', /^reasoning\.effort must be/],
      [
        { reasoning_effort: 'low', reasoning: { effort: 'high' } },
        'reasoning_effort',
        'invalid_value',
        /say different things/,
      ],
      [
        { reasoning_effort: 'none', reasoning: { enabled: true } },
        'reasoning',
        'invalid_value',
        /Pass one of them/,
      ],
      [{ thinking_budget: -1 }, 'thinking_budget', 'invalid_value', /at least 0, got -1/],
      [{ thinking_budget: 5 }, 'thinking_budget', 'unsupported_value', /no reasoning parser/],
      [
        { chat_template_kwargs: { thinking_budget: 'x' } },
        'chat_template_kwargs.thinking_budget',
        'invalid_value',
        /got a string/,
      ],
      [
        { custom_params: { other: 1 } },
        'custom_params.other',
        'unsupported_parameter',
        /custom parameter/,
      ],
      [{ input_ids: [] }, 'input_ids', 'invalid_value', /at least one token id/],
      [{ input_ids: [264] }, 'input_ids[0]', 'invalid_value', /got 264/],
      [{ input_ids: 'x' }, 'input_ids', 'invalid_type', /an array of token ids/],
      [
        { input_ids: [1], continue_final_message: true },
        'continue_final_message',
        'invalid_value',
        /whole prompt/,
      ],
      [
        { continue_final_message: true },
        'messages[0].role',
        'invalid_value',
        /needs a last message of the role 'assistant', got 'user'/,
      ],
      [
        {
          messages: [user, { role: 'assistant', content: 'x', reasoning_content: 'y' }],
          continue_final_message: true,
        },
        'messages[1]',
        'unsupported_value',
        /goes on with the content alone/,
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
      [{ best_of: 1, n: 2 }, 'best_of', 'invalid_value', /best_of must be at least n \(2\), got 1/],
      [
        { best_of: 3, stream: true },
        'best_of',
        'unsupported_value',
        /must equal n \(1\) with stream/,
      ],
      [{ best_of: 0 }, 'best_of', 'invalid_value', /in \[1, 128\]/],
      [{ messages: [user] }, 'messages', 'unsupported_parameter', /Unrecognized/],
    ],
    complete,
  );
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

test('nothing refused reached native code', () => {
  expect(fake.native.submitted).toEqual([]);
});
