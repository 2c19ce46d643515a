/**
 * Loading: a checkpoint of random bf16 weights from the file cache to the device, and the first token. The last line
 * of a round is what a fresh process takes in all, from its start to the first token.
 *
 *   node bench/run.mjs load --device cuda [--model qwen3-0.6b] [--rounds <n>]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Engine } from '../lib/index.js';
import { median, readFlags, report, rounded } from './lib/bench.js';
import { writeCheckpoint } from './lib/checkpoint.js';

/** The folder that a child process of this bench loads. */
const childFolder = process.env.HOTPATH_BENCH_LOAD;
if (!process.argv.some((argument) => argument.startsWith('--model')))
  process.argv.push('--model', 'qwen3-0.6b');
const flags = readFlags();

async function measure(folder: string): Promise<{ load: number; first: number }> {
  const started = performance.now();
  const engine = await Engine.load(folder, {
    device: flags.device,
    ...(flags.info.kind === 'cpu' && { numThreads: flags.threads }),
  });
  const loaded = performance.now();
  await engine.completions({ prompt: [1, 2, 3], max_tokens: 1, ignore_eos: true, temperature: 0 });
  const first = performance.now();
  await engine.close();
  return { load: (loaded - started) / 1000, first: (first - started) / 1000 };
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'hotpath-load-'));
  try {
    const bytes = await writeCheckpoint(folder, flags.folder);
    const rounds = [];
    const processes = [];
    for (let i = 0; i < flags.rounds; i++) {
      rounds.push(await measure(folder));
      const started = performance.now();
      const { status, stderr } = spawnSync(
        process.execPath,
        [fileURLToPath(new URL('./run.mjs', import.meta.url)), ...process.argv.slice(2)],
        { env: { ...process.env, HOTPATH_BENCH_LOAD: folder }, encoding: 'utf8' },
      );
      if (status !== 0) throw new Error(`the process that loads ended with ${status}: ${stderr}`);
      processes.push((performance.now() - started) / 1000);
    }
    const load = median(rounds.map((round) => round.load));
    report('load', flags, {
      weight_bytes: bytes,
      load_s: rounded(load, 3),
      load_gb_per_s: rounded((bytes * 1e-9) / load, 2),
      load_to_first_token_s: rounded(median(rounds.map((round) => round.first)), 3),
      first_round_s: rounded(rounds[0]!.first, 3),
      // With the TypeScript of this bench being compiled as it is read.
      process_to_end_s: rounded(median(processes), 3),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (childFolder === undefined) await main();
else await measure(childFolder);
