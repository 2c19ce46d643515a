/**
 * One surface and two ways to it: the official `openai` client against a live server, and the Engine in process.
 * Both ask the same engine, so that whatever a test expects is expected of both.
 */
import OpenAI, { APIError } from 'openai';
import { afterAll, afterEach, beforeAll } from 'vitest';
import {
  type ChatCompletion,
  type ChatCompletionChunk,
  type ChatCompletionRequest,
  type Completion,
  type CompletionChunk,
  type CompletionRequest,
  type DetokenizeRequest,
  type DetokenizeResult,
  type Engine,
  EngineError,
  type LoadOptions,
  type TokenizeRequest,
  type TokenizeResult,
} from '../../../lib/index.js';
import { type RunningServer, type ServerOptions, serve } from '../../../lib/server/index.js';
import { describe } from '../../device.js';
import { collect, loadPocket, settled } from '../pocket.js';

export type ChatBody = Omit<ChatCompletionRequest, 'stream'>;
export type CompletionBody = Omit<CompletionRequest, 'stream'>;
export type Endpoint = 'chat' | 'completions';

/** What a caller of either transport sees of an error. */
export class SurfaceError extends Error {
  override readonly name = 'SurfaceError';
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly code: string | null | undefined;
  readonly param: string | null | undefined;

  constructor(
    message: string,
    seen: Pick<SurfaceError, 'status' | 'type' | 'code' | 'param'>,
    cause: unknown,
  ) {
    super(message, { cause });
    this.status = seen.status;
    this.type = seen.type;
    this.code = seen.code;
    this.param = seen.param;
  }
}

export interface CallOptions {
  signal?: AbortSignal;
}

export interface Transport {
  readonly name: 'http' | 'engine';
  chat(body: ChatBody, options?: CallOptions): Promise<ChatCompletion>;
  chatStream(body: ChatBody, options?: CallOptions): AsyncGenerator<ChatCompletionChunk>;
  complete(body: CompletionBody, options?: CallOptions): Promise<Completion>;
  completeStream(body: CompletionBody, options?: CallOptions): AsyncGenerator<CompletionChunk>;
  /** A body that the types do not allow; with `stream: true` all of its chunks. */
  raw(endpoint: Endpoint, body: unknown): Promise<unknown>;
  tokenize(body: TokenizeRequest): Promise<TokenizeResult>;
  detokenize(body: DetokenizeRequest): Promise<DetokenizeResult>;
  /** Models by name, with their context length. */
  models(): Promise<{ id: string; max_model_len: number }[]>;
  /** How many requests it ended: 1 or 0. */
  abort(rid: string): Promise<number>;
  abortAll(): Promise<number>;
}

/** Both ways to one engine, which the tests may also look at. */
export interface Live {
  engine: Engine;
  server: RunningServer;
  client: OpenAI;
}

export interface SurfaceOptions {
  load?: LoadOptions;
  server?: ServerOptions;
}

/** An engine and a server for the tests of this file or `describe`; after each nothing may be in flight. */
export function live({ load, server: serverOptions }: SurfaceOptions = {}): () => Live {
  let parts: Live | undefined;
  beforeAll(async () => {
    const engine = await loadPocket(load);
    const server = await serve(engine, { ...serverOptions, port: 0 });
    const baseURL = `${server.url}/v1`;
    parts = { engine, server, client: new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 }) };
  });
  afterEach(async () => {
    await settled(parts!.engine);
  });
  afterAll(async () => {
    await parts?.server.close();
    await parts?.engine.close();
  });
  return () => parts!;
}

/** The suite twice: the same tests over each transport. */
export function overBoth(
  suite: (surface: Transport, parts: () => Live) => void,
  options: SurfaceOptions = {},
): void {
  describe('two transports', () => {
    const parts = live(options);
    for (const transport of [httpTransport(parts), engineTransport(parts)])
      describe(transport.name, () => suite(transport, parts));
  });
}

