/** The bundled model through the public API. Nothing here depends on how well it answers. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { Engine, type EngineStats, type LoadOptions } from '../../lib/index.js';
import { device } from '../device.js';

export const pocket = fileURLToPath(new URL('../../models/pocket', import.meta.url));

/** config.json of the bundled model. */
export const pocketConfig = JSON.parse(
  readFileSync(new URL('../../models/pocket/config.json', import.meta.url), 'utf8'),
) as Record<string, number>;

/** Where the tests run. Several engines share a GPU: none takes the 90 % of its memory that it would by default. */
export const small: LoadOptions = { device, numThreads: 2, kvCacheBytes: 64 * 2 ** 20 };

export function loadPocket(options: LoadOptions = {}): Promise<Engine> {
  return Engine.load(pocket, { ...small, ...options });
}

export const user = (content: string) => [{ role: 'user' as const, content }];

/** Prompts of different lengths, kinds and beginnings. */
export const prompts = [
  'Hello!',
  "How many r's are in 'strawberry'?",
  'What is 467 + 385?',
  'List 3 countries and their capitals.',
  'Extract the person as JSON: Ada lives in Paris and is 31.',
  'Once upon a time there was a very small engine that lived in a very big process. '.repeat(4),
  'x',
  'What is the capital of France? '.repeat(9),
];

/** Waits until nothing is in flight, then checks the books of the block pool. */
export async function settled(engine: Engine): Promise<EngineStats> {
  for (let stats = engine.stats(); ; stats = engine.stats()) {
    if (stats.running === 0 && stats.waiting === 0) {
      expect(stats.blocksFree + stats.blocksCached).toBe(stats.blocksTotal);
      return stats;
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}
