/** What the benches share: flags, a dummy engine, rounds beside the probes, and the line of results. */
import { appendFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { devices, Engine } from '../../lib/index.js';
import { measurePeaks, type Peaks } from './probe.js';

export interface Flags {
  model: string;
  threads: number;
  rounds: number;
  dtype: 'bf16' | 'f16' | 'f32';
  save: boolean;
}

/** --model <folder> --threads <n> --rounds <n> --dtype <bf16|f16|f32> --save (a line in bench/results) */
export function readFlags(): Flags {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: {
      model: { type: 'string', default: 'qwen2.5-0.5b' },
      threads: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '5' },
      dtype: { type: 'string', default: 'bf16' },
      save: { type: 'boolean', default: false },
    },
  });
  const { threads, rounds, dtype, ...rest } = values;
  return {
    ...rest,
    threads: Number(threads),
    rounds: Number(rounds),
    dtype: dtype as Flags['dtype'],
  };
}

/** Random weights in the shape of bench/configs/<model>. */
export function loadDummy(flags: Flags): Promise<Engine> {
  const folder = fileURLToPath(new URL(`../configs/${flags.model}`, import.meta.url));
  return Engine.load(folder, {
    loadFormat: 'dummy',
    dtype: flags.dtype,
    device: 'cpu',
    numThreads: flags.threads,
    maxModelLen: 2048,
    prefixCaching: false,
  });
}

/** Ids of no meaning, the same for the same length. */
export function promptIds(length: number): number[] {
  return Array.from({ length }, (_, i) => (i * 7919 + 13) % 50_000);
}

export interface Round {
  peaks: Peaks;
  value: number;
}

/** A B A B ...: probe, measure, probe, measure; so that a slow minute of the machine slows both. */
export async function rounds(flags: Flags, measure: () => Promise<number>): Promise<Round[]> {
  await measure();
  const results: Round[] = [];
  for (let i = 0; i < flags.rounds; i++) {
    const peaks = measurePeaks(flags.threads);
    results.push({ peaks, value: await measure() });
  }
  return results;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function rounded(value: number, digits = 2): number {
  return Number(value.toFixed(digits));
}

/** Prints the line, and with --save appends it to bench/results/<bench>-<device>.jsonl. */
export function report(bench: string, flags: Flags, figures: Record<string, unknown>): void {
  const cpu = devices().find((device) => device.kind === 'cpu')!;
  const packageJson = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string };
  const line = JSON.stringify({
    bench,
    date: new Date().toISOString().slice(0, 10),
    version,
    device: cpu.name,
    detail: cpu.detail,
    node: process.version,
    model: flags.model,
    dtype: flags.dtype,
    threads: flags.threads,
    rounds: flags.rounds,
    ...figures,
  });
  process.stdout.write(`${line}\n`);
  if (!flags.save) return;
  const slug = cpu.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  const file = new URL(
    `../results/${bench}-${slug.replaceAll(/^-|-$/g, '')}.jsonl`,
    import.meta.url,
  );
  appendFileSync(file, `${line}\n`);
}
