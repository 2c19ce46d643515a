/** How much memory the KV cache gets, and how long a request may therefore be. */
import { EngineError, invalidRequest } from '../errors.js';
import type { ModelSpec } from '../models/spec.js';
import type { NativeDeviceInfo, NativeEngine } from '../native.js';
import type { LoadOptions } from '../options.js';
import type { WeightDtype } from '../weights/index.js';

const bytesOf = { f32: 4, f16: 2, bf16: 2 } as const;
const mib = 1024 ** 2;
export const defaultBlockSize = 16;
/** Small models have room for many short requests besides four long ones. */
const leastDefaultBytes = 64 * mib;
const defaultSeqs = 4;
/** Of the free memory: the process and others need some too. */
const defaultShare = 0.5;
/** A GPU is there for this: what is left out are other processes' needs. */
const defaultCudaShare = 0.9;
/** Without being asked: tables of a step are as wide as the longest request. */
const longestCudaDefault = 32_768;

export interface CachePlan {
  maxModelLen: number;
  /** 0: native code takes `memoryShare` of what it finds free, once everything else is in place. */
  kvCacheBytes: number;
  memoryShare: number;
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
 * @param device `freeBytes` before weights are loaded
 * @throws EngineError where the cache cannot hold what the options ask for.
 */
export function planCache(
  spec: ModelSpec,
  weights: { bytes: number; dtype: WeightDtype },
  device: Pick<NativeDeviceInfo, 'kind' | 'freeBytes'>,
  options: LoadOptions,
): CachePlan {
  const onCuda = device.kind === 'cuda';
  const blockSize = options.blockSize ?? defaultBlockSize;
  const kvCacheDtype = cacheDtype(weights.dtype, onCuda, options);
  const blockBytes = kvBytesPerToken(spec, kvCacheDtype) * blockSize;
  const asked = options.maxModelLen;
  if (asked !== undefined && asked > spec.maxPosition)
    throw invalidRequest(
      `maxModelLen must be at most ${spec.maxPosition}, which the checkpoint is made for, got ${asked}.`,
      'maxModelLen',
    );

  const blocksOf = (tokens: number) => Math.ceil(tokens / blockSize);
  const free = Math.max(0, device.freeBytes - weights.bytes);
  const memoryShare = options.kvCacheMemoryShare ?? (onCuda ? defaultCudaShare : defaultShare);
  const cap = Math.floor(free * memoryShare);
  const longest = onCuda ? Math.min(spec.maxPosition, longestCudaDefault) : spec.maxPosition;
  let bytes = options.kvCacheBytes;
  if (bytes === undefined) {
    const wish = blocksOf(asked ?? longest) * defaultSeqs * blockBytes;
    const takesShare = onCuda || options.kvCacheMemoryShare !== undefined;
    bytes = takesShare ? cap : Math.min(cap, Math.max(wish, leastDefaultBytes));
  }
  const blocks = Math.floor(bytes / blockBytes);
  const needed = blocksOf(asked ?? 1);
  if (blocks < needed) throw tooSmall(bytes, needed * blockBytes, free, options);
  const settledLater = onCuda && options.kvCacheBytes === undefined;
  // Working memory comes off the share too, and native code alone knows how much that is: a length that
  // nobody asked for must fit for certain.
  const certain = settledLater ? Math.ceil(blocks / 2) : blocks;
  return {
    maxModelLen: asked ?? Math.min(longest, certain * blockSize),
    kvCacheBytes: settledLater ? 0 : blocks * blockBytes,
    memoryShare,
    kvCacheDtype,
  };
}

function cacheDtype(weights: WeightDtype, onCuda: boolean, options: LoadOptions): WeightDtype {
  const { kvCacheDtype = 'auto', computeDtype = 'auto' } = options;
  if (kvCacheDtype !== 'auto') return kvCacheDtype;
  return onCuda && computeDtype !== 'auto' ? computeDtype : weights;
}

/** What a plan has come to, now that the engine is there. */
export function settledCache(
  native: NativeEngine,
  plan: CachePlan,
  blockSize: number,
): Pick<CachePlan, 'kvCacheBytes' | 'maxModelLen'> {
  if (plan.kvCacheBytes > 0) return plan;
  const { kvCacheBytes, blocksTotal } = native.stats();
  return { kvCacheBytes, maxModelLen: Math.min(plan.maxModelLen, blocksTotal * blockSize) };
}

function tooSmall(bytes: number, needed: number, free: number, options: LoadOptions): EngineError {
  const tokens = options.maxModelLen ?? options.blockSize ?? defaultBlockSize;
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
