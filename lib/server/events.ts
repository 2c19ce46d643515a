/** Server-sent events: one write for what is ready at a time, and no faster than they are read. */
import type { ServerResponse } from 'node:http';

export const eventHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  // nginx would wait for more.
  'x-accel-buffering': 'no',
};

export interface EventWriterOptions {
  /** Milliseconds until a reader that takes nothing is cut off; 0: never. */
  stallTimeout: number;
  /** Ends the wait for a slow reader. */
  signal: AbortSignal;
}

/** Writes to a response whose head has been written. Owns nothing: the response ends by `end` or by itself. */
export class EventWriter {
  readonly #response: ServerResponse;
  readonly #options: EventWriterOptions;
  #pending = '';
  #scheduled = false;

  constructor(response: ServerResponse, options: EventWriterOptions) {
    this.#response = response;
    this.#options = options;
    // A connection that breaks says so by 'close', which ends the request.
    response.on('error', () => {});
  }

  /**
   * Puts an event into the next write, which is done when the event loop has handed out what it has: a
   * delivery's chunks travel together. A promise when the reader is behind: nothing more should be sent
   * before it resolves, since what has not been asked for from the engine is merged there.
   */
  send(data: string): Promise<void> | null {
    this.#pending += `data: ${data}\n\n`;
    if (this.#response.writableNeedDrain) return this.#drained();
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.#flush();
      });
    }
    return null;
  }

  /** The last event, and the end of the response. */
  end(data: string): void {
    this.#pending += `data: ${data}\n\n`;
    this.#flush();
    const response = this.#response;
    if (response.destroyed) return;
    response.end();
    if (response.writableLength === 0 || this.#options.stallTimeout === 0) return;
    const stalled = setTimeout(() => response.destroy(), this.#options.stallTimeout);
    response.once('close', () => clearTimeout(stalled));
  }

  #flush(): void {
    const text = this.#pending;
    this.#pending = '';
    if (text !== '' && !this.#response.destroyed && !this.#response.writableEnded)
      this.#response.write(text);
  }

  #drained(): Promise<void> {
    const response = this.#response;
    const { signal, stallTimeout } = this.#options;
    return new Promise((resolve) => {
      const stalled =
        stallTimeout > 0 ? setTimeout(() => response.destroy(), stallTimeout) : undefined;
      const done = () => {
        clearTimeout(stalled);
        response.off('drain', done);
        response.off('close', done);
        signal.removeEventListener('abort', done);
        if (!response.writableNeedDrain) this.#flush();
        resolve();
      };
      response.on('drain', done);
      response.on('close', done);
      signal.addEventListener('abort', done);
      if (signal.aborted || response.destroyed) done();
    });
  }
}
