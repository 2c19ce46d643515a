/** Weights that are not a number end the requests that meet them, with an error; others go on. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Engine } from '../../lib/index.js';
import { test } from '../device.js';
import { pocket, small } from './pocket.js';

const damagedToken = 300;

/** The bundled model with NaN in one token's embedding. */
function damagedFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'hotpath-damaged-'));
  for (const name of ['config.json', 'generation_config.json', 'tokenizer.json'])
    cpSync(join(pocket, name), join(folder, name));
  const bytes = readFileSync(join(pocket, 'model.safetensors'));
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { shape: number[]; data_offsets: number[] }
  >;
  const { shape, data_offsets: offsets } = header['model.embed_tokens.weight']!;
  const row = 8 + headerBytes + offsets[0]! + damagedToken * shape[1]! * 2;
  for (let i = 0; i < shape[1]!; i++) bytes.writeUInt16LE(0x7fc0, row + 2 * i);
  writeFileSync(join(folder, 'model.safetensors'), bytes);
  return folder;
}

test('NaN in the weights', async () => {
  const folder = damagedFolder();
  try {
    await using engine = await Engine.load(folder, small);
    const ask = (prompt: number[], logprobs?: number) =>
      engine.completions({ prompt, max_tokens: 8, temperature: 0, ignore_eos: true, logprobs });
    const [good, bad, scored] = await Promise.allSettled([
      ask([20, 21, 22]),
      ask([20, damagedToken, 22]),
      ask([20, damagedToken], 3),
    ]);
    expect(good).toMatchObject({ status: 'fulfilled' });
    for (const result of [bad, scored])
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { name: 'EngineError', status: 500, code: 'internal_error' },
      });
    expect(String((bad as PromiseRejectedResult).reason)).toContain('not finite');
    // What the failed ones computed is not reused: the same prefix fails again, others still work.
    await expect(ask([20, damagedToken, 22])).rejects.toMatchObject({ code: 'internal_error' });
    await expect(ask([20, 21, 22])).resolves.toMatchObject({
      choices: [{ finish_reason: 'length' }],
    });
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, failure: null });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
