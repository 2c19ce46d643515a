/** Rows 31 to 33 of SGLang's tests: reasoning apart or not, streamed or held, counted, and cut off anywhere. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, user } from '../pocket.js';
import { joinChat, noThinking, sum, usageChunks } from './helpers.js';
import { type ChatBody, overBoth } from './transports.js';

const strawberry = { messages: user("How many r's are in 'strawberry'?"), max_tokens: 300 };

overBoth((surface) => {
  const said = async (body: ChatBody) => {
    const [choice] = (await surface.chat(body)).choices;
    const { content, reasoning_content } = choice!.message;
    return { content, reasoning: reasoning_content };
  };
  const streamed = async (body: ChatBody) => {
    const chunks = await collect(surface.chatStream(body));
    const [choice] = joinChat(chunks);
    return { chunks, choice: choice!, pieces: chunks.flatMap((c) => c.choices) };
  };

  describe('row 31: reasoning is apart', () => {
    test('by default', async () => {
      const { content, reasoning } = await said(strawberry);
      expect(reasoning).toMatch(/r 3/);
      expect(content).toMatch(/3 r's/);
      expect(`${reasoning}${content}`).not.toMatch(/<\/?think>/);
    });

    test('and not with separate_reasoning: false', async () => {
      const apart = await said(strawberry);
      const raw = await said({ ...strawberry, separate_reasoning: false });
      expect(raw).toEqual({
        reasoning: null,
        content: `<think>${apart.reasoning}</think>${apart.content}`,
      });
    });

    test('streamed: reasoning first, then the answer', async () => {
      const { content, reasoning } = await said(strawberry);
      const { choice, pieces } = await streamed(strawberry);
      expect(choice).toMatchObject({ content, reasoning });
      const isReasoning = pieces.map((p) => Boolean(p.delta.reasoning_content));
      const isContent = pieces.map((p) => Boolean(p.delta.content));
      expect(isReasoning).toContain(true);
      expect(isReasoning.lastIndexOf(true)).toBeLessThan(isContent.indexOf(true));
      for (const { delta } of pieces) expect('reasoning_content' in delta).toBe(true);
    });

    test('streamed with separate_reasoning: false it is content', async () => {
      const { content } = await said({ ...strawberry, separate_reasoning: false });
      const { choice } = await streamed({ ...strawberry, separate_reasoning: false });
      expect(choice).toMatchObject({ content, reasoning: '' });
    });

    test('with stream_reasoning: false it comes in one piece when it is over', async () => {
      const { content, reasoning } = await said(strawberry);
      const { choice, pieces } = await streamed({ ...strawberry, stream_reasoning: false });
      expect(choice).toMatchObject({ content, reasoning });
      const whole = pieces.filter((p) => p.delta.reasoning_content);
      expect(whole).toHaveLength(1);
      expect(whole[0]!.delta.reasoning_content).toBe(reasoning);
    });

    test('with stream_reasoning: false and no end to it nothing is lost', async () => {
      const body = { ...strawberry, max_tokens: 20 };
      const { reasoning } = await said(body);
      expect(reasoning).toMatch(/\S/);
      const { choice } = await streamed({ ...body, stream_reasoning: false });
      expect(choice).toMatchObject({ content: '', reasoning, finishes: ['length'] });
    });

    test.each([
      ['chat_template_kwargs', noThinking],
      ['reasoning_effort', { reasoning_effort: 'none' as const }],
      ['reasoning', { reasoning: { enabled: false } }],
    ])('is off by %s', async (_, off) => {
      const { content, reasoning } = await said({ ...strawberry, ...off });
      expect(reasoning).toBe(null);
      expect(content).toMatch(/3 r's/);
      expect((await streamed({ ...strawberry, ...off })).choice).toMatchObject({
        content,
        reasoning: '',
      });
    });
  });

  describe('row 32: reasoning is counted', () => {
    test('exactly to the end of its tag, at both places, whole and streamed', async () => {
      const [end, ...more] = (await surface.tokenize({ prompt: '</think>' })).tokens;
      expect(more).toEqual([]);
      const body = { ...sum, return_token_ids: true };
      const { choices, usage } = await surface.chat(body);
      const count = choices[0]!.token_ids!.indexOf(end!) + 1;
      expect(count).toBeGreaterThan(1);
      expect(count).toBeLessThan(usage.completion_tokens);
      expect(usage.reasoning_tokens).toBe(count);
      expect(usage.completion_tokens_details.reasoning_tokens).toBe(count);
      const { chunks } = await streamed({ ...body, stream_options: { include_usage: true } });
      expect(usageChunks(chunks)[0]!.usage).toMatchObject({
        reasoning_tokens: count,
        completion_tokens_details: { reasoning_tokens: count },
        completion_tokens: usage.completion_tokens,
      });
    });

    test('as nothing when it is off', async () => {
      const { usage } = await surface.chat({ ...sum, ...noThinking });
      expect(usage.reasoning_tokens).toBe(0);
      expect(usage.completion_tokens_details.reasoning_tokens).toBe(0);
      const { chunks } = await streamed({
        ...sum,
        ...noThinking,
        stream_options: { include_usage: true },
      });
      expect(usageChunks(chunks)[0]!.usage!.reasoning_tokens).toBe(0);
    });

    test('for each of n samples', async () => {
      const one = await surface.chat(sum);
      const { usage, choices } = await surface.chat({ ...sum, n: 3 });
      expect(choices.map((c) => c.message)).toEqual(Array(3).fill(one.choices[0]!.message));
      expect(usage.reasoning_tokens).toBe(3 * one.usage.reasoning_tokens);
    });
  });

  describe('row 33: however it is cut', () => {
    test('at every length a stream says what the whole answer does, and nothing is lost', async () => {
      const body = { ...sum, messages: user('Hello!') };
      const full = await surface.chat(body);
      const all = await said({ ...body, separate_reasoning: false });
      const lengths = Array.from({ length: full.usage.completion_tokens }, (_, i) => i + 1);
      await Promise.all(
        lengths.map(async (max_tokens) => {
          const { content, reasoning } = await said({ ...body, max_tokens });
          const { choice } = await streamed({ ...body, max_tokens });
          expect(choice).toMatchObject({ content, reasoning: reasoning ?? '' });
          const raw = await said({ ...body, max_tokens, separate_reasoning: false });
          expect(all.content.startsWith(raw.content)).toBe(true);
          expect(raw.content.replace(/<\/?think>/g, '')).toBe(`${reasoning ?? ''}${content}`);
        }),
      );
    });

    test('a stop string ends reasoning as it ends an answer', async () => {
      const { reasoning } = await said(strawberry);
      const stop = 'w 1';
      const [choice] = (await surface.chat({ ...strawberry, stop })).choices;
      expect(choice).toMatchObject({
        finish_reason: 'stop',
        matched_stop: stop,
        message: {
          content: '',
          reasoning_content: reasoning!.slice(0, reasoning!.indexOf(stop)),
        },
      });
      const { choice: other } = await streamed({ ...strawberry, stop });
      expect(other.reasoning).toBe(choice!.message.reasoning_content);
    });

    test('an answer that is continued after its thinking is an answer', async () => {
      const begun = `<think>\nA greeting.\n</think>\n\nHello! How`;
      const body: ChatBody = {
        messages: [...user('Hello!'), { role: 'assistant', content: begun }],
        continue_final_message: true,
        max_tokens: 40,
      };
      const { content, reasoning } = await said(body);
      expect(content).toBe(' can I help you today?');
      expect(reasoning).toBe(null);
      expect((await streamed(body)).choice).toMatchObject({ content, reasoning: '' });
    });
  });

  describe('a thinking budget, which users ask for', () => {
    test('closes the block, and the answer follows', async () => {
      const free = await surface.chat({ ...strawberry, return_token_ids: true });
      const body = { ...strawberry, thinking_budget: 12, return_token_ids: true };
      const { choices, usage } = await surface.chat(body);
      const [choice] = choices;
      expect(choice!.token_ids!.slice(0, 12)).toEqual(free.choices[0]!.token_ids!.slice(0, 12));
      expect(usage.reasoning_tokens).toBeLessThan(free.usage.reasoning_tokens);
      expect(usage.completion_tokens).toBe(choice!.token_ids!.length);
      expect(choice!.message.content).toMatch(/\S/);
      expect(choice!.finish_reason).toBe('stop');
      const { choice: other } = await streamed(body);
      expect(other).toMatchObject({
        content: choice!.message.content,
        reasoning: choice!.message.reasoning_content,
        tokenIds: choice!.token_ids,
      });
    });
  });
});
