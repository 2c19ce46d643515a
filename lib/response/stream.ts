/** What a chunk source needs: chunks in order, and a way to stop them from outside. */
export interface ChunkSource<T> {
  chunks: AsyncGenerator<T>;
  /** Aborts the request; a waiting `chunks.next()` then ends. */
  cancel(): void;
}

/**
 * The chunks of one response, to be read once. Leaving the loop aborts the request. Chunks that are not read in
 * time are merged, never dropped.
 */
class ChunkIterator<T> implements AsyncIterableIterator<T>, AsyncDisposable {
  readonly #source: Promise<ChunkSource<T>>;

  constructor(source: Promise<ChunkSource<T>>) {
    this.#source = source;
  }

  async next(): Promise<IteratorResult<T>> {
    const { chunks } = await this.#source;
    return chunks.next();
  }

  /** Aborts the request, also while another `next` waits. */
  async return(): Promise<IteratorResult<T>> {
    const source = await this.#source.catch(() => null);
    source?.cancel();
    await source?.chunks.return(undefined);
    return { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<IteratorResult<T>> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

/** Async iterable of chunks, to be read once; `return` (and leaving a `for await`) aborts the request. */
export type ChunkStream<T> = AsyncIterableIterator<T> & AsyncDisposable;

/**
 * What a call with `stream: true` gives: chunks with or without `await` before it. The request starts at once;
 * its errors come out of `await` or of the first `next`, and nowhere if neither is called.
 */
export class ResponseStream<T> implements AsyncIterable<T>, PromiseLike<ChunkStream<T>> {
  readonly #started: Promise<ChunkStream<T>>;
  readonly #iterator: ChunkStream<T>;

  /** @internal */
  constructor(source: Promise<ChunkSource<T>>) {
    this.#iterator = new ChunkIterator(source);
    this.#started = source.then(() => this.#iterator);
    // An unread stream must not end the process.
    this.#started.catch(() => {});
  }

  [Symbol.asyncIterator](): ChunkStream<T> {
    return this.#iterator;
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting the call waits for the request to be accepted
  then<A = ChunkStream<T>, B = never>(
    onAccepted?: ((stream: ChunkStream<T>) => A | PromiseLike<A>) | null,
    onRefused?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#started.then(onAccepted, onRefused);
  }
}
