/** Whatever is passed, the answer is an answer or an EngineError: no TypeError, no hang. */
import { expect, test } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { fakeEngine } from './fake-engine.js';

const weird: unknown[] = [
  undefined,
  null,
  true,
  false,
  0,
  -1,
  1,
  1.5,
  2 ** 31,
  2 ** 53,
  1e308,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  10n ** 30n,
  '',
  'x',
  '\ud800',
  '<|im_end|>',
  [],
  [null],
  [[]],
  ['', 'x'],
  [1, 2],
  [[1], [2]],
  {},
  { length: 3 },
  { type: 'text' },
  { '5': 1 },
  Object.create(null),
  () => 1,
  Symbol('s'),
  new Date(),
  new Map(),
  Int32Array.of(1, 2),
  new Proxy({}, {}),
];

const fields =
  'messages prompt model temperature top_p top_k min_p frequency_penalty presence_penalty repetition_penalty ' +
  'logit_bias stop stop_token_ids seed n stream stream_options ignore_eos min_tokens skip_special_tokens ' +
  'no_stop_trim priority cache_salt extra_key return_token_ids return_routed_experts routed_experts_start_len ' +
  'max_tokens max_completion_tokens logprobs top_logprobs tools tool_choice chat_template_kwargs echo best_of ' +
  'response_format user metadata suffix regex unknown __proto__ constructor toString ebnf json_schema stop_regex ' +
  'lora_path rid input_ids reasoning_effort reasoning separate_reasoning stream_reasoning thinking_budget ' +
  'custom_params continue_final_message return_meta_info return_prompt_token_ids parallel_tool_calls';

async function outcome(call: () => unknown): Promise<unknown> {
  try {
    const result = (await call()) as AsyncIterable<unknown>;
    if (Symbol.asyncIterator in Object(result)) for await (const _ of result);
    return null;
  } catch (error) {
    return error;
  }
}

test.each(fields.split(' '))('%s', async (field) => {
  const { engine, native } = await fakeEngine();
  native.answer({ tokens: [97], finish: 'length' });
  const good = { messages: [{ role: 'user', content: 'hi' }] };
  for (const value of weird) {
    const more = JSON.parse('{}') as Record<string, unknown>;
    Object.defineProperty(more, field, { value, enumerable: true, configurable: true });
    const calls = [
      () => engine.chatCompletions({ ...good, ...more } as never),
      () => engine.completions({ prompt: 'hi', ...more } as never),
      () => engine.tokenize({ ...good, ...more } as never),
    ];
    for (const call of calls) {
      const error = await outcome(call);
      if (error !== null && !EngineError.is(error))
        throw new Error(`${field}: ${typeof value}`, { cause: error });
    }
  }
  expect(native.live.size).toBe(0);
});

test.each(['role', 'content', 'name', 'tool_calls', 'tool_call_id', 'reasoning_content', 'other'])(
  'messages[0].%s',
  async (field) => {
    const { engine, native } = await fakeEngine();
    native.answer({ tokens: [97], finish: 'length' });
    for (const role of ['user', 'assistant', 'tool', 'system', 'developer']) {
      for (const value of weird) {
        for (const nested of [value, [value], { function: value }, [{ function: value }]]) {
          const messages = [{ role, content: 'x', [field]: nested }];
          const error = await outcome(() => engine.chatCompletions({ messages } as never));
          if (error !== null && !EngineError.is(error))
            throw new Error(`${role}.${field}: ${typeof value}`, { cause: error });
        }
      }
    }
  },
);
