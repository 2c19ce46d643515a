/**
 * THE boundary: every type that crosses between TypeScript and the addon. JS validates and gives exact
 * messages; native code guards state and re-checks dtypes, shapes and sizes.
 */
import type { ModelSpec, TensorRef } from './models/spec.js';

export interface NativeBinding {
  /** Equals package.json's version; `binding.ts` refuses another. */
  readonly version: string;
  /** Every device this binary could use, with the reason where it cannot. */
  devices(): NativeDeviceInfo[];
  /**
   * Loads weights on a libuv thread and starts the engine thread. Rejects with an Error that has
   * `code` (see csrc/core/error.h). `onDelivery` is called on the JS thread at most once per event-loop turn.
   * `onProgress` receives bytes while weights load.
   */
  createEngine(
    spec: ModelSpec,
    /** Empty for dummy weights. */
    tensors: TensorRef[],
    options: NativeEngineOptions,
    onDelivery: (delivery: NativeDelivery) => void,
    onProgress?: (bytesDone: number, bytesTotal: number) => void,
  ): Promise<NativeEngine>;
}

export interface NativeDeviceInfo {
  kind: 'cpu' | 'cuda';
  index: number;
  name: string;
  totalBytes: number;
  freeBytes: number;
  /** CPU: instruction set in use and threads; CUDA: compute capability. */
  detail: string;
  /** Why it cannot be used; null when it can. */
  unavailable: string | null;
}

export interface NativeEngineOptions {
  /** "cpu" or "cuda:<index>". */
  device: string;
  /** CPU threads; 0 = what the process may use. */
  numThreads: number;
  maxRunningSeqs: number;
  maxBatchTokens: number;
  /** Longest prompt + generated tokens of one request. */
  maxModelLen: number;
  blockSize: number;
  /**
   * 0 (CUDA only): `memoryShare` of what is still free once weights, scratch and a warm-up step are in place;
   * `stats().kvCacheBytes` then tells. Rejects with out_of_memory where not one sequence of maxModelLen fits.
   */
  kvCacheBytes: number;
  /** (0, 1]; read where kvCacheBytes is 0. */
  memoryShare: number;
  kvCacheDtype: 'f32' | 'f16' | 'bf16';
  /** CUDA: dtype of activations; 'auto' is the weights'. The CPU computes in f32 whatever is said. */
  activationDtype: 'auto' | 'f32' | 'f16' | 'bf16';
  prefixCaching: boolean;
  captureRoutedExperts: boolean;
  /** What a grammar leaves no choice about is not drawn; not where logprobs are asked for. */
  jumpForward: boolean;
  /** For grammars; null: compileGrammar is refused. */
  vocabulary: NativeVocabulary | null;
  /** null: read `tensors`. Otherwise random weights of that dtype, the same for the same seed. */
  dummyWeights: { dtype: 'bf16' | 'f16' | 'f32'; seed: number } | null;
}

/** The tokens of a model as bytes; as many as it has logits. */
export interface NativeVocabulary {
  /** Of all tokens, one after another: token i has [offsets[i], offsets[i + 1]). */
  bytes: Uint8Array;
  offsets: Uint32Array;
  /** Not 0: matched by `token(ID)` in a grammar, never by bytes. */
  special: Uint8Array;
  /** Tokens that may follow where the grammar's text may end. */
  stopIds: Int32Array;
}

/** A compiled grammar, for any number of requests to the engine that compiled it. */
export interface NativeGrammar {
  /** Runs a text through it, without tokens. `failedAt`: byte offset in the text's UTF-8. */
  check(text: string): {
    accepted: boolean;
    complete: boolean;
    failedAt: number;
    expected: string[];
  };
}

