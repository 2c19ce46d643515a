/** How much memory the KV cache gets, and how long a request may therefore be. */
import { EngineError, invalidRequest } from '../errors.js';
import type { ModelSpec } from '../models/spec.js';
import type { LoadOptions } from '../options.js';
import type { WeightDtype } from '../weights/index.js';

const bytesOf = { f32: 4, f16: 2, bf16: 2 } as const;
const mib = 1024 ** 2;
/** Small models have room for many short requests besides four long ones. */
const leastDefaultBytes = 64 * mib;
const defaultSeqs = 4;
/** Of the free memory: the process and others need some too. */
const defaultShare = 0.5;

export interface CachePlan {
  maxModelLen: number;
  kvCacheBytes: number;
  kvCacheDtype: WeightDtype;
}

/** Keys and values of one token in every layer. */
export function kvBytesPerToken(spec: ModelSpec, dtype: WeightDtype): number {
  const elements = spec.layers.reduce(
    (sum, { mixer }) => sum + 2 * mixer.numKvHeads * mixer.headDim,
    0,
  );
  return elements * bytesOf[dtype];
}

/**
 * @param freeBytes of the device, before weights are loaded
 * @throws EngineError where the cache cannot hold what the options ask for.
 */
export function planCache(
  spec: ModelSpec,
  weights: { bytes: number; dtype: WeightDtype },
  freeBytes: number,
  options: LoadOptions,
): CachePlan {
  const dtype = options.kvCacheDtype ?? 'auto';
  const kvCacheDtype = dtype === 'auto' ? weights.dtype : dtype;
  const blockSize = options.blockSize ?? 16;
  const blockBytes = kvBytesPerToken(spec, kvCacheDtype) * blockSize;
  const asked = options.maxModelLen;
  if (asked !== undefined && asked > spec.maxPosition)
    throw invalidRequest(
      `maxModelLen must be at most ${spec.maxPosition}, which the checkpoint is made for, got ${asked}.`,
      'maxModelLen',
    );

  const blocksOf = (tokens: number) => Math.ceil(tokens / blockSize);
  const free = Math.max(0, freeBytes - weights.bytes);
  let bytes = options.kvCacheBytes;
  if (bytes === undefined) {
    const cap = Math.floor(free * (options.kvCacheMemoryShare ?? defaultShare));
    const wish = blocksOf(asked ?? spec.maxPosition) * defaultSeqs * blockBytes;
    bytes =
      options.kvCacheMemoryShare === undefined
        ? Math.min(cap, Math.max(wish, leastDefaultBytes))
        : cap;
  }
  const blocks = Math.floor(bytes / blockBytes);
  const needed = blocksOf(asked ?? 1);
  if (blocks < needed) throw tooSmall(bytes, needed * blockBytes, free, options);
  return {
    maxModelLen: asked ?? Math.min(spec.maxPosition, blocks * blockSize),
    kvCacheBytes: blocks * blockBytes,
    kvCacheDtype,
  };
}

function tooSmall(bytes: number, needed: number, free: number, options: LoadOptions): EngineError {
  const tokens = options.maxModelLen ?? options.blockSize ?? 16;
  const problem =
    `a KV cache of ${megabytes(bytes)} was settled, but ${tokens} tokens need ` +
    `${megabytes(needed)}`;
  if (options.kvCacheBytes !== undefined)
    return invalidRequest(
      `kvCacheBytes: ${problem}. Pass more, or a smaller maxModelLen.`,
      'kvCacheBytes',
    );
  return new EngineError(
    `Not enough memory: ${problem} (${megabytes(free)} are free once weights are loaded). Pass a smaller ` +
      'maxModelLen or a larger kvCacheMemoryShare, or free memory.',
    { status: 503, type: 'service_unavailable', code: 'out_of_memory', param: 'maxModelLen' },
  );
}

function megabytes(bytes: number): string {
  return `${(bytes / mib).toFixed(bytes < 10 * mib ? 2 : 0)} MiB`;
}

/** What random weights of this spec will take. */
export function dummyWeightBytes(spec: ModelSpec, dtype: WeightDtype): number {
  const { hiddenSize, vocabSize } = spec;
  let elements = vocabSize * hiddenSize * (spec.tieEmbeddings ? 1 : 2);
  for (const { mixer, ffn } of spec.layers) {
    const heads = 2 * mixer.numHeads + 2 * mixer.numKvHeads;
    elements += heads * mixer.headDim * hiddenSize;
    elements += 3 * hiddenSize * ffn.intermediateSize * (ffn.kind === 'moe' ? ffn.numExperts : 1);
  }
  return elements * bytesOf[dtype];
}
