/** What the benches share: flags, dummy weights, statistics, and the line of results. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chooseDevice } from '../../lib/engine/device.js';
import { type DeviceInfo, devices, type LoadOptions } from '../../lib/index.js';

export interface Flags {
  model: string;
  /** The folder of `model`. */
  folder: string;
  /** As Engine.load takes it. */
  device: NonNullable<LoadOptions['device']>;
  info: DeviceInfo;
  /** Sequences at a time, one measurement each. */
  batch: number[];
  /** Tokens of a prompt, and generated. */
  prompt: number;
  generate: number;
  threads: number;
  rounds: number;
  dtype: 'bf16' | 'f16' | 'f32';
  /** What the device reads at most, in TB/s; null: it is probed. */
  peak: number | null;
  save: boolean;
}

/** What is measured where nothing is said: a CPU takes minutes for what a GPU does in a second. */
const defaults = {
  cpu: { batch: '1', prompt: '16', generate: '65', rounds: '5' },
  cuda: { batch: '1,8,32,128,256', prompt: '512', generate: '128', rounds: '3' },
};

/**
 * --model <name in bench/configs, or a folder> --device <auto|cpu|cuda|cuda:n> --batch <n,n,...> --prompt <tokens>
 * --generate <tokens> --threads <n> --rounds <n> --dtype <bf16|f16|f32> --peak <TB/s>
 * --save (a line in bench/results)
 */
export function readFlags(): Flags {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: {
      model: { type: 'string', default: 'qwen2.5-0.5b' },
      device: { type: 'string', default: process.env.DEVICE ?? 'auto' },
      batch: { type: 'string' },
      prompt: { type: 'string' },
      generate: { type: 'string' },
      threads: { type: 'string', default: '2' },
      rounds: { type: 'string' },
      dtype: { type: 'string', default: 'bf16' },
      peak: { type: 'string' },
      save: { type: 'boolean', default: false },
    },
  });
  const info = chooseDevice(devices(), values.device);
  const { batch, prompt, generate, rounds } = { ...defaults[info.kind], ...values };
  const config = fileURLToPath(new URL(`../configs/${values.model}`, import.meta.url));
  return {
    model: values.model,
    folder: existsSync(config) ? config : resolve(values.model),
    device: values.device as Flags['device'],
    info,
    batch: batch.split(',').map(Number),
    prompt: Number(prompt),
    generate: Number(generate),
    threads: Number(values.threads),
    rounds: Number(rounds),
    dtype: values.dtype as Flags['dtype'],
    peak: values.peak === undefined ? null : Number(values.peak),
    save: values.save,
  };
}

/** Random weights on the device of the flags. */
export function dummyOptions(flags: Flags): LoadOptions {
  return {
    loadFormat: 'dummy',
    dtype: flags.dtype,
    device: flags.device,
    ...(flags.info.kind === 'cpu' && { numThreads: flags.threads }),
  };
}

/** The same ids for the same seed; every one of the vocabulary is as likely as another. */
export function randomIds(seed: number, length: number, vocabSize: number): number[] {
  let state = seed >>> 0;
  return Array.from({ length }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) % vocabSize;
  });
}

/** FNV-1a over ids: equal outputs have equal hashes, from run to run and machine to machine of one kind. */
export class Fnv {
  #hash = 0x811c9dc5;

  add(ids: Iterable<number>): this {
    for (const id of ids)
      for (let shift = 0; shift < 32; shift += 8)
        this.#hash = Math.imul(this.#hash ^ ((id >>> shift) & 0xff), 0x01000193);
    return this;
  }

  toString(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function rounded(value: number, digits = 2): number {
  return Number(value.toFixed(digits));
}

function resultsFile(name: string, device: string): string {
  const slug = device.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  const folder = fileURLToPath(new URL('../results', import.meta.url));
  return join(folder, name.replace('*', slug.replaceAll(/^-|-$/g, '')));
}

/** Prints the line, and with --save appends it to bench/results/<bench>-<device>.jsonl. */
export function report(bench: string, flags: Flags, figures: Record<string, unknown>): void {
  const { info } = flags;
  const packageJson = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string };
  const line = JSON.stringify({
    bench,
    date: new Date().toISOString().slice(0, 10),
    version,
    device: info.name,
    detail: info.detail,
    node: process.version,
    model: flags.model,
    dtype: flags.dtype,
    ...(info.kind === 'cpu' && { threads: flags.threads }),
    rounds: flags.rounds,
    ...figures,
  });
  process.stdout.write(`${line}\n`);
  if (flags.save) appendFileSync(resultsFile(`${bench}-*.jsonl`, info.name), `${line}\n`);
}