export interface NativeEngine {
  /**
   * Puts a request in the inbox and returns at once. `id`: a positive integer below 2^31, not in use.
   * Throws with code engine_closed, engine_failed or invalid_request.
   */
  submit(id: number, promptIds: Int32Array, params: NativeSamplingParams): void;
  /**
   * Compiles on a libuv thread, or finds it among those compiled before. The language: csrc/grammar/grammar.h. Rejects
   * with code invalid_request and `position`, a byte offset in the source.
   */
  compileGrammar(source: string): Promise<NativeGrammar>;
  /** Idempotent; unknown ids are ignored. A record with finish `abort` follows if the request was live. */
  abort(id: number): void;
  stats(): NativeStats;
  /** Ends requests with finish `abort` (delivered before the promise resolves), joins the thread. Idempotent. */
  close(): Promise<void>;
}

/** Every field is required: defaults are settled in TypeScript. Meaning: csrc/sample/params.h. */
export interface NativeSamplingParams {
  temperature: number;
  topP: number;
  minP: number;
  /** -1: off. */
  topK: number;
  frequencyPenalty: number;
  presencePenalty: number;
  repetitionPenalty: number;
  /** Parallel arrays; null without bias. */
  logitBiasTokens: Int32Array | null;
  logitBiasValues: Float32Array | null;
  /** 64 bits. */
  seed: bigint;
  maxTokens: number;
  minTokens: number;
  ignoreEos: boolean;
  /** EOS ids included. */
  stopTokenIds: Int32Array;
  /** -1: none; 0: the sampled token's logprob; n: and the n likeliest. */
  numLogprobs: number;
  numPromptLogprobs: number;
  returnRoutedExperts: boolean;
  /** Larger first. */
  priority: number;
  cacheSalt: bigint;
  /** Nonzero: members with equal prompts wait for the first one's prefill and then share its blocks. */
  shareGroup: number;
  /** How many of the prompt's last tokens count as generated ones for the penalties. */
  countedTokens: number;
  /** What may be generated; null: anything. Where its text is complete and nothing can follow, the request ends: stop. */
  grammar: NativeGrammar | null;
  /** The grammar governs what is generated behind this text; empty: everything. */
  grammarStart: string;
}

/** `finish` of a record. */
export type FinishCode =
  | 0 /* goes on */
  | 1 /* stop */
  | 2 /* length */
  | 3 /* abort */
  | 4 /* error */;

/**
 * Everything since the last delivery, flat. `ints` is a sequence of records; a record is a header of 8
 * ints followed by its payload:
 *
 * | index | meaning |
 * |---|---|
 * | 0 | request id |
 * | 1 | flags: 1 = carries logprobs, 2 = the tokens are prompt tokens (prompt logprobs) |
 * | 2 | FinishCode; at most one record of a request has a nonzero one, its last |
 * | 3 | numTokens |
 * | 4 | topN: top logprobs per token |
 * | 5 | matched stop token id when finish is 1, else -1 (the id is also the last of tokens) |
 * | 6 | prompt tokens that came from the prefix cache |
 * | 7 | numExperts: ints of routed experts |
 *
 * payload: tokens[numTokens], then with flag 1 topIds[numTokens * topN], then experts[numExperts] (rows of
 * positions 0 .. prompt + generated - 2, each numLayers * topK ids; in the last record only).
 * `floats`, consumed in the same order, with flag 1 only: logprobs[numTokens], topLogprobs[numTokens * topN].
 * A prompt-logprobs record's tokens are positions 1 .. in order (position 0 has no logprob).
 */
export interface NativeDelivery {
  ints: Int32Array;
  floats: Float32Array | null;
  /** For records with finish 4. */
  failures: { id: number; code: string; message: string }[] | null;
}

export interface NativeStats {
  running: number;
  waiting: number;
  blocksTotal: number;
  blocksFree: number;
  /** In the prefix tree and not in use: evictable. */
  blocksCached: number;
  steps: number;
  promptTokens: number;
  cachedPromptTokens: number;
  generatedTokens: number;
  requestsFinished: number;
  requestsAborted: number;
  preemptions: number;
  weightBytes: number;
  kvCacheBytes: number;
  stepSeconds: number;
  /** null, or why the engine no longer takes requests. */
  failure: string | null;
}