/** The `openai` client, or its `post` where it has no method for a route. */
export function httpTransport(parts: () => Live): Transport {
  const post = <T>(path: string, body: unknown): Promise<T> =>
    seen(async () => {
      const { client, server } = parts();
      return client.post<T>(`${server.url}${path}`, { body });
    });
  return {
    name: 'http',
    // Extensions are not in the client's types: it sends the body as it is, and returns the answer as it came.
    chat: (body, options) =>
      seen(async () => {
        const asked = body as OpenAI.ChatCompletionCreateParamsNonStreaming;
        const answer = await parts().client.chat.completions.create(asked, options);
        return answer as unknown as ChatCompletion;
      }),
    chatStream: (body, options) =>
      seenStream(async () => {
        const asked = { ...body, stream: true } as OpenAI.ChatCompletionCreateParamsStreaming;
        const chunks = await parts().client.chat.completions.create(asked, options);
        return chunks as unknown as AsyncIterable<ChatCompletionChunk>;
      }),
    complete: (body, options) =>
      seen(async () => {
        const asked = body as OpenAI.CompletionCreateParamsNonStreaming;
        const answer = await parts().client.completions.create(asked, options);
        return answer as unknown as Completion;
      }),
    completeStream: (body, options) =>
      seenStream(async () => {
        const asked = { ...body, stream: true } as OpenAI.CompletionCreateParamsStreaming;
        const chunks = await parts().client.completions.create(asked, options);
        return chunks as unknown as AsyncIterable<CompletionChunk>;
      }),
    raw: (endpoint, body) =>
      seen(async () => {
        const path = endpoint === 'chat' ? '/chat/completions' : '/completions';
        const stream = (body as { stream?: unknown } | null)?.stream === true;
        const answer = await parts().client.post<unknown>(path, { body, stream });
        return stream ? collect(answer as AsyncIterable<unknown>) : answer;
      }),
    tokenize: (body) => post('/tokenize', body),
    detokenize: (body) => post('/detokenize', body),
    models: () =>
      seen(async () => {
        const cards = await collect(parts().client.models.list());
        return cards as (OpenAI.Model & { max_model_len: number })[];
      }),
    abort: async (rid) => (await post<{ aborted: number }>('/abort_request', { rid })).aborted,
    abortAll: async () =>
      (await post<{ aborted: number }>('/abort_request', { abort_all: true })).aborted,
  };
}

export function engineTransport(parts: () => Live): Transport {
  return {
    name: 'engine',
    chat: (body, options) => seen(async () => parts().engine.chatCompletions(body, options)),
    chatStream: (body, options) =>
      seenStream(async () => parts().engine.chatCompletions({ ...body, stream: true }, options)),
    complete: (body, options) => seen(async () => parts().engine.completions(body, options)),
    completeStream: (body, options) =>
      seenStream(async () => parts().engine.completions({ ...body, stream: true }, options)),
    raw: (endpoint, body) =>
      seen(async () => {
        const { engine } = parts();
        const answer: unknown = await (endpoint === 'chat'
          ? engine.chatCompletions(body as ChatCompletionRequest)
          : engine.completions(body as CompletionRequest));
        return isStream(answer) ? collect(answer) : answer;
      }),
    tokenize: (body) => seen(() => parts().engine.tokenize(body)),
    detokenize: (body) => seen(() => parts().engine.detokenize(body)),
    models: async () => {
      const { model, maxModelLen } = parts().engine;
      return [{ id: model, max_model_len: maxModelLen }];
    },
    abort: async (rid) => (parts().engine.abort(rid) ? 1 : 0),
    abortAll: async () => parts().engine.abortAll(),
  };
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

async function seen<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw normalised(error);
  }
}

async function* seenStream<T>(call: () => Promise<AsyncIterable<T>>): AsyncGenerator<T> {
  try {
    yield* await call();
  } catch (error) {
    throw normalised(error);
  }
}

/** Errors of neither kind, such as a signal's reason, stay what they are. */
function normalised(error: unknown): unknown {
  if (EngineError.is(error)) return new SurfaceError(error.message, error, error);
  if (!(error instanceof APIError) || error.error === undefined) return error;
  // The client puts the status before the message, and has no type for the fields.
  const { status, type, code, param } = error as APIError<number | undefined>;
  const message = error.message.replace(/^\d{3} /, '');
  return new SurfaceError(message, { status, type, code, param }, error);
}
