/** What SGLang's own tests leave out: nulls, nothing, and what OpenAI refuses. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, user } from '../pocket.js';
import { greeting, story } from './helpers.js';
import { type Endpoint, overBoth } from './transports.js';

const bodies = {
  chat: { messages: user('Hello!'), max_tokens: 3 },
  completions: { prompt: 'Once upon a time', max_tokens: 3 },
};
const endpoints = ['chat', 'completions'] as const;

type Refusal = [name: string, endpoint: Endpoint, body: Record<string, unknown>, param: string];

const refusals: Refusal[] = [
  ...endpoints.flatMap((endpoint): Refusal[] => [
    ['n: 0', endpoint, { n: 0 }, 'n'],
    ['n: "2"', endpoint, { n: '2' }, 'n'],
    ['max_tokens: -1', endpoint, { max_tokens: -1 }, 'max_tokens'],
    ['max_tokens: 0', endpoint, { max_tokens: 0 }, 'max_tokens'],
    ['seed: 1.5', endpoint, { seed: 1.5 }, 'seed'],
    ['stream: "yes"', endpoint, { stream: 'yes' }, 'stream'],
    ['stop: [""]', endpoint, { stop: [''] }, 'stop'],
    ['stop_token_ids beyond the vocabulary', endpoint, { stop_token_ids: [9e6] }, 'stop_token_ids'],
    ['stop_regex: "["', endpoint, { stop_regex: '[' }, 'stop_regex'],
    ['a field that nobody has', endpoint, { temprature: 1 }, 'temprature'],
    ['a field of stream_options', endpoint, { stream_options: { x: 1 } }, 'stream_options'],
    ['return_hidden_states', endpoint, { return_hidden_states: true }, 'return_hidden_states'],
    ['a bias beyond 100', endpoint, { logit_bias: { 5: 101 } }, 'logit_bias'],
    ['model: 5', endpoint, { model: 5 }, 'model'],
  ]),
  ['top_logprobs: 21', 'chat', { logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
  ['top_logprobs alone', 'chat', { top_logprobs: 2 }, 'top_logprobs'],
  ['logprobs: 5', 'chat', { logprobs: 5 }, 'logprobs'],
  ['no messages', 'chat', { messages: undefined }, 'messages'],
  ['messages: []', 'chat', { messages: [] }, 'messages'],
  ['a role that is none', 'chat', { messages: [{ role: 'robot', content: 'x' }] }, 'messages[0]'],
  ['a message of null', 'chat', { messages: [{ role: 'user', content: null }] }, 'messages[0]'],
  [
    'an image',
    'chat',
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
    'messages[0]',
  ],
  ['logprobs: true', 'completions', { logprobs: true }, 'logprobs'],
  ['logprobs: 21', 'completions', { logprobs: 21 }, 'logprobs'],
  ['no prompt', 'completions', { prompt: undefined }, 'prompt'],
  ['prompt: ""', 'completions', { prompt: '' }, 'prompt'],
  ['prompt: []', 'completions', { prompt: [] }, 'prompt'],
  ['a prompt of two kinds', 'completions', { prompt: ['a', 5] }, 'prompt'],
  ['an id beyond the vocabulary', 'completions', { prompt: [5, 9_999_999] }, 'prompt'],
  ['suffix', 'completions', { suffix: 'x' }, 'suffix'],
  ['best_of below n', 'completions', { n: 3, best_of: 2 }, 'best_of'],
];

overBoth((surface) => {
  describe('refused, whole and streamed, with the field at fault', () => {
    test.each(refusals)('%s (%s)', async (_, endpoint, more, param) => {
      for (const stream of [false, true]) {
        const body = { ...bodies[endpoint], stream, ...more };
        await expect(surface.raw(endpoint, body)).rejects.toMatchObject({
          status: 400,
          type: 'invalid_request_error',
          code: expect.stringMatching(/^[a-z_]+$/),
          param: expect.stringMatching(new RegExp(`^${param.replace(/[[\]]/g, '\\$&')}`)),
          message: expect.stringMatching(/\w+ \w+/),
        });
      }
    });

    test.each(endpoints)('a body that is no object (%s)', async (endpoint) => {
      for (const body of [[], 'text', 5])
        await expect(surface.raw(endpoint, body)).rejects.toMatchObject({ status: 400 });
    });
  });

  describe('null is the default', () => {
    const fields =
      'model temperature top_p top_k min_p frequency_penalty presence_penalty repetition_penalty logit_bias ' +
      'stop stop_regex stop_token_ids seed n stream stream_options ignore_eos min_tokens ' +
      'skip_special_tokens no_stop_trim priority cache_salt extra_key rid lora_path return_token_ids ' +
      'return_meta_info return_routed_experts response_format regex ebnf json_schema logprobs user';
    const nulls = Object.fromEntries(fields.split(' ').map((field) => [field, null]));

    test('in a completion', async () => {
      const plain = await surface.complete(bodies.completions);
      const answer = await surface.raw('completions', {
        ...bodies.completions,
        ...nulls,
        echo: null,
        best_of: null,
        suffix: null,
      });
      expect(answer).toMatchObject({ model: 'pocket', choices: plain.choices });
    });

    test('in a chat', async () => {
      const plain = await surface.chat(bodies.chat);
      const answer = await surface.raw('chat', {
        ...bodies.chat,
        ...nulls,
        max_completion_tokens: null,
        top_logprobs: null,
        tools: null,
        tool_choice: null,
        parallel_tool_calls: null,
        chat_template_kwargs: null,
        reasoning_effort: null,
        separate_reasoning: null,
        stream_reasoning: null,
        continue_final_message: null,
        input_ids: null,
      });
      expect(answer).toMatchObject({ model: 'pocket', choices: plain.choices });
    });
  });

  describe('the shape of answers', () => {
    test('a chat has every key, null where there is nothing', async () => {
      const answer = await surface.chat(greeting);
      expect(answer).toEqual({
        id: expect.stringMatching(/^\S+$/),
        object: 'chat.completion',
        created: expect.any(Number),
        model: 'pocket',
        choices: [
          {
            index: 0,
            message: {
              role: 'assistant',
              content: expect.any(String),
              refusal: null,
              reasoning_content: null,
              tool_calls: null,
            },
            logprobs: null,
            finish_reason: 'stop',
            matched_stop: 2,
          },
        ],
        usage: expect.any(Object),
        metadata: { weight_version: 'default' },
      });
      expect(Math.abs(answer.created - Date.now() / 1000)).toBeLessThan(60);
      expect((await surface.chat(greeting)).id).not.toBe(answer.id);
    });

    test('content that is empty is empty, not null', async () => {
      const { choices } = await surface.chat({ ...greeting, logit_bias: { '2': 100 } });
      expect(choices[0]!.message.content).toBe('');
    });

    test('one id and one created for all chunks of n choices, and usage in one more', async () => {
      const body = { ...greeting, n: 3, temperature: 1, seed: 1 };
      const chunks = await collect(
        surface.chatStream({ ...body, stream_options: { include_usage: true } }),
      );
      expect(new Set(chunks.map((chunk) => `${chunk.id} ${chunk.created}`)).size).toBe(1);
      const choices = chunks.flatMap((chunk) => chunk.choices);
      expect(new Set(choices.map((choice) => choice.index))).toEqual(new Set([0, 1, 2]));
      for (const choice of choices) {
        expect('reasoning_content' in choice.delta).toBe(true);
        for (const key of ['logprobs', 'finish_reason', 'matched_stop'])
          expect(key in choice).toBe(true);
      }
      expect(chunks.at(-1)!.choices).toEqual([]);
    });

    test('token ids of the prompt and the answer, in and out', async () => {
      const body = { ...greeting, return_token_ids: true };
      const [choice] = (await surface.chat(body)).choices;
      const { prompt_token_ids, token_ids } = choice!;
      const again = await surface.chat({
        messages: [],
        input_ids: prompt_token_ids!,
        max_tokens: 100,
        return_token_ids: true,
      });
      expect(again.choices[0]!.token_ids).toEqual(token_ids);
      const text = await surface.complete({
        prompt: prompt_token_ids!,
        max_tokens: 100,
        return_token_ids: true,
      });
      expect(text.choices[0]!.token_ids).toEqual(token_ids);
    });

    test('best_of returns the likeliest of the samples', async () => {
      const body = { ...story, max_tokens: 20, temperature: 1.5, seed: 11 };
      const all = await surface.complete({ ...body, n: 5, logprobs: 0 });
      const mean = ({ logprobs }: (typeof all.choices)[number]) =>
        logprobs!.token_logprobs.reduce((a, b) => a + b, 0) / logprobs!.token_logprobs.length;
      const best = [...all.choices].sort((a, b) => mean(b) - mean(a))[0]!;
      const { choices, usage } = await surface.complete({ ...body, best_of: 5 });
      expect(choices.map((choice) => choice.text)).toEqual([best.text]);
      expect(usage.completion_tokens).toBe(all.usage.completion_tokens);
    });
  });
});
