/** Random weights from config.json alone: prompts are token ids, answers too. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { Engine } from '../../lib/index.js';
import { test } from '../device.js';
import { settled, small, user } from './pocket.js';

const config = {
  architectures: ['Qwen2ForCausalLM'],
  model_type: 'qwen2',
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 1000,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  eos_token_id: 7,
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hotpath-dummy-'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each(['bf16', 'f16', 'f32'] as const)('%s: the same ids from every load', async (dtype) => {
  const body = { prompt: [1, 2, 3], max_tokens: 20, ignore_eos: true, return_token_ids: true };
  const runs: number[][] = [];
  for (const model of [folder, join(folder, 'config.json')]) {
    await using engine = await Engine.load(model, { ...small, loadFormat: 'dummy', dtype });
    const { choices, usage } = await engine.completions({ ...body, temperature: 0 });
    expect(choices[0]!.text).toBe('');
    expect(usage.completion_tokens).toBe(20);
    runs.push(choices[0]!.token_ids!);
    await expect(engine.completions({ prompt: 'text' })).rejects.toMatchObject({ param: 'prompt' });
    await expect(engine.chatCompletions({ messages: user('x') })).rejects.toMatchObject({
      param: 'messages',
      code: 'unsupported_value',
    });
    const { weightBytes } = await settled(engine);
    const elements = 1000 * 128 + 3 * (128 * 128 * 2 + 64 * 128 * 2 + 3 * 128 * 256);
    expect(weightBytes).toBeGreaterThanOrEqual(elements * (dtype === 'f32' ? 4 : 2));
  }
  expect(runs[1]).toEqual(runs[0]);
});

test('without loadFormat the weights are missed', async () => {
  await expect(Engine.load(folder, small)).rejects.toMatchObject({
    name: 'EngineError',
  });
});
