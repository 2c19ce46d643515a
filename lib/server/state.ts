/** What the routes of one server share. */
import { readFileSync } from 'node:fs';
import type { Engine } from '../engine.js';
import { EngineError, invalidRequest } from '../errors.js';
import { describe, isObject } from '../request/validate.js';
import { HttpError, toHttpError, unknownModel } from './errors.js';
import { ServerMetrics } from './metrics.js';
import type { Settled } from './options.js';
import { Requests } from './requests.js';

export class ServerState {
  readonly engine: Engine;
  readonly options: Settled;
  readonly requests: Requests;
  /** null: off. */
  readonly metrics: ServerMetrics | null;
  /** Unix seconds. */
  readonly created = Math.floor(Date.now() / 1000);

  private constructor(
    engine: Engine,
    options: Settled,
    requests: Requests,
    metrics: ServerMetrics | null,
  ) {
    this.engine = engine;
    this.options = options;
    this.requests = requests;
    this.metrics = metrics;
  }

  static async create(engine: Engine, options: Settled): Promise<ServerState> {
    // Duck-typed: it may be the Engine of another copy of this package.
    if (typeof engine?.chatCompletions !== 'function')
      throw invalidRequest(
        `engine must be an Engine, got ${describe(engine)}. Load one with Engine.load.`,
        'engine',
        'invalid_type',
      );
    const requests = new Requests(engine, options);
    const metrics = options.metrics
      ? await ServerMetrics.create(engine, () => requests.size)
      : null;
    return new ServerState(engine, options, requests, metrics);
  }

  get modelNames(): string[] {
    return [...new Set([this.engine.model, ...this.options.modelNames])];
  }

  /** Throws status 404 for a name that nobody has, where names count. */
  checkModel(body: unknown): void {
    if (!this.options.strictModel || !isObject(body)) return;
    const { model } = body;
    // Other types are the request's own fault; what follows a colon is an adapter's name.
    if (typeof model !== 'string') return;
    const names = this.modelNames;
    if (names.some((name) => model === name || model.startsWith(`${name}:`))) return;
    if (names.includes(model.split(':', 1)[0]!.trim())) return;
    throw unknownModel(model);
  }

  /** Errors that are nobody's request's fault belong in the log, with what the client does not get to see. */
  logFault(error: unknown): void {
    if (error instanceof HttpError || toHttpError(error).status !== 500) return;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const cause = EngineError.is(error) && error.cause ? `; cause: ${String(error.cause)}` : '';
    this.options.accessLog?.warn(`${text}${cause}`);
  }
}

let version: string | undefined;

/** Of this package. */
export function packageVersion(): string {
  version ??= (
    JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    }
  ).version;
  return version;
}
