/**
 * The only loop over the batch: cuts a native delivery into events and hands each to the request that it
 * belongs to. The record layout is described at NativeDelivery.
 */
import { type EngineError, nativeFailure } from './errors.js';
import type { NativeDelivery } from './native.js';

/**
 * Tokens of one request. The arrays are views into the delivery, which is never written again: a receiver
 * that keeps one for long copies it, or it holds the whole delivery's memory.
 */
export interface TokenEvent {
  tokens: Int32Array;
  /** One per token; null when the request asked for none. */
  logprobs: Float32Array | null;
  /** [tokens.length, topN], by falling logprob; null when topN is 0. */
  topIds: Int32Array | null;
  topLogprobs: Float32Array | null;
  topN: number;
  /** Prompt tokens that came from the prefix cache. */
  cachedTokens: number;
}

export type FinishEvent =
  | {
      finish: 'stop' | 'length' | 'abort';
      /** The stop token id that ended the request; it is also the last token delivered. */
      matchedToken: number | null;
      /** The chosen experts, one row per position; see NativeDelivery. */
      routedExperts: Int32Array | null;
    }
  | { finish: 'error'; error: EngineError };

export interface Receiver {
  onTokens(event: TokenEvent): void;
  onPromptLogprobs(event: TokenEvent): void;
  /** Exactly once, last. */
  onFinish(event: FinishEvent): void;
}

const headerInts = 8;
const hasLogprobs = 1;
const isPrompt = 2;
const finishError = 4;
const finishNames = [null, 'stop', 'length', 'abort'] as const;
const maxId = 2 ** 31 - 1;

export class Mailbox {
  readonly #receivers = new Map<number, Receiver>();
  #lastId = 0;

  /** Requests that have not finished. */
  get size(): number {
    return this.#receivers.size;
  }

  /** Returns a fresh id: positive, below 2^31, used by no live request. */
  register(receiver: Receiver): number {
    do {
      this.#lastId = this.#lastId === maxId ? 1 : this.#lastId + 1;
    } while (this.#receivers.has(this.#lastId));
    this.#receivers.set(this.#lastId, receiver);
    return this.#lastId;
  }

  /** Takes back a registration whose request was never submitted; nothing is called. */
  unregister(id: number): void {
    this.#receivers.delete(id);
  }

  /**
   * Routes every record. A receiver that throws does not disturb the others: its error becomes an uncaught
   * exception of its own. Records of unknown ids are skipped.
   */
  deliver(delivery: NativeDelivery): void {
    const { ints } = delivery;
    const floats = delivery.floats ?? new Float32Array(0);
    let int = 0;
    let float = 0;
    while (int < ints.length) {
      const header = ints.subarray(int, int + headerInts);
      const [id, flags, finish, numTokens, topN, matched, cachedTokens, numExperts] =
        header as unknown as [number, number, number, number, number, number, number, number];
      const scored = (flags & hasLogprobs) !== 0;
      const numTop = scored ? numTokens * topN : 0;
      const tokensAt = int + headerInts;
      const topAt = tokensAt + numTokens;
      const expertsAt = topAt + numTop;
      const topFloatsAt = float + (scored ? numTokens : 0);
      int = expertsAt + numExperts;
      const floatEnd = topFloatsAt + numTop;
      if (header.length < headerInts || int > ints.length || floatEnd > floats.length)
        throw nativeFailure(
          'internal_error',
          `delivery is cut off: a record needs ${int} ints and ${floatEnd} floats, received ` +
            `${ints.length} and ${floats.length}`,
        );

      const receiver = this.#receivers.get(id);
      if (receiver !== undefined) {
        const event: TokenEvent = {
          tokens: ints.subarray(tokensAt, topAt),
          logprobs: scored ? floats.subarray(float, topFloatsAt) : null,
          topIds: numTop > 0 ? ints.subarray(topAt, expertsAt) : null,
          topLogprobs: numTop > 0 ? floats.subarray(topFloatsAt, floatEnd) : null,
          topN: numTop > 0 ? topN : 0,
          cachedTokens,
        };
        if ((flags & isPrompt) !== 0) guarded(() => receiver.onPromptLogprobs(event));
        else if (numTokens > 0) guarded(() => receiver.onTokens(event));
        if (finish !== 0) {
          this.#receivers.delete(id);
          const experts = numExperts > 0 ? ints.slice(expertsAt, int) : null;
          const last = finishEvent(delivery, id, finish, matched, experts);
          guarded(() => receiver.onFinish(last));
        }
      }
      float = floatEnd;
    }
  }
}

function finishEvent(
  delivery: NativeDelivery,
  id: number,
  finish: number,
  matched: number,
  routedExperts: Int32Array | null,
): FinishEvent {
  const name = finishNames[finish];
  if (name) return { finish: name, matchedToken: matched >= 0 ? matched : null, routedExperts };
  const failure = delivery.failures?.find((f) => f.id === id);
  const error =
    finish === finishError && failure !== undefined
      ? nativeFailure(failure.code, failure.message)
      : nativeFailure('internal_error', `request ${id} ended with finish ${finish} and no reason`);
  return { finish: 'error', error };
}

function guarded(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
