/**
 * A model below the public API: mailbox and native engine, so that what is measured is the engine and not the objects
 * of a response; and what one step of it reads and computes.
 */

import { loadBinding } from '../../lib/binding.js';
import { type EngineParts, loadParts } from '../../lib/engine/load.js';
import { kvBytesPerToken } from '../../lib/engine/memory.js';
import type { LoadOptions } from '../../lib/index.js';
import type { ModelSpec } from '../../lib/models/spec.js';
import type { NativeBinding, NativeSamplingParams, NativeVocabulary } from '../../lib/native.js';
import { openCheckpoint } from '../../lib/weights/index.js';
import { dummyOptions, type Flags, Fnv } from './bench.js';

const greedy: Omit<NativeSamplingParams, 'maxTokens'> = {
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
  numLogprobs: -1,
  numPromptLogprobs: -1,
  returnRoutedExperts: false,
  priority: 0,
  cacheSalt: 0n,
  shareGroup: 0,
  countedTokens: 0,
  grammar: null,
  grammarStart: '',
};

interface Moment {
  /** Milliseconds. */
  time: number;
  /** Generated so far, over all sequences. */
  tokens: number;
}

export interface Run {
  started: number;
  ended: number;
  /** Generated ids of each sequence. */
  ids: number[][];
  /** Of those ids; empty where none were asked for. */
  logprobs: number[][];
  /**
   * The time in which every sequence decoded, from the delivery with the last first token to the one with the first
   * last token; null where there is none.
   */
  full: { begin: Moment; end: Moment } | null;
}

export class BenchModel {
  private constructor(
    readonly parts: EngineParts,
    readonly spec: ModelSpec,
    readonly flags: Flags,
  ) {}

  /** `vocabulary`: of the size of the model's, for grammars; its dummy folder has none. */
  static async load(
    flags: Flags,
    options: LoadOptions,
    vocabulary?: (size: number) => NativeVocabulary,
  ): Promise<BenchModel> {
    const all = { ...dummyOptions(flags), prefixCaching: false, ...options };
    const { spec } = await openCheckpoint(flags.folder, { loadFormat: 'dummy' });
    const binding = (): NativeBinding => {
      const real = loadBinding();
      if (!vocabulary) return real;
      return {
        version: real.version,
        devices: () => real.devices(),
        createEngine: (spec, tensors, native, ...rest) =>
          real.createEngine(
            spec,
            tensors,
            { ...native, vocabulary: vocabulary(spec.vocabSize) },
            ...rest,
          ),
      };
    };
    return new BenchModel(await loadParts(flags.folder, all, binding), spec, flags);
  }

  close(): Promise<void> {
    return this.parts.native.close();
  }

  /**
   * FNV-1a over the bits of the chosen tokens' logprobs, each of which depends on its whole row of logits: equal logits
   * have equal hashes.
   */
  async logitsHash(prompts: number[][], maxTokens: number): Promise<string> {
    const { logprobs } = await this.run(prompts, maxTokens, 0);
    return String(
      logprobs.reduce((hash, own) => {
        const { buffer } = Float32Array.from(own);
        return hash.add(new Uint32Array(buffer));
      }, new Fnv()),
    );
  }

  /** All prompts at once, greedily, each to `maxTokens`. `numLogprobs`: -1 for none. `more`: other parameters. */
  run(
    prompts: number[][],
    maxTokens: number,
    numLogprobs = -1,
    more: Partial<NativeSamplingParams> = {},
  ): Promise<Run> {
    const { native, mailbox } = this.parts;
    const ids: number[][] = prompts.map(() => []);
    const logprobs: number[][] = prompts.map(() => []);
    let waitingForFirst = prompts.length;
    let finished = 0;
    let finishedBefore = 0;
    let tokens = 0;
    let full: Run['full'] = null;
    const started = performance.now();
    return new Promise((resolve, reject) => {
      // All records of a step are in one delivery: moments are taken once it has been worked through.
      const deliver = mailbox.deliver;
      mailbox.deliver = (delivery) => {
        deliver.call(mailbox, delivery);
        const moment = { time: performance.now(), tokens };
        if (waitingForFirst === 0 && finishedBefore === 0)
          full = { begin: full?.begin ?? moment, end: moment };
        finishedBefore = finished;
        if (finished < prompts.length) return;
        mailbox.deliver = deliver;
        resolve({ started, ended: moment.time, ids, logprobs, full });
      };
      for (const [i, prompt] of prompts.entries()) {
        const own = ids[i]!;
        const id = mailbox.register({
          onTokens: (event) => {
            if (own.length === 0) waitingForFirst--;
            own.push(...event.tokens);
            if (event.logprobs) logprobs[i]!.push(...event.logprobs);
            tokens += event.tokens.length;
          },
          onPromptLogprobs: () => {},
          onFinish: (event) => {
            finished++;
            if (event.finish === 'error') reject(event.error);
          },
        });
        native.submit(id, Int32Array.from(prompt), {
          ...greedy,
          maxTokens,
          numLogprobs,
          ...more,
          seed: BigInt(i),
        });
      }
    });
  }

  /** Bytes of keys and values of one token. */
  get kvBytes(): number {
    return kvBytesPerToken(this.spec, this.flags.dtype);
  }

  /** Weights that one step with `tokens` tokens reads; of experts those that even routing is expected to touch. */
  weightBytes(tokens: number): number {
    const { hiddenSize, vocabSize } = this.spec;
    const perExpert = (experts: number, topK: number) =>
      experts * (1 - (1 - topK / experts) ** tokens);
    return (
      (this.#bodyElements(perExpert) + hiddenSize * vocabSize) *
      (this.flags.dtype === 'f32' ? 4 : 2)
    );
  }

  /** Two operations per weight and token, and causal attention; the head runs for the last token only. */
  prefillFlops(promptTokens: number): number {
    const { hiddenSize, vocabSize, layers } = this.spec;
    const attention = layers.reduce((sum, { mixer: { numHeads, headDim, window } }) => {
      const seen = window > 0 ? Math.min(window, promptTokens / 2) : promptTokens / 2;
      return sum + 4 * numHeads * headDim * seen * promptTokens;
    }, 0);
    const active = this.#bodyElements((_, topK) => topK);
    return 2 * active * promptTokens + 2 * hiddenSize * vocabSize + attention;
  }

  #bodyElements(expertsRead: (experts: number, topK: number) => number): number {
    const { hiddenSize, layers } = this.spec;
    return layers.reduce((sum, { mixer, ffn }) => {
      const heads = 2 * mixer.numHeads + 2 * mixer.numKvHeads;
      const one = 3 * hiddenSize * ffn.intermediateSize;
      const rest =
        ffn.kind === 'moe'
          ? ffn.numExperts * hiddenSize + one * expertsRead(ffn.numExperts, ffn.topK)
          : one;
      return sum + heads * mixer.headDim * hiddenSize + rest;
    }, 0);
  }
}
