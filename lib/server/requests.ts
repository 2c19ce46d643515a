/** The requests that generate: how many there are, and what ends them from outside. */
import type { ServerResponse } from 'node:http';
import type { Engine } from '../engine.js';
import { cutByShutdown, HttpError, queueFull, serverClosing, timedOut } from './errors.js';

/** The signal's reason when nobody is left to hear the answer. */
const clientGone = new HttpError('The client closed the connection.', {
  status: 499,
  code: 'bad_request',
});

/** One request, from its admission until its response is out or its client gone. */
export class ActiveRequest {
  /** Something came from the engine: it does not wait for its turn any more. */
  answered = false;
  readonly response: ServerResponse;

  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(response: ServerResponse, timeout: number, left: (request: ActiveRequest) => void) {
    this.response = response;
    if (timeout > 0) this.#timer = setTimeout(() => this.abort(timedOut(timeout)), timeout);
    const leave = () => {
      response.off('finish', leave);
      response.off('close', close);
      clearTimeout(this.#timer);
      left(this);
    };
    const close = () => {
      this.abort(clientGone);
      leave();
    };
    response.on('finish', leave);
    response.on('close', close);
    // The client may have gone while its body was being parsed.
    if (response.destroyed || response.socket?.destroyed) close();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isGone(): boolean {
    return this.signal.reason === clientGone;
  }

  /** The engine stops within a step; the response then ends with `reason`. */
  abort(reason: HttpError): void {
    this.#controller.abort(reason);
  }
}

export interface RequestLimits {
  maxQueuedRequests: number;
  requestTimeout: number;
  shutdownTimeout: number;
}

/** Between a stream's last event and the end of a connection that does not take it. */
const graceMs = 1000;

export class Requests {
  readonly #engine: Pick<Engine, 'stats'>;
  readonly #limits: RequestLimits;
  readonly #active = new Set<ActiveRequest>();
  #closing = false;
  #deadline: NodeJS.Timeout | undefined;

  constructor(engine: Pick<Engine, 'stats'>, limits: RequestLimits) {
    this.#engine = engine;
    this.#limits = limits;
  }

  get size(): number {
    return this.#active.size;
  }

  get closing(): boolean {
    return this.#closing;
  }

  /** Admits a request, or throws status 503. */
  enter(response: ServerResponse): ActiveRequest {
    this.checkOpen();
    if (this.queued >= this.#limits.maxQueuedRequests) throw queueFull();
    const request = new ActiveRequest(response, this.#limits.requestTimeout, (left) => {
      this.#active.delete(left);
    });
    if (!request.signal.aborted) this.#active.add(request);
    return request;
  }

  checkOpen(): void {
    if (this.#closing) throw serverClosing();
  }

  /**
   * Requests that wait for their turn. The engine counts those it has; here are also those that are still
   * being tokenised, of which no more than those without an answer can be.
   */
  get queued(): number {
    const { waiting, running } = this.#engine.stats();
    let unanswered = 0;
    for (const request of this.#active) if (!request.answered) unanswered++;
    return Math.max(waiting, unanswered - running);
  }

  /**
   * No request is admitted from now on. Those in flight may finish until the deadline, then they are
   * aborted, and connections that do not take even that are cut.
   */
  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#deadline = setTimeout(() => {
      for (const request of this.#active) request.abort(cutByShutdown());
      this.#deadline = setTimeout(() => {
        for (const request of this.#active) request.response.destroy();
      }, graceMs).unref();
    }, this.#limits.shutdownTimeout).unref();
  }

  /** After `close`, when all have ended: nothing is left to wait for. */
  dispose(): void {
    clearTimeout(this.#deadline);
  }
}
