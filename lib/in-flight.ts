/** The requests of an engine that have not ended, by their ids. */
import { randomUUID } from 'node:crypto';
import { invalidRequest } from './errors.js';

export interface Ticket {
  readonly id: string;
  /** What an abort does; at once, where one has come before. */
  onAbort(end: () => void): void;
  /** The request has ended. Idempotent. */
  leave: () => void;
}

interface Entry {
  end: (() => void) | null;
  aborted: boolean;
}

export class InFlight {
  readonly #entries = new Map<string, Entry>();

  /**
   * @param rid the request's own id; default a random one of 32 hexadecimal digits
   * @throws EngineError, status 400, where a request of this id is in flight
   */
  enter(rid: string | undefined): Ticket {
    if (rid !== undefined && this.#entries.has(rid))
      throw invalidRequest(
        `Duplicate request ID detected: ${rid}. A request with this rid is in flight: pass another, or wait ` +
          'for its end.',
        'rid',
      );
    const id = rid ?? randomUUID().replaceAll('-', '');
    const entry: Entry = { end: null, aborted: false };
    this.#entries.set(id, entry);
    return {
      id,
      onAbort: (end) => {
        entry.end = end;
        if (entry.aborted) end();
      },
      leave: () => {
        if (this.#entries.get(id) === entry) this.#entries.delete(id);
      },
    };
  }

  /** False where there is no such request. */
  abort(id: string): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.aborted) return false;
    entry.aborted = true;
    entry.end?.();
    return true;
  }

  /** How many there were. */
  abortAll(): number {
    return [...this.#entries.keys()].filter((id) => this.abort(id)).length;
  }
}
