/** The options of the server: what they mean, and that nothing else is passed. */
import { z } from 'zod';
import { invalidRequest } from '../errors.js';
import type { Logger } from '../options.js';
import { suggestion } from '../request/nearest.js';
import {
  boolean,
  describe,
  type Fault,
  integer,
  isObject,
  judged,
  parse,
  string,
  wrongType,
  wrongValue,
} from '../request/validate.js';

export interface ServerOptions {
  /**
   * What `Authorization: Bearer` must say; one of several when a list. Health, metrics and OPTIONS are free.
   * Default: no key is needed.
   */
  apiKey?: string | string[];
  /** Bytes of a request's body; more is status 413. Default 16 MiB. */
  bodyLimit?: number;
  /** Requests that may wait for their turn, at least 1; further ones get status 503. Default 1024. */
  maxQueuedRequests?: number;
  /** Milliseconds that a request may take, waiting included; then it ends with 503. Default 0: no limit. */
  requestTimeout?: number;
  /**
   * Milliseconds for which the reader of a stream may take nothing; then it is disconnected. Default
   * 120,000; 0: no limit.
   */
  stallTimeout?: number;
  /**
   * Origins whose pages may call the server from a browser; true is every origin. Default false: no header
   * of CORS is sent.
   */
  cors?: boolean | string | string[];
  /** Gets a line for every request, and the stack of every internal error. `console` fits. */
  accessLog?: Logger;
  /** Further names of the model, listed by /v1/models. */
  modelNames?: string[];
  /**
   * true: a request whose `model` is neither the engine's nor one of `modelNames` is status 404. Default
   * false: every name is answered by the one model there is.
   */
  strictModel?: boolean;
  /** Milliseconds that requests in flight have to finish once the server closes. Default 30,000. */
  shutdownTimeout?: number;
  /** GET /metrics, in Prometheus' format. Default true. */
  metrics?: boolean;
  /** Milliseconds that /health_generate waits for a sign of life. Default 20,000. */
  healthTimeout?: number;
}

export interface ListenOptions extends ServerOptions {
  /** Default '127.0.0.1': this machine only. */
  host?: string;
  /** 0 takes a free one. Default 8000. */
  port?: number;
}

export type Settled = Required<Omit<ServerOptions, 'accessLog' | 'apiKey' | 'cors'>> & {
  apiKeys: string[];
  /** Origins, '*' for all of them; null: off. */
  cors: string[] | '*' | null;
  accessLog: Logger | null;
};

const milliseconds = integer(
  'an integer in [0, 2147483647] (milliseconds)',
  (x) => x >= 0 && x <= 2 ** 31 - 1,
).optional();

/** Strings of at least one character, or a list of those. */
function strings(what: string, also: (value: unknown) => boolean = () => false) {
  return judged<string | string[] | boolean>((value): Fault | null => {
    if (also(value)) return null;
    const list = Array.isArray(value) ? value : [value];
    if (!list.every((item) => typeof item === 'string')) return wrongType(what);
    return list.length > 0 && list.every((item) => item !== '')
      ? null
      : wrongValue(`${what}, none of them empty`);
  });
}

const shape = {
  apiKey: strings('a string or a list of strings').optional(),
  bodyLimit: integer('an integer of at least 1', (x) => x >= 1).optional(),
  maxQueuedRequests: integer('an integer of at least 1', (x) => x >= 1).optional(),
  requestTimeout: milliseconds,
  stallTimeout: milliseconds,
  cors: strings(
    'true, false, an origin or a list of origins',
    (value) => typeof value === 'boolean' || (Array.isArray(value) && value.length === 0),
  ).optional(),
  accessLog: judged<Logger>((value) =>
    isObject(value) && typeof value.info === 'function' && typeof value.warn === 'function'
      ? null
      : wrongType('an object with the methods info and warn'),
  ).optional(),
  modelNames: z.array(string).optional(),
  strictModel: boolean.optional(),
  shutdownTimeout: milliseconds,
  metrics: boolean.optional(),
  healthTimeout: integer('an integer in [1, 2147483647]', (x) => x >= 1 && x < 2 ** 31).optional(),
} satisfies Record<keyof ServerOptions, unknown>;

const schema = z.object(shape);
const listenSchema = z.object({
  host: string.optional(),
  port: integer('an integer in [0, 65535]', (x) => x >= 0 && x <= 65_535).optional(),
});

/** Throws an EngineError for an unknown name or a value that fits none. */
export function settle(options: unknown = {}): Settled {
  if (!isObject(options))
    throw invalidRequest(
      `The server's options must be an object, got ${describe(options)}.`,
      null,
      'invalid_type',
    );
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(shape, name)) continue;
    const advice =
      suggestion(name, Object.keys(shape)) || ` Options are ${Object.keys(shape).join(', ')}.`;
    throw invalidRequest(`Unknown option '${name}'.${advice}`, name, 'unsupported_parameter');
  }
  const given = parse(schema, options) as ServerOptions;
  return {
    apiKeys: listOf(given.apiKey),
    bodyLimit: given.bodyLimit ?? 16 * 2 ** 20,
    maxQueuedRequests: given.maxQueuedRequests ?? 1024,
    requestTimeout: given.requestTimeout ?? 0,
    stallTimeout: given.stallTimeout ?? 120_000,
    cors: origins(given.cors),
    accessLog: given.accessLog ?? null,
    modelNames: given.modelNames ?? [],
    strictModel: given.strictModel ?? false,
    shutdownTimeout: given.shutdownTimeout ?? 30_000,
    metrics: given.metrics ?? true,
    healthTimeout: given.healthTimeout ?? 20_000,
  };
}

/** Splits what is for listening from what is for the routes. */
export function settleListen(options: ListenOptions = {}) {
  const { host, port, ...rest } = options;
  const listen = parse(listenSchema, { host, port });
  return { host: listen.host ?? '127.0.0.1', port: listen.port ?? 8000, rest };
}

function origins(cors: ServerOptions['cors']): Settled['cors'] {
  if (cors === undefined || cors === false) return null;
  if (cors === true) return '*';
  const list = listOf(cors);
  return list.includes('*') ? '*' : list;
}

function listOf(value: string | string[] | undefined): string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}
