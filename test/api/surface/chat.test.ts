/** Rows 3, 4, 6 and 8 of SGLang's tests: chat, whole and streamed, a continued answer, the least there can be. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, user } from '../pocket.js';
import { countries, joinChat, noThinking, usageChunks } from './helpers.js';
import { type ChatBody, overBoth } from './transports.js';

const cases = [false, true].flatMap((logprobs) => [1, 2].map((n) => ({ logprobs, n })));
const bodyOf = ({ logprobs, n }: (typeof cases)[number]): ChatBody => ({
  ...countries,
  n,
  temperature: 1,
  seed: 3,
  return_token_ids: true,
  ...(logprobs && { logprobs, top_logprobs: 5 }),
});

overBoth((surface) => {
  describe('row 3: chat', () => {
    test.each(cases)('logprobs $logprobs, n $n', async (one) => {
      const answer = await surface.chat(bodyOf(one));
      expect(answer).toMatchObject({ object: 'chat.completion', model: 'pocket' });
      expect(answer.choices.map((c) => c.index)).toEqual([0, 1].slice(0, one.n));
      const { count } = await surface.tokenize({ messages: countries.messages, ...noThinking });
      let generated = 0;
      for (const { message, logprobs, token_ids } of answer.choices) {
        expect(message).toMatchObject({ role: 'assistant', reasoning_content: null });
        expect(message.content).toMatch(/1\. \S/);
        generated += token_ids!.length;
        if (!one.logprobs) {
          expect(logprobs).toBe(null);
          continue;
        }
        expect(logprobs!.content).toHaveLength(token_ids!.length);
        for (const { token, bytes, logprob, top_logprobs } of logprobs!.content) {
          expect(top_logprobs).toHaveLength(5);
          expect(logprob).toBeLessThanOrEqual(0);
          if (!token.startsWith('bytes:')) expect(Buffer.from(bytes).toString()).toBe(token);
        }
      }
      expect(answer.usage).toMatchObject({
        prompt_tokens: count,
        completion_tokens: generated,
        total_tokens: count + generated,
      });
    });
  });

  describe('row 4: chat, streamed', () => {
    test.each(cases)('logprobs $logprobs, n $n', async (one) => {
      const body = bodyOf(one);
      const whole = await surface.chat(body);
      const chunks = await collect(
        surface.chatStream({ ...body, stream_options: { include_usage: true } }),
      );
      const choices = joinChat(chunks);
      expect(choices).toHaveLength(one.n);
      for (const [i, choice] of choices.entries()) {
        const { message, finish_reason, matched_stop, logprobs, token_ids } = whole.choices[i]!;
        expect(choice).toEqual({
          roles: 1,
          content: message.content,
          reasoning: '',
          calls: [],
          finishes: [finish_reason],
          matchedStop: matched_stop,
          logprobs: logprobs?.content ?? [],
          tokenIds: token_ids,
        });
      }
      // Every delta with text has logprobs of its own, or none at all has any.
      for (const { delta, logprobs } of chunks.flatMap((chunk) => chunk.choices))
        if (delta.content) expect(logprobs === null).toBe(!one.logprobs);
      expect(new Set(chunks.map((chunk) => `${chunk.id} ${chunk.created}`)).size).toBe(1);
      expect(usageChunks(chunks)).toEqual([chunks.at(-1)]);
      const { prompt_tokens, completion_tokens, total_tokens } = whole.usage;
      expect(chunks.at(-1)!.usage).toMatchObject({
        prompt_tokens,
        completion_tokens,
        total_tokens,
      });
    });
  });

  describe('row 6: an answer that has begun', () => {
    const question = user('Extract the person as JSON: Ada lives in Paris and is 31.');
    const begun = '{"name": "Ada", "age":';
    const body: ChatBody = {
      messages: [...question, { role: 'assistant', content: begun }],
      continue_final_message: true,
      max_tokens: 60,
      ...noThinking,
    };

    test('goes on and does not begin again', async () => {
      const { content } = (await surface.chat(body)).choices[0]!.message;
      expect(JSON.parse(begun + content)).toEqual({ name: 'Ada', age: 31, city: 'Paris' });
    });

    test('the same, streamed', async () => {
      const { content } = (await surface.chat(body)).choices[0]!.message;
      expect(joinChat(await collect(surface.chatStream(body)))[0]!.content).toBe(content);
    });
  });

  describe('row 8: the least there can be', () => {
    test('a chat', async () => {
      const answer = await surface.chat({ model: 'default', messages: user('Hello!') });
      expect(answer.model).toBe('default');
      expect(answer.choices[0]!.message.content).toMatch(/\S/);
      expect(answer.choices[0]!.finish_reason).toBe('stop');
      expect(answer.usage.total_tokens).toBeGreaterThan(0);
    });

    test('a completion', async () => {
      const answer = await surface.complete({ model: 'default', prompt: 'Once upon a time' });
      expect(answer.model).toBe('default');
      expect(answer.choices[0]!.text).toMatch(/\S/);
      expect(answer.usage.completion_tokens).toBe(16);
    });
  });
});
