/**
 * Ends reasoning that has used up its tokens: the native request is given up and another one goes on from prompt,
 * generated tokens and the text that closes the block. The prefix cache has nearly all of it.
 */
import type { NativeGrammar, NativeSamplingParams } from './native.js';
import { holdBackFrom } from './parse/holdback.js';

/** Longer than any tag. */
const maxTag = 64;

export interface ThinkingLimit {
  /** Tokens of reasoning; 0 closes the block before the first. */
  tokens: number;
  /** What closes the block. */
  closeIds: Int32Array;
  /** The tag that the model itself is expected to begin with; null where the prompt has it, or none is. */
  opening: string | null;
  /** The tag that ends the block; null where none does. */
  ending: string | null;
  /** What holds behind the block, where the request's own grammar begins before it. Default: that one. */
  grammar?: NativeGrammar;
}

/** What native code is asked for. */
export interface NativeRequest {
  promptIds: Int32Array;
  params: NativeSamplingParams;
}

export class ThinkingBudget {
  readonly closeIds: Int32Array;
  readonly #limit: number;
  readonly #generated: number[] = [];
  /** Generated tokens when the block began; null outside of one. */
  #began: number | null = null;
  /** Tokens of earlier blocks, which gpt-oss may have. */
  #used = 0;
  #closed = false;
  #opening: string | null;
  readonly #endings: readonly string[];
  readonly #grammar: NativeGrammar | undefined;
  /** The text so far, while it may be the beginning of the opening tag; then its end. */
  #text = '';

  constructor({ tokens, closeIds, opening, ending, grammar }: ThinkingLimit) {
    this.#grammar = grammar;
    this.#limit = tokens;
    this.closeIds = closeIds;
    this.#opening = opening;
    this.#endings = ending === null ? [] : [ending];
  }

  add(id: number): void {
    if (!this.#closed) this.#generated.push(id);
  }

  /** Text that the tokens have become. */
  see(text: string): void {
    this.#text += text;
    if (this.#opening !== null) {
      const begun = this.#text.trimStart();
      if (begun.length < this.#opening.length && this.#opening.startsWith(begun)) return;
      this.#opening = null;
    }
    this.#text = this.#text.slice(-maxTag);
  }

  /**
   * Whether the block must be closed now. Where the closing text and a token of answer no longer fit into
   * `maxTokens`, the answer ends by its length instead.
   *
   * @param thinking the text so far ends inside the block
   */
  isSpent(thinking: boolean, maxTokens: number): boolean {
    if (this.#closed || this.#opening !== null) return false;
    const count = this.#generated.length;
    if (!thinking) {
      if (this.#began !== null) this.#used += count - this.#began;
      this.#began = null;
      return false;
    }
    this.#began ??= count;
    if (this.#used + count - this.#began < this.#limit || count + this.closeIds.length >= maxTokens)
      return false;
    // The model may be about to close it: where that is several tokens, they are not cut apart.
    return holdBackFrom(this.#text, this.#endings) === this.#text.length;
  }

  /** The request that goes on behind the closing text. Once. */
  close(request: NativeRequest): NativeRequest {
    this.#closed = true;
    const { promptIds, params } = request;
    const added = this.#generated.length + this.closeIds.length;
    const ids = new Int32Array(promptIds.length + added);
    ids.set(promptIds);
    ids.set(this.#generated, promptIds.length);
    ids.set(this.closeIds, promptIds.length + this.#generated.length);
    this.#generated.length = 0;
    return {
      promptIds: ids,
      params: {
        ...params,
        maxTokens: params.maxTokens - added,
        minTokens: Math.max(0, params.minTokens - added),
        numPromptLogprobs: -1,
        ...(this.#grammar && { grammar: this.#grammar }),
        countedTokens: added,
        grammarStart: '', // the closing text is part of the prompt now
        shareGroup: 0,
      },
    };
  }
}
