/** POST /v1/chat/completions and /v1/completions. */
import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ResponseStream } from '../response/stream.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
  Completion,
  CompletionChunk,
  CompletionRequest,
} from '../types.js';
import { errorEvent, toHttpError } from './errors.js';
import { EventWriter, eventHeaders } from './events.js';
import type { ActiveRequest } from './requests.js';
import type { ServerState } from './state.js';

type Chunk = ChatCompletionChunk | CompletionChunk;
type Answer =
  | Promise<ChatCompletion | Completion>
  | ResponseStream<ChatCompletionChunk>
  | ResponseStream<CompletionChunk>;

export type Ask = (state: ServerState, body: unknown, signal: AbortSignal) => Answer;

// The engine validates what it is given: whatever the client sent.
export const askChat: Ask = ({ engine, modelNames }, body, signal) =>
  engine.chatCompletions(body as ChatCompletionRequest, { signal, modelNames });
export const askCompletion: Ask = ({ engine, modelNames }, body, signal) =>
  engine.completions(body as CompletionRequest, { signal, modelNames });

export function generationHandler(state: ServerState, route: string, ask: Ask) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const { body } = request;
    state.checkModel(body);
    const active = state.requests.enter(reply.raw);
    reply.raw.once('finish', () => state.metrics?.finished(route, reply.elapsedTime / 1000));
    try {
      active.signal.throwIfAborted();
      const answer = ask(state, body, active.signal);
      if (!(answer instanceof ResponseStream)) return await answer;
      const chunks: AsyncIterator<Chunk> = answer[Symbol.asyncIterator]();
      // Whatever is wrong before the first chunk still has a status of its own.
      const first = await chunks.next();
      await stream(state, route, { reply, active, chunks, first });
    } catch (error) {
      if (!active.isGone) throw error;
      reply.hijack();
    } finally {
      active.answered = true;
    }
    return reply;
  };
}

interface Streaming {
  reply: FastifyReply;
  active: ActiveRequest;
  chunks: AsyncIterator<Chunk>;
  first: IteratorResult<Chunk>;
}

async function stream(
  state: ServerState,
  route: string,
  { reply, active, chunks, first }: Streaming,
): Promise<void> {
  const started = performance.now() - reply.elapsedTime;
  const observe = state.metrics?.stream(route, started);
  active.answered = true;
  const { raw } = reply;
  reply.hijack();
  const { stallTimeout } = state.options;
  const events = new EventWriter(raw, { stallTimeout, signal: active.signal });
  raw.writeHead(200, { ...(reply.getHeaders() as OutgoingHttpHeaders), ...eventHeaders });
  try {
    for (let next = first; !next.done; next = await chunks.next()) {
      observe?.(next.value);
      const behind = events.send(JSON.stringify(next.value));
      if (behind !== null) await behind;
    }
    active.signal.throwIfAborted();
  } catch (error) {
    if (active.isGone) return;
    state.logFault(error);
    events.send(JSON.stringify(errorEvent(toHttpError(error))));
  } finally {
    await chunks.return?.();
  }
  events.end('[DONE]');
}
