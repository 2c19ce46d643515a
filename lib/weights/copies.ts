/** Tensors that a checkpoint stores twice, such as lm_head beside a tied embedding. */
import { promises as fs } from 'node:fs';
import { loadError } from '../errors.js';
import { show } from '../models/values.js';
import type { StoredTensor } from './safetensors.js';

const SAMPLES = 64;
const SAMPLE_BYTES = 4096;

/**
 * Compares copies with their originals in samples spread over the whole tensor. Where they differ, the
 * config's claim that they are one is wrong, and loaders disagree on which one counts.
 */
export async function checkCopies(
  copies: ReadonlyMap<string, string>,
  tensors: ReadonlyMap<string, StoredTensor>,
): Promise<void> {
  for (const [name, originalName] of copies) {
    const copy = tensors.get(name)!;
    const original = tensors.get(originalName)!;
    if (copy.dtype !== original.dtype || !(await sameSamples(copy, original)))
      throw loadError(
        `${copy.file}: tensor ${show(name)}: expected the values of ${show(originalName)} ("tie_word_embeddings" is true), received others. If the model has a head of its own, set "tie_word_embeddings": false in config.json.`,
        'config_unsupported',
      );
  }
}

async function sameSamples(a: StoredTensor, b: StoredTensor): Promise<boolean> {
  const stride = Math.max(SAMPLE_BYTES, Math.floor(a.bytes / SAMPLES));
  const files = [await fs.open(a.file, 'r'), await fs.open(b.file, 'r')] as const;
  try {
    for (let at = 0; at < a.bytes; at += stride) {
      const length = Math.min(SAMPLE_BYTES, a.bytes - at);
      const [x, y] = await Promise.all([
        files[0].read(Buffer.alloc(length), 0, length, a.offset + at),
        files[1].read(Buffer.alloc(length), 0, length, b.offset + at),
      ]);
      if (x.bytesRead !== length || !x.buffer.equals(y.buffer)) return false;
    }
    return true;
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}
