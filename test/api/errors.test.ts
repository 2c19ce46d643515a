/** Bad options and bad requests against a real engine: a clear error, and the engine goes on. */
import { afterAll, beforeAll, expect } from 'vitest';
import { devices, Engine, EngineError, type LoadOptions } from '../../lib/index.js';
import { device, test } from '../device.js';
import { loadPocket, pocket, pocketConfig, settled, user } from './pocket.js';

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket();
});
afterAll(async () => {
  await settled(engine);
  await engine.close();
});

test.each<[string, LoadOptions & Record<string, unknown>, Partial<EngineError>]>([
  [
    'unknown option',
    { maxModelLength: 5 },
    {
      param: 'maxModelLength',
      message: "Unknown option 'maxModelLength'. Did you mean 'maxModelLen'?",
    },
  ],
  ['another unknown option', { qwertz: 5 }, { param: 'qwertz', code: 'unsupported_parameter' }],
  ['wrong type', { numThreads: '2' as never }, { param: 'numThreads', code: 'invalid_type' }],
  ['out of range', { maxRunningSeqs: 0 }, { param: 'maxRunningSeqs', code: 'invalid_value' }],
  [
    'unknown device',
    { device: 'gpu' as never },
    {
      param: 'device',
      message: "device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got 'gpu'.",
    },
  ],
  [
    'longer than the checkpoint',
    { maxModelLen: 5000 },
    { param: 'maxModelLen', code: 'invalid_value' },
  ],
  [
    'a cache that holds nothing',
    { kvCacheBytes: 100 },
    { param: 'kvCacheBytes', code: 'invalid_value' },
  ],
  ['two sizes', { kvCacheBytes: 1e6, kvCacheMemoryShare: 0.5 }, { param: 'kvCacheMemoryShare' }],
  ['a share above 1', { kvCacheMemoryShare: 2 }, { param: 'kvCacheMemoryShare' }],
  ['dtype of a checkpoint', { dtype: 'f32' }, { param: 'dtype', code: 'invalid_value' }],
  ['a bad template', { chatTemplate: '{% if %}' }, { code: 'chat_template_error' }],
  ['a signal that is none', { signal: {} as never }, { param: 'signal', code: 'invalid_type' }],
])('load: %s', async (_, options, expected) => {
  const error = await Engine.load(pocket, { device, ...options }).catch((e) => e);
  expect(error).toMatchObject({ name: 'EngineError', status: 400, ...expected });
});

test('load: options that are no object, and a model that is no name', async () => {
  await expect(Engine.load(pocket, 'cpu' as never)).rejects.toMatchObject({ code: 'invalid_type' });
  await expect(Engine.load('')).rejects.toMatchObject({ code: 'model_not_found', status: 404 });
  await expect(Engine.load(undefined as never)).rejects.toMatchObject({ code: 'model_not_found' });
});

test('load: a device that cannot be used is an error, not another device', async () => {
  const missing = devices().every((d) => d.kind !== 'cuda' || d.unavailable !== null);
  const absent = missing ? 'cuda' : 'cuda:999';
  const error = await Engine.load(pocket, { device: absent }).catch((e) => e);
  expect(error).toMatchObject({ code: 'device_unavailable', status: 503, param: 'device' });
  expect(error.message).toMatch(/Pass device: 'cpu'/);
});

test('devices lists the CPU', () => {
  const cpu = devices().find((d) => d.kind === 'cpu')!;
  expect(cpu.unavailable).toBe(null);
  expect(cpu.totalBytes).toBeGreaterThan(0);
  expect(cpu.detail).not.toBe('');
});

test('a chat template and a name by option', async () => {
  await using own = await loadPocket({
    chatTemplate: '{{ messages[0].content }}!',
    servedModelName: 'mine',
  });
  const { tokens } = await own.tokenize({ messages: user('Hello') });
  expect(await own.detokenize({ tokens })).toEqual({ text: 'Hello!' });
  const result = await own.chatCompletions({ messages: user('Hello'), max_tokens: 1 });
  expect(result.model).toBe('mine');
});

test('prompts and lengths beyond the context', async () => {
  const { maxModelLen } = engine;
  expect(maxModelLen).toBe(pocketConfig.max_position_embeddings);
  const code = 'context_length_exceeded';
  const longest = Array(maxModelLen).fill(100);
  await expect(engine.completions({ prompt: longest })).rejects.toMatchObject({
    status: 400,
    code,
  });
  await expect(
    engine.chatCompletions({ messages: user('x '.repeat(5000)), stream: true }),
  ).rejects.toMatchObject({ param: 'messages', code });
  await expect(engine.completions({ prompt: [1], max_tokens: maxModelLen })).rejects.toMatchObject({
    param: 'max_tokens',
    code,
  });
  // Up to the brim is fine.
  const full = await engine.completions({ prompt: longest.slice(1), max_tokens: 1 });
  expect(full.usage).toMatchObject({ prompt_tokens: maxModelLen - 1, completion_tokens: 1 });
  const filled = await engine.completions({
    prompt: [100],
    max_tokens: maxModelLen - 1,
    ignore_eos: true,
  });
  expect(filled.usage.total_tokens).toBe(maxModelLen);
});

test('refused requests do not disturb one that runs', async () => {
  const body = { messages: user('What is 467 + 385?'), temperature: 0, max_tokens: 60 };
  const alone = await engine.chatCompletions(body);
  const running = engine.chatCompletions(body);
  const bad = [
    { messages: [] },
    { messages: user('x'), temperature: Number.NaN },
    { messages: user('x'), logit_bias: { '99999': 1 } },
    { messages: user('x'), nonsense: true },
    { messages: user('x'.repeat(100_000)) },
  ];
  for (const body of bad) {
    const error = await engine.chatCompletions(body as never).then(
      () => null,
      (e: unknown) => e,
    );
    expect(EngineError.is(error) && error.status).toBe(400);
  }
  expect((await running).choices).toEqual(alone.choices);
});
