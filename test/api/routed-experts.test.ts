/** return_routed_experts: which experts every position went to, in the form of SGLang. */
import { afterAll, beforeAll, expect } from 'vitest';
import type { Engine } from '../../lib/index.js';
import { test } from '../device.js';
import { collect, loadPocket, pocketConfig, settled } from './pocket.js';

const layers = pocketConfig.num_hidden_layers!;
const experts = pocketConfig.num_experts!;
const topK = pocketConfig.num_experts_per_tok!;

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket({ captureRoutedExperts: true });
});
afterAll(async () => {
  await settled(engine);
  await engine.close();
});

/** [rows][layers * topK] */
function decode(base64: string): number[][] {
  const bytes = Buffer.from(base64, 'base64');
  const ids = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(4 * i));
  const width = layers * topK;
  expect(ids.length % width).toBe(0);
  return Array.from({ length: ids.length / width }, (_, r) =>
    ids.slice(r * width, (r + 1) * width),
  );
}

const body = {
  prompt: 'Once upon a time there was a fox. '.repeat(4),
  max_tokens: 12,
  ignore_eos: true,
  temperature: 0,
};
const asking = { ...body, return_routed_experts: true };

test('a row for every position but the last, each with different experts in range', async () => {
  const { usage, sglext, choices } = await engine.completions(asking);
  const rows = decode(sglext!.routed_experts);
  expect(rows).toHaveLength(usage.prompt_tokens + usage.completion_tokens - 1);
  expect(choices[0]!.sgl_ext).toEqual(sglext);
  for (const row of rows) {
    for (let layer = 0; layer < layers; layer++) {
      const chosen = row.slice(layer * topK, (layer + 1) * topK);
      expect(new Set(chosen).size).toBe(topK);
      for (const id of chosen) expect(id >= 0 && id < experts).toBe(true);
    }
  }
  // Positions that come from the prefix cache have them too.
  const again = await engine.completions(asking);
  expect(again.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(0);
  expect(decode(again.sglext!.routed_experts)).toEqual(rows);
});

test('from a position on, streamed, beside neighbours that do not ask', async () => {
  const whole = decode((await engine.completions(asking)).sglext!.routed_experts);
  const [later, plain, chunks] = await Promise.all([
    engine.completions({ ...asking, routed_experts_start_len: 5 }),
    engine.completions(body),
    collect(engine.completions({ ...asking, stream: true })),
  ]);
  expect(decode(later.sglext!.routed_experts)).toEqual(whole.slice(5));
  expect('sglext' in plain).toBe(false);
  const carrying = chunks.filter((chunk) => chunk.sglext);
  expect(carrying).toHaveLength(1);
  expect(carrying[0]!.choices).toEqual([]);
  expect(decode(carrying[0]!.sglext!.routed_experts)).toEqual(whole);
});

test('per sample: every choice has its own', async () => {
  const { choices, sglext } = await engine.completions({
    ...asking,
    temperature: 50,
    n: 3,
    seed: 1,
  });
  const own = choices.map((choice) => choice.sgl_ext!.routed_experts);
  expect(new Set(own).size).toBe(3);
  expect(sglext!.routed_experts).toBe(own[0]);
});

test('an engine that does not keep them says so', async () => {
  await using other = await loadPocket();
  await expect(other.completions(asking)).rejects.toMatchObject({
    status: 400,
    param: 'return_routed_experts',
  });
});
