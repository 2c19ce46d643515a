/** The choices of one response: submitted together, taken in the order in which they have something to say. */
import { setMaxListeners } from 'node:events';
import { fromNative } from './errors.js';
import { Generation, type GenerationEvents } from './generation.js';
import type { Mailbox } from './mailbox.js';
import type { NativeEngine } from './native.js';
import type { Plan } from './request/plan.js';
import type { Tokenizer } from './text/tokenizer.js';

/** What a response is generated with. */
export interface Backend {
  native: Pick<NativeEngine, 'submit' | 'abort'>;
  mailbox: Mailbox;
  tokenizer: Tokenizer | null;
}

export class GenerationGroup implements GenerationEvents {
  readonly generations: readonly Generation[];

  readonly #backend: Backend;
  readonly #signal: AbortSignal | undefined;
  readonly #ids = new Map<Generation, number>();
  /** In the order of their first untaken output. */
  readonly #ready = new Set<Generation>();
  #failure: { reason: unknown } | null = null;
  #cancelled = false;
  #wake: (() => void) | null = null;
  /** Nobody wants to hear of output before all of it is there. */
  #wakeAtEnd = false;
  readonly #onAbort = () => this.#end({ reason: this.#signal?.reason });
  readonly #onEnd: (() => void) | undefined;
  #hasEnded = false;

  /**
   * Submits every plan; throws, with none left behind, when native code refuses one.
   *
   * @param onEnd called once, when nothing runs any more, however it ended
   */
  constructor(
    plans: readonly Plan[],
    backend: Backend,
    { signal, onEnd }: { signal?: AbortSignal; onEnd?: () => void } = {},
  ) {
    this.#backend = backend;
    this.#signal = signal;
    this.#onEnd = onEnd;
    this.generations = plans.map((plan) => new Generation(plan, backend.tokenizer, this));
    try {
      for (const generation of this.generations) {
        // Closing the reasoning at once may have been all of it.
        if (generation.done) this.#ready.add(generation);
        else this.#submit(generation);
      }
    } catch (error) {
      this.cancel();
      throw fromNative(error);
    }
    if (signal) {
      // One signal for many requests is no leak: listeners go with their requests. fetch does the same.
      if (signal instanceof EventTarget) setMaxListeners(0, signal);
      signal.addEventListener('abort', this.#onAbort, { once: true });
    }
    if (this.#ids.size === 0) this.#ended();
  }

  /** `cancel` was called before the end. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** One that has output, or null when all have ended; throws the error of any, or the signal's reason. */
  async next(): Promise<Generation | null> {
    for (;;) {
      if (this.#failure) throw this.#failure.reason;
      if (this.#cancelled) return null;
      const [first] = this.#ready;
      if (first) {
        this.#ready.delete(first);
        return first;
      }
      if (this.#ids.size === 0) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Waits for the end of all; their whole output is then there to take. */
  async finished(): Promise<void> {
    this.#wakeAtEnd = true;
    while ((await this.next()) !== null);
  }

  /** Aborts natively what still runs. Whoever waits in `next` gets null. Idempotent. */
  cancel(): void {
    this.#end(null);
  }

  /** Ends what still runs with the finish reason "abort" and what it has so far. */
  abort(): void {
    if (this.#cancelled || this.#failure) return;
    for (const [generation, id] of [...this.#ids]) {
      this.#backend.native.abort(id);
      generation.abort();
    }
  }

  changed(generation: Generation): void {
    if (this.#cancelled || this.#failure) return;
    this.#ready.add(generation);
    if (generation.done && this.#ids.delete(generation) && this.#ids.size === 0) this.#ended();
    if (generation.error) this.#end({ reason: generation.error });
    else if (!this.#wakeAtEnd || this.#ids.size === 0) this.#notify();
  }

  stopped(generation: Generation): void {
    this.#backend.native.abort(this.#ids.get(generation)!);
  }

  restarted(generation: Generation): void {
    this.#backend.native.abort(this.#ids.get(generation)!);
    try {
      this.#submit(generation);
    } catch (error) {
      generation.fail(fromNative(error));
    }
  }

  #submit(generation: Generation): void {
    const { native, mailbox } = this.#backend;
    // A request that was given up for another one still has something to say, which nobody wants to hear.
    const current = () => this.#ids.get(generation) === id;
    const id: number = mailbox.register({
      onTokens: (event) => current() && generation.onTokens(event),
      onPromptLogprobs: (event) => current() && generation.onPromptLogprobs(event),
      onFinish: (event) => current() && generation.onFinish(event),
    });
    this.#ids.set(generation, id);
    try {
      native.submit(id, generation.request.promptIds, generation.request.params);
    } catch (error) {
      this.#ids.delete(generation);
      mailbox.unregister(id);
      throw error;
    }
  }

  #end(failure: { reason: unknown } | null): void {
    if (this.#cancelled || this.#failure) return;
    this.#failure = failure;
    this.#cancelled = failure === null;
    for (const id of this.#ids.values()) this.#backend.native.abort(id);
    this.#ids.clear();
    this.#ended();
    this.#notify();
  }

  #ended(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#onEnd?.();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}
