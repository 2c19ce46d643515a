/**
 * Every family against a reference: prompt logprobs within 2e-3, greedy tokens and expert choices equal where
 * the reference itself is not in doubt. expected/ says who computed them (see record.py).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SUPPORTED_FAMILIES } from '../../lib/models/index.js';
import { type Checkpoint, openCheckpoint } from '../../lib/weights/index.js';
import { type Generated, NativeModel } from './native.js';

const TOLERANCE = 2e-3;
/** Between router probabilities: far above rounding, far below what a wrong model does. */
const ROUTER_MARGIN = 1e-4;

interface Prompt {
  ids: number[];
  own: number[];
  top_ids: number[][];
  top: number[][];
  greedy: number[];
  margins: number[];
  greedy_logprobs: number[];
  experts: (number[] | null)[][];
  expert_margins: (number | null)[][];
}

interface Golden {
  source: string;
  case: string;
  prompts: Prompt[];
}

const here = fileURLToPath(new URL('.', import.meta.url));
const cases = readdirSync(`${here}checkpoints`);

function golden(name: string): Golden {
  return JSON.parse(readFileSync(`${here}expected/${name}.json`, 'utf8'));
}

/** Tokens that must be equal: up to the first at which the reference's two best are too close. */
function certain(prompt: Prompt): number {
  const doubt = prompt.margins.findIndex((margin) => margin < 2 * TOLERANCE);
  return doubt < 0 ? prompt.greedy.length : doubt;
}

function checkPromptLogprobs(got: Generated, prompt: Prompt): void {
  expect(got.prompt.own).toHaveLength(prompt.own.length);
  let worst = 0;
  for (const [i, own] of prompt.own.entries()) {
    worst = Math.max(worst, Math.abs(got.prompt.own[i]! - own));
    const expected = new Map(prompt.top_ids[i]!.map((id, n) => [id, prompt.top[i]![n]!]));
    const last = prompt.top[i]!.at(-1)!;
    for (const [n, id] of got.prompt.topIds[i]!.entries()) {
      // A token that only one of the two has in its list is as likely as the list's last, or the list is wrong.
      const other = expected.get(id) ?? last;
      worst = Math.max(worst, Math.abs(got.prompt.top[i]![n]! - other));
    }
    expect(got.prompt.topIds[i]).toHaveLength(expected.size);
  }
  expect(worst).toBeLessThan(TOLERANCE);
}

function checkGreedy(got: Generated, prompt: Prompt): void {
  const count = certain(prompt);
  expect(got.tokens).toHaveLength(prompt.greedy.length);
  expect(got.tokens.slice(0, count)).toEqual(prompt.greedy.slice(0, count));
  for (let i = 0; i < count; i++)
    expect(Math.abs(got.logprobs[i]! - prompt.greedy_logprobs[i]!)).toBeLessThan(TOLERANCE);
}

/** Sets of experts at all positions whose input is certain. */
function checkExperts(got: Generated, prompt: Prompt, { spec }: Checkpoint): void {
  if (!spec.layers.some((layer) => layer.ffn.kind === 'moe')) return;
  expect(got.experts).toHaveLength(prompt.experts.length);
  const positions = prompt.ids.length + Math.min(certain(prompt), prompt.greedy.length - 1);
  let compared = 0;
  for (let position = 0; position < positions; position++)
    for (const [layer, chosen] of prompt.experts[position]!.entries()) {
      if (chosen === null || prompt.expert_margins[position]![layer]! < ROUTER_MARGIN) continue;
      const mine = got.experts[position]![layer]!.slice(0, chosen.length);
      expect(new Set(mine), `position ${position}, layer ${layer}`).toEqual(new Set(chosen));
      compared++;
    }
  expect(compared).toBeGreaterThan(positions / 2);
}

test('every family has a golden, and the goldens can tell', () => {
  const families = new Set<string>();
  for (const name of cases) {
    const config = JSON.parse(readFileSync(`${here}checkpoints/${name}/config.json`, 'utf8'));
    families.add(config.model_type);
    const { source, prompts } = golden(name);
    expect(source).toMatch(/^(transformers \d|numpy float64)/);
    for (const prompt of prompts) {
      expect(certain(prompt), name).toBe(prompt.greedy.length);
      // Were the logits nearly flat, 2e-3 would prove nothing.
      for (const row of prompt.top) expect(row[0]! - row.at(-1)!).toBeGreaterThan(0.5);
    }
  }
  expect([...families].sort()).toEqual([...SUPPORTED_FAMILIES].sort());
});

describe.each(cases)('%s', (name) => {
  const { prompts } = golden(name);
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    checkpoint = await openCheckpoint(`${here}checkpoints/${name}`, { loadFormat: 'auto' });
  });

  // 512: each prompt in one step. 24 and 7: chunks that end inside blocks, windows and other prompts.
  describe.each([512, 24, 7])('with %i tokens per step', (maxBatchTokens) => {
    let model: NativeModel;
    beforeAll(async () => {
      model = await NativeModel.load(checkpoint, maxBatchTokens);
    });
    afterAll(() => model.close());

    test('alone, then from the prefix cache, then all at once', async () => {
      for (const prompt of prompts) {
        const scored = await model.run(prompt.ids, { numPromptLogprobs: 20 });
        checkPromptLogprobs(scored, prompt);
        checkGreedy(scored, prompt);
        checkExperts(scored, prompt, checkpoint);

        const reused = await model.run(prompt.ids, {});
        // Whole blocks of the prompt, but for its last token, whose logits are needed.
        const whole = Math.floor((prompt.ids.length - 1) / 16) * 16;
        expect(reused.cachedTokens).toBe(whole);
        checkGreedy(reused, prompt);
        checkExperts(reused, prompt, checkpoint);
      }
      // Mixed prefill and decode; salts keep them from sharing blocks.
      const salted = [1n, 2n, 3n].flatMap((cacheSalt) =>
        prompts.map(async (prompt) => {
          const got = await model.run(prompt.ids, { cacheSalt, numPromptLogprobs: 20 });
          expect(got.cachedTokens).toBe(0);
          checkPromptLogprobs(got, prompt);
          checkGreedy(got, prompt);
          checkExperts(got, prompt, checkpoint);
        }),
      );
      await Promise.all(salted);
    });
  });
});
