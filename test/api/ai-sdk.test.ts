/** The AI SDK's provider for OpenAI-compatible servers, against a live server on the bundled model. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError,
  generateObject,
  generateText,
  stepCountIs,
  streamObject,
  streamText,
  tool,
} from 'ai';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { z } from 'zod';
import type { Engine } from '../../lib/index.js';
import { type RunningServer, serve } from '../../lib/server/index.js';
import { describe, test } from '../device.js';
import { collect, loadPocket, settled } from './pocket.js';

let engine: Engine;
let server: RunningServer;
beforeAll(async () => {
  engine = await loadPocket();
  server = await serve(engine, { port: 0 });
});
afterEach(async () => {
  await settled(engine);
});
afterAll(async () => {
  await server.close();
  await engine.close();
});

/** As its users set it up. */
const model = () =>
  createOpenAICompatible({
    name: 'hotpath',
    baseURL: `${server.url}/v1`,
    includeUsage: true,
    supportsStructuredOutputs: true,
  })('pocket');

const prompt = 'What is 467 + 385?';
const noThinking = { hotpath: { chat_template_kwargs: { enable_thinking: false } } };

describe('generateText', () => {
  test('text, reasoning, usage and the reason of the end', async () => {
    const result = await generateText({ model: model(), prompt, maxRetries: 0 });
    const answer = await engine.chatCompletions({ messages: [{ role: 'user', content: prompt }] });
    const { message } = answer.choices[0]!;
    expect(result.text).toBe(message.content);
    expect(result.text).toMatch(/852/);
    expect(result.reasoningText).toBe(message.reasoning_content);
    expect(result.finishReason).toBe('stop');
    expect(result.usage).toMatchObject({
      inputTokens: answer.usage.prompt_tokens,
      outputTokens: answer.usage.completion_tokens,
      totalTokens: answer.usage.total_tokens,
      reasoningTokens: answer.usage.reasoning_tokens,
    });
    expect(result.response.modelId).toBe('pocket');
  });

  test("OpenAI's settings, and ours as options of the provider", async () => {
    const result = await generateText({
      model: model(),
      system: 'Be brief.',
      prompt: 'Tell me a story.',
      temperature: 0.9,
      topP: 0.9,
      seed: 7,
      maxOutputTokens: 12,
      stopSequences: ['nothing that is ever said'],
      providerOptions: noThinking,
      maxRetries: 0,
    });
    const { choices } = await engine.chatCompletions({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Tell me a story.' },
      ],
      temperature: 0.9,
      top_p: 0.9,
      seed: 7,
      max_tokens: 12,
      chat_template_kwargs: { enable_thinking: false },
    });
    expect(result.text).toBe(choices[0]!.message.content);
    expect(result.reasoningText).toBe(undefined);
    expect(result.finishReason).toBe('length');
  });

  test('an error says what the server said', async () => {
    const asked = generateText({ model: model(), prompt, temperature: -1, maxRetries: 0 });
    const error = await asked.catch((e: unknown) => e);
    expect(APICallError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({
      statusCode: 400,
      message: expect.stringMatching(/temperature must be .*got -1/),
    });
  });
});

describe('streamText', () => {
  test('is the text, the reasoning and the usage of the whole', async () => {
    const whole = await generateText({ model: model(), prompt, maxRetries: 0 });
    const result = streamText({ model: model(), prompt, maxRetries: 0 });
    expect((await collect(result.textStream)).join('')).toBe(whole.text);
    expect(await result.reasoningText).toBe(whole.reasoningText);
    expect(await result.finishReason).toBe('stop');
    expect(await result.usage).toMatchObject({
      inputTokens: whole.usage.inputTokens,
      outputTokens: whole.usage.outputTokens,
      reasoningTokens: whole.usage.reasoningTokens,
    });
  });

  test('that is given up frees its request', async () => {
    const controller = new AbortController();
    const result = streamText({
      model: model(),
      prompt: 'Tell me a story.',
      abortSignal: controller.signal,
      providerOptions: { hotpath: { ignore_eos: true, ...noThinking.hotpath } },
      maxRetries: 0,
      onError: () => {},
    });
    for await (const _ of result.textStream) controller.abort();
    const stats = await settled(engine);
    expect(stats.requestsAborted).toBe(1);
  });
});

describe('tools', () => {
  const asked: unknown[] = [];
  const weather = tool({
    description: 'Get the current weather in a city',
    inputSchema: z.object({ city: z.string() }),
    execute: async (input) => {
      asked.push(input);
      return { temperature: 21, condition: 'sunny' };
    },
  });
  const question = {
    tools: { get_weather: weather },
    prompt: 'What is the weather in Paris?',
    stopWhen: stepCountIs(3),
    providerOptions: noThinking,
    maxRetries: 0,
  };

  test('are called, and what they say is used', async () => {
    asked.length = 0;
    const result = await generateText({ model: model(), ...question });
    expect(asked).toEqual([{ city: 'Paris' }]);
    expect(result.steps.map((step) => step.finishReason)).toEqual(['tool-calls', 'stop']);
    expect(result.steps[0]!.toolCalls).toMatchObject([
      { toolName: 'get_weather', input: { city: 'Paris' } },
    ]);
    expect(result.text).toMatch(/21|sunny/);
  });

  test('in a stream too', async () => {
    asked.length = 0;
    const result = streamText({ model: model(), ...question });
    const parts = await collect(result.fullStream);
    expect(asked).toEqual([{ city: 'Paris' }]);
    const pieces = parts.filter((part) => part.type === 'tool-input-delta');
    expect(JSON.parse(pieces.map((part) => part.delta).join(''))).toEqual({ city: 'Paris' });
    expect(parts.filter((part) => part.type === 'tool-result')).toHaveLength(1);
    expect(await result.text).toMatch(/21|sunny/);
    expect(parts.filter((part) => part.type === 'error')).toEqual([]);
  });
});

describe('objects', () => {
  const schema = z.object({
    name: z.string().max(20),
    age: z.number().int().min(0).max(120),
    mood: z.enum(['glad', 'sad']),
  });
  // Nothing in the prompt asks for this form, and at this temperature nothing else leads to it.
  const question = { schema, prompt: 'Tell me a story.', temperature: 1.5, seed: 3, maxRetries: 0 };

  test.each([true, false])('fit their schema (thinking %s)', async (enable_thinking) => {
    const result = await generateObject({
      model: model(),
      ...question,
      providerOptions: {
        hotpath: { chat_template_kwargs: { enable_thinking }, thinking_budget: 20 },
      },
    });
    expect(schema.parse(result.object)).toEqual(result.object);
    expect(result.finishReason).toBe('stop');
    expect(result.warnings ?? []).toEqual([]);
  });

  test('in a stream: the same one, by and by', async () => {
    const asked = { ...question, providerOptions: noThinking };
    const whole = await generateObject({ model: model(), ...asked });
    const result = streamObject({ model: model(), ...asked });
    const parts = await collect(result.partialObjectStream);
    expect(parts.at(-1)).toEqual(whole.object);
    expect(await result.object).toEqual(whole.object);
  });

  test('of any form, where no schema is given', async () => {
    const { object } = await generateObject({
      model: model(),
      output: 'no-schema',
      prompt: 'Extract: Ada is 36 years old.',
      providerOptions: noThinking,
      maxRetries: 0,
    });
    expect(object).toBeTypeOf('object');
  });
});
