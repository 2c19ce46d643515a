/** The two transports beside each other: the same answers, chunks' texts and errors, to the letter. */
import { expect } from 'vitest';
import { test } from '../../device.js';
import { collect, user } from '../pocket.js';
import {
  ask,
  countries,
  greeting,
  joinChat,
  joinTexts,
  noThinking,
  story,
  sum,
} from './helpers.js';
import {
  type ChatBody,
  type CompletionBody,
  type Endpoint,
  engineTransport,
  httpTransport,
  live,
} from './transports.js';

const parts = live({ load: { prefixCaching: false } });
const http = httpTransport(parts);
const inProcess = engineTransport(parts);

/** What differs between any two answers. */
const same = <T extends { id: string; created: number }>({ id, created, ...rest }: T) => {
  expect(id).toMatch(/\S/);
  expect(created).toBeGreaterThan(0);
  return rest;
};

const chats: [string, ChatBody][] = [
  ['reasoning', sum],
  ['logprobs', { ...countries, logprobs: true, top_logprobs: 3, return_token_ids: true }],
  ['samples', { ...greeting, n: 3, temperature: 1, seed: 5 }],
  ['stops', { ...countries, stop: ['Paris'], no_stop_trim: true }],
  ['length', { ...sum, max_tokens: 9 }],
];
test.each(chats)('a chat: %s', async (_, body) => {
  expect(same(await http.chat(body))).toEqual(same(await inProcess.chat(body)));
  const [a, b] = [await collect(http.chatStream(body)), await collect(inProcess.chatStream(body))];
  expect(joinChat(a)).toEqual(joinChat(b));
});

const texts: [string, CompletionBody][] = [
  ['prompts', { ...story, prompt: [story.prompt, 'The capital of France is'], n: 2, seed: 1 }],
  ['echo', { ...story, echo: true, logprobs: 4, max_tokens: 10, return_token_ids: true }],
  ['regex', { ...story, stop_regex: '\\. [A-Z]' }],
];
test.each(texts)('a completion: %s', async (_, body) => {
  expect(same(await http.complete(body))).toEqual(same(await inProcess.complete(body)));
  const over = await collect(http.completeStream(body));
  const within = await collect(inProcess.completeStream(body));
  expect(joinTexts(over).map(({ begin, ...rest }) => rest)).toEqual(
    joinTexts(within).map(({ begin, ...rest }) => rest),
  );
});

test('a call, but for its id', async () => {
  const called = async (transport: typeof http) => {
    const { choices, usage } = await transport.chat({ ...ask, ...noThinking });
    const { id, ...call } = choices[0]!.message.tool_calls![0]!;
    expect(id).toMatch(/^call_/);
    return { call, usage, finish: choices[0]!.finish_reason };
  };
  expect(await called(http)).toEqual(await called(inProcess));
});

const faults: [Endpoint, Record<string, unknown>][] = [
  ['chat', { messages: user('x'), n: 0 }],
  ['chat', { messages: user('x'), nonsense: 1 }],
  ['chat', { messages: user('x'.repeat(99_999)) }],
  ['chat', { messages: user('x'), model: 'pocket:x' }],
  ['completions', { prompt: [1, 99_999] }],
  ['completions', { prompt: 'x', max_tokens: 99_999 }],
  ['completions', { prompt: 'x', stop_regex: '(?=x)' }],
];
test.each(faults)('an error of %s: %j', async (endpoint, body) => {
  const error = async (transport: typeof http) => {
    const caught = await transport.raw(endpoint, body).catch((e: unknown) => e);
    const { status, type, code, param, message } = caught as Record<string, unknown>;
    expect(status).toBe(400);
    return { status, type, code, param, message };
  };
  expect(await error(http)).toEqual(await error(inProcess));
});
