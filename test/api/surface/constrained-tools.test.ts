/** The forced and strict part of row 34 of SGLang's tests, and the objects that the AI SDK asks for. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateObject, streamObject } from 'ai';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'vitest';
import { z } from 'zod';
import type { Tool } from '../../../lib/index.js';
import { describe, test } from '../../device.js';
import { collect, user } from '../pocket.js';
import { ask, joinChat, noThinking, sum, weather } from './helpers.js';
import { type ChatBody, live, overBoth } from './transports.js';

overBoth((surface) => {
  describe('row 34: tools that must be called', () => {
    const city = { type: 'string', enum: ['Paris', 'Rome', 'Oslo'] };
    const strict: Tool = {
      type: 'function',
      function: {
        name: 'get_weather',
        parameters: {
          type: 'object',
          properties: { city, days: { type: 'integer', minimum: 1, maximum: 9 } },
          required: ['city', 'days'],
          additionalProperties: false,
        },
        strict: true,
      },
    };
    const other: Tool = {
      type: 'function',
      function: {
        name: 'get_time',
        parameters: {
          type: 'object',
          properties: { city },
          required: ['city'],
          additionalProperties: false,
        },
        strict: true,
      },
    };
    const fits = new Ajv2020().compile(strict.function.parameters!);
    const hello = { messages: user('Hello!'), tools: [strict, other], max_tokens: 400 };

    /** The calls of a chat, checked to be the same in a stream. */
    const callsOf = async (body: ChatBody) => {
      const [choice] = (await surface.chat(body)).choices;
      expect(choice).toMatchObject({ finish_reason: 'tool_calls', matched_stop: null });
      const [streamed] = joinChat(await collect(surface.chatStream(body)));
      expect(streamed!.finishes).toEqual(['tool_calls']);
      const calls = choice!.message.tool_calls!.map((call) => call.function);
      expect(streamed!.calls.map((call) => call.function)).toEqual(calls);
      return calls.map(({ name, arguments: text }) => ({
        name,
        value: JSON.parse(text) as object,
      }));
    };

    test.each([noThinking, {}])('required, where nothing asks for one: %j', async (more) => {
      const calls = await callsOf({ ...hello, ...more, tool_choice: 'required' });
      expect(calls.length).toBeGreaterThan(0);
      for (const { name, value } of calls) {
        expect(['get_weather', 'get_time']).toContain(name);
        if (name === 'get_weather') expect(fits(value)).toBe(true);
      }
    });

    test('by name', async () => {
      for (const name of ['get_weather', 'get_time']) {
        const tool_choice = { type: 'function' as const, function: { name } };
        const calls = await callsOf({ ...hello, ...noThinking, tool_choice });
        expect(calls.map((call) => call.name)).toEqual(Array(calls.length).fill(name));
        expect(calls.length).toBeGreaterThan(0);
      }
    });

    test('by name without strict: the arguments are JSON', async () => {
      const tool_choice = { type: 'function' as const, function: { name: weather.function.name } };
      const [call] = await callsOf({ ...ask, ...noThinking, tool_choice });
      expect(call).toEqual({ name: 'get_weather', value: { city: 'Paris' } });
    });

    test('one and no more with parallel_tool_calls: false', async () => {
      const body: ChatBody = {
        ...hello,
        ...noThinking,
        messages: user('What is the weather in Paris and Rome?'),
        tool_choice: 'required',
        parallel_tool_calls: false,
      };
      expect(await callsOf(body)).toHaveLength(1);
    });

    test('strict ones that are free to be called fit when they are, and need not be', async () => {
      const asked = { ...hello, ...noThinking, messages: ask.messages };
      const [call] = await callsOf({ ...asked, tools: [strict] });
      expect(fits(call!.value)).toBe(true);
      const free = await surface.chat({ ...asked, messages: sum.messages, tools: [strict] });
      expect(free.choices[0]).toMatchObject({ finish_reason: 'stop' });
      expect(free.choices[0]!.message.content).toMatch(/852/);
    });
  });
});

describe("the AI SDK's objects", () => {
  const parts = live();
  const options = () => ({
    model: createOpenAICompatible({
      name: 'hotpath',
      baseURL: `${parts().server.url}/v1`,
      supportsStructuredOutputs: true,
    })('pocket'),
    schema: z.object({ name: z.string().max(20), age: z.int(), city: z.string().max(20) }),
    prompt: 'Extract the person as JSON: Ada lives in Paris and is 31.',
    maxRetries: 0,
  });
  const ada = { name: 'Ada', age: 31, city: 'Paris' };

  test('generateObject', async () => {
    const { object, finishReason } = await generateObject(options());
    expect(object).toEqual(ada);
    expect(finishReason).toBe('stop');
  });

  test('streamObject', async () => {
    const { partialObjectStream, object } = streamObject(options());
    const steps = await collect(partialObjectStream);
    expect(steps.at(-1)).toEqual(ada);
    expect(await object).toEqual(ada);
  });
});
