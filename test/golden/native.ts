/** A model at the native boundary, without tokenizer or requests' defaults around it. */
import { loadBinding } from '../../lib/binding.js';
import type { EngineError } from '../../lib/errors.js';
import { Mailbox, type TokenEvent } from '../../lib/mailbox.js';
import type { NativeEngine, NativeSamplingParams } from '../../lib/native.js';
import type { Checkpoint } from '../../lib/weights/index.js';
import { device } from '../device.js';

export interface Generated {
  tokens: number[];
  logprobs: number[];
  prompt: { own: number[]; topIds: number[][]; top: number[][] };
  /** [position][layer]: chosen experts, as delivered. */
  experts: number[][][];
  cachedTokens: number;
}

/** Greedy, to the full length, deterministic; everything else off. */
const GREEDY: Omit<NativeSamplingParams, 'maxTokens'> = {
  temperature: 0,
  topP: 1,
  minP: 0,
  topK: -1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  repetitionPenalty: 1,
  logitBiasTokens: null,
  logitBiasValues: null,
  seed: 0n,
  minTokens: 0,
  ignoreEos: true,
  stopTokenIds: Int32Array.of(),
  numLogprobs: 0,
  numPromptLogprobs: -1,
  returnRoutedExperts: false,
  priority: 0,
  cacheSalt: 0n,
  shareGroup: 0,
  countedTokens: 0,
  grammar: null,
  grammarStart: '',
};

export class NativeModel {
  readonly #mailbox = new Mailbox();
  #engine!: NativeEngine;
  /** Of a row of experts; 0 without experts. */
  readonly topK: number;

  private constructor(readonly checkpoint: Checkpoint) {
    const ks = checkpoint.spec.layers.map(({ ffn }) => (ffn.kind === 'moe' ? ffn.topK : 0));
    this.topK = Math.max(...ks);
  }

  /** @param dtype of activations (CUDA; the CPU computes in f32) and of the KV cache */
  static async load(
    checkpoint: Checkpoint,
    maxBatchTokens: number,
    dtype: 'f32' | 'f16' | 'bf16',
  ): Promise<NativeModel> {
    const model = new NativeModel(checkpoint);
    model.#engine = await loadBinding().createEngine(
      checkpoint.spec,
      checkpoint.tensors,
      {
        device,
        numThreads: 2,
        maxRunningSeqs: 8,
        maxBatchTokens,
        maxModelLen: 128,
        blockSize: 16,
        kvCacheBytes: 4 << 20,
        memoryShare: 1,
        kvCacheDtype: dtype,
        activationDtype: dtype,
        prefixCaching: true,
        captureRoutedExperts: model.topK > 0,
        jumpForward: false,
        vocabulary: null,
        dummyWeights: null,
      },
      (delivery) => model.#mailbox.deliver(delivery),
    );
    return model;
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  run(promptIds: number[], params: Partial<NativeSamplingParams>): Promise<Generated> {
    const result: Generated = {
      tokens: [],
      logprobs: [],
      prompt: { own: [], topIds: [], top: [] },
      experts: [],
      cachedTokens: 0,
    };
    return new Promise((resolve, reject: (error: EngineError) => void) => {
      const id = this.#mailbox.register({
        onTokens: (event) => {
          result.tokens.push(...event.tokens);
          result.logprobs.push(...event.logprobs!);
          result.cachedTokens = event.cachedTokens;
        },
        onPromptLogprobs: (event) => addPrompt(result.prompt, event),
        onFinish: (event) => {
          if (event.finish === 'error') return reject(event.error);
          const row = this.checkpoint.spec.layers.length * this.topK;
          const flat = [...(event.routedExperts ?? [])];
          for (let at = 0; at < flat.length; at += row)
            result.experts.push(rows(flat.slice(at, at + row), this.topK));
          resolve(result);
        },
      });
      this.#engine.submit(id, Int32Array.from(promptIds), {
        ...GREEDY,
        maxTokens: 16,
        returnRoutedExperts: this.topK > 0,
        ...params,
      });
    });
  }
}

function addPrompt(prompt: Generated['prompt'], event: TokenEvent): void {
  prompt.own.push(...event.logprobs!);
  prompt.topIds.push(...rows([...event.topIds!], event.topN));
  prompt.top.push(...rows([...event.topLogprobs!], event.topN));
}

function rows(flat: number[], width: number): number[][] {
  return Array.from({ length: flat.length / width }, (_, i) =>
    flat.slice(i * width, (i + 1) * width),
  );
}
