/** Row 34 of SGLang's tests: tools that the model is free to call. Forced and strict ones: constrained.test.ts. */
import { expect } from 'vitest';
import type { ChatMessage, Tool } from '../../../lib/index.js';
import { describe, test } from '../../device.js';
import { collect, user } from '../pocket.js';
import { ask, joinChat, noThinking, weather } from './helpers.js';
import { overBoth } from './transports.js';

const timer: Tool = {
  type: 'function',
  function: {
    name: 'set_timer',
    description: 'Set a timer',
    parameters: { type: 'object', properties: { minutes: { type: 'integer' } } },
  },
};
const modes = [
  { thinking: 'with thinking', more: {} },
  { thinking: 'without thinking', more: noThinking },
];

overBoth((surface) => {
  describe('row 34: tools', () => {
    test.each(modes)('a call, $thinking', async ({ more }) => {
      const [choice] = (await surface.chat({ ...ask, ...more })).choices;
      expect(choice).toMatchObject({ finish_reason: 'tool_calls', matched_stop: null });
      const calls = choice!.message.tool_calls!;
      expect(calls).toEqual([
        {
          id: expect.stringMatching(/^call_\w+$/),
          index: 0,
          type: 'function',
          function: { name: 'get_weather', arguments: expect.any(String) },
        },
      ]);
      expect(JSON.parse(calls[0]!.function.arguments)).toEqual({ city: 'Paris' });
      expect(choice!.message.content).not.toMatch(/tool_call/);
    });

    test.each(modes)('a call, streamed, $thinking', async ({ more }) => {
      const [whole] = (await surface.chat({ ...ask, ...more })).choices;
      const chunks = await collect(surface.chatStream({ ...ask, ...more }));
      const [choice] = joinChat(chunks);
      const { content, reasoning_content, tool_calls } = whole!.message;
      expect(choice).toMatchObject({
        content,
        reasoning: reasoning_content ?? '',
        finishes: ['tool_calls'],
      });
      expect(choice!.calls.map((call) => call.function)).toEqual(
        tool_calls!.map((call) => call.function),
      );
      // Id and name first, with no arguments yet, then pieces without either.
      const deltas = chunks.flatMap((c) => c.choices[0]?.delta.tool_calls ?? []);
      expect(deltas[0]).toEqual({
        index: 0,
        id: expect.stringMatching(/^call_\w+$/),
        type: 'function',
        function: { name: 'get_weather', arguments: '' },
      });
      expect(deltas.length).toBeGreaterThan(1);
      for (const delta of deltas.slice(1))
        expect(delta).toEqual({ index: 0, function: { arguments: expect.stringMatching(/./s) } });
    });

    test('each of n samples makes its own call and ends once', async () => {
      const body = { ...ask, ...noThinking, n: 2 };
      const { choices } = await surface.chat(body);
      expect(choices.map((c) => c.finish_reason)).toEqual(['tool_calls', 'tool_calls']);
      const ids = choices.map((c) => c.message.tool_calls![0]!.id);
      expect(new Set(ids).size).toBe(2);
      const streamed = joinChat(await collect(surface.chatStream(body)));
      for (const choice of streamed) {
        expect(choice.finishes).toEqual(['tool_calls']);
        expect(JSON.parse(choice.calls[0]!.function.arguments)).toEqual({ city: 'Paris' });
      }
      expect(new Set(streamed.map((c) => c.calls[0]!.id)).size).toBe(2);
    });

    test('of two tools the one that fits is called', async () => {
      const called = async (question: string) => {
        const body = { messages: user(question), tools: [weather, timer], max_tokens: 100 };
        const [choice] = (await surface.chat({ ...body, ...noThinking })).choices;
        return choice!.message.tool_calls!.map(({ function: f }) => [
          f.name,
          JSON.parse(f.arguments),
        ]);
      };
      expect(await called('What is the weather in Paris?')).toEqual([
        ['get_weather', { city: 'Paris' }],
      ]);
      expect(await called('Set a timer for 5 minutes.')).toEqual([['set_timer', { minutes: 5 }]]);
    });

    test('two calls in one answer, and one with parallel_tool_calls: false', async () => {
      const body = {
        ...ask,
        ...noThinking,
        messages: user('What is the weather in Paris and Rome?'),
      };
      const [choice] = (await surface.chat(body)).choices;
      const calls = choice!.message.tool_calls!;
      expect(calls.map((call) => [call.index, JSON.parse(call.function.arguments)])).toEqual([
        [0, { city: 'Paris' }],
        [1, { city: 'Rome' }],
      ]);
      expect(new Set(calls.map((call) => call.id)).size).toBe(2);
      const [streamed] = joinChat(await collect(surface.chatStream(body)));
      expect(streamed!.calls.map((call) => call.function)).toEqual(calls.map((c) => c.function));
      expect(streamed!.finishes).toEqual(['tool_calls']);
      const [one] = (await surface.chat({ ...body, parallel_tool_calls: false })).choices;
      expect(one!.message.tool_calls!.map((call) => call.function)).toEqual([calls[0]!.function]);
    });

    test('an answer that needs none is an answer', async () => {
      const body = { ...ask, messages: user('What is 467 + 385?') };
      const [choice] = (await surface.chat(body)).choices;
      expect(choice).toMatchObject({ finish_reason: 'stop', message: { tool_calls: null } });
      expect(choice!.message.content).toMatch(/852/);
      const [streamed] = joinChat(await collect(surface.chatStream(body)));
      expect(streamed).toMatchObject({ calls: [], finishes: ['stop'] });
    });

    test('tool_choice none, and no tools at all', async () => {
      for (const none of [{ tool_choice: 'none' as const }, { tools: [] }, { tools: null }]) {
        const [choice] = (await surface.chat({ ...ask, ...none })).choices;
        expect(choice).toMatchObject({ finish_reason: 'stop', message: { tool_calls: null } });
      }
    });

    test('what a tool says is used', async () => {
      const [first] = (await surface.chat({ ...ask, ...noThinking })).choices;
      const said: ChatMessage = {
        role: 'tool',
        tool_call_id: first!.message.tool_calls![0]!.id,
        content: '{"temperature": 21, "condition": "sunny"}',
      };
      const messages = [...ask.messages, first!.message, said];
      const [second] = (await surface.chat({ ...ask, ...noThinking, messages })).choices;
      expect(second).toMatchObject({ finish_reason: 'stop', message: { tool_calls: null } });
      expect(second!.message.content).toMatch(/21|sunny/);
    });

    test('a call that is cut off says length', async () => {
      const [full] = (await surface.chat({ ...ask, ...noThinking, logprobs: true })).choices;
      const max_tokens = full!.logprobs!.content.length - 4;
      const body = { ...ask, ...noThinking, max_tokens };
      const [choice] = (await surface.chat(body)).choices;
      expect(choice!.finish_reason).toBe('length');
      const [streamed] = joinChat(await collect(surface.chatStream(body)));
      expect(streamed!.finishes).toEqual(['length']);
      expect(streamed!.content).toBe(choice!.message.content);
      expect(streamed!.calls.map((c) => c.function)).toEqual(
        (choice!.message.tool_calls ?? []).map((c) => c.function),
      );
    });

    test.each<[string, Record<string, unknown>, string, RegExp]>([
      [
        'a choice that is no tool',
        { tool_choice: { type: 'function', function: { name: 'get_news' } } },
        'tool_choice',
        /'get_news' not found/,
      ],
      [
        'a choice without a name',
        { tool_choice: { type: 'function', function: {} } },
        'tool_choice',
        /function\.name/,
      ],
      ['a choice that is none', { tool_choice: 'sometimes' }, 'tool_choice', /sometimes/],
      ['required without tools', { tools: [], tool_choice: 'required' }, 'tools', /empty/],
      ['a tool without a name', { tools: [{ type: 'function', function: {} }] }, 'tools', /name/],
      [
        'a type that is no function',
        { tools: [{ type: 'retrieval', function: { name: 'x' } }] },
        'tools',
        /function/,
      ],
      [
        'parameters that are no schema',
        { tools: [{ type: 'function', function: { name: 'x', parameters: { type: 'hat' } } }] },
        'tools',
        /Tool 0 function has invalid 'parameters' schema/,
      ],
    ])('%s is refused', async (_, more, param, message) => {
      for (const stream of [false, true])
        await expect(surface.raw('chat', { ...ask, ...more, stream })).rejects.toMatchObject({
          status: 400,
          param: expect.stringContaining(param),
          message: expect.stringMatching(message),
        });
    });
  });
});
