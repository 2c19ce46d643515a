/** Answers what is missing, some requests at a time. */
import { randomBytes } from 'node:crypto';
import {
  type ChatCompletionRequestNonStreaming,
  type CompletionRequestNonStreaming,
  type Engine,
  EngineError,
  type Usage,
} from '../../index.js';
import { isAnswered, type Refusal, readTasks, type Task } from './input.js';
import { type Earlier, type Output, type ResultLine, resultLine } from './output.js';

export interface BatchOptions {
  /** Requests in flight. */
  concurrency: number;
  /** Ends the run: what is in flight is given up and stays missing. */
  signal: AbortSignal;
  /** Called for every line of the input, done now or earlier. */
  onLine: () => void;
}

export interface BatchSummary {
  succeeded: number;
  failed: number;
  /** Lines that an earlier run has answered. */
  skipped: number;
  generatedTokens: number;
  /** Whether the signal ended it. */
  interrupted: boolean;
}

type Answer = Omit<ResultLine, 'id'> & { usage?: Usage };

/**
 * Rejects where the engine or the output file fails, once nothing is in flight any more; the results so far are
 * in the file.
 */
export async function runBatch(
  engine: Engine,
  file: string,
  { output, earlier }: { output: Output; earlier: Earlier },
  { concurrency, signal, onLine }: BatchOptions,
): Promise<BatchSummary> {
  const summary: BatchSummary = {
    succeeded: 0,
    failed: 0,
    skipped: 0,
    generatedTokens: 0,
    interrupted: false,
  };
  const tasks = readTasks(file);
  const failure = new AbortController();
  const stop = AbortSignal.any([signal, failure.signal]);

  const handle = async (task: Task | Refusal) => {
    if (isAnswered(task, earlier)) {
      summary.skipped += 1;
      return;
    }
    const answer = task.kind === 'task' ? await answerTask(engine, task, stop) : refused(task);
    if (answer === null) return;
    const { usage, ...result } = answer;
    await output.add(resultLine(result));
    summary[result.response?.status_code === 200 ? 'succeeded' : 'failed'] += 1;
    summary.generatedTokens += usage?.completion_tokens ?? 0;
  };
  const work = async () => {
    try {
      while (!stop.aborted) {
        const { done, value } = await tasks.next();
        if (done) return;
        await handle(value);
        if (!stop.aborted) onLine();
      }
    } catch (error) {
      failure.abort(error);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  await tasks.return(undefined);
  if (failure.signal.aborted) throw failure.signal.reason;
  summary.interrupted = signal.aborted;
  return summary;
}

/** null: given up. Throws where no request can be answered any more. */
async function answerTask(engine: Engine, task: Task, signal: AbortSignal): Promise<Answer | null> {
  try {
    const body = await ask(engine, task, signal);
    return { ...answer(task, 200, body), usage: body.usage };
  } catch (error) {
    if (signal.aborted) return null;
    if (!EngineError.is(error))
      return {
        custom_id: task.customId,
        response: null,
        error: { code: 'internal_error', message: String(error) },
      };
    if (error.code === 'engine_failed' || error.code === 'engine_closed') throw error;
    const { message, type, param, code } = error;
    return answer(task, error.status, { error: { message, type, param, code } });
  }
}

function ask(engine: Engine, { method, url, body }: Task, signal: AbortSignal) {
  if (method !== 'POST')
    throw refusal(405, `method must be 'POST', got ${show(method)}.`, 'method');
  if (url !== '/v1/chat/completions' && url !== '/v1/completions')
    throw refusal(
      404,
      `url must be '/v1/chat/completions' or '/v1/completions', got ${show(url)}.`,
      'url',
    );
  if (typeof body === 'object' && body !== null && 'stream' in body && body.stream === true)
    throw refusal(400, 'A batch answers at once: leave stream out, got true.', 'body.stream');
  // The engine checks every field.
  return url === '/v1/completions'
    ? engine.completions(body as CompletionRequestNonStreaming, { signal })
    : engine.chatCompletions(body as ChatCompletionRequestNonStreaming, { signal });
}

function refusal(status: number, message: string, param: string): EngineError {
  const code = 'unsupported_value';
  return new EngineError(message, { status, type: 'invalid_request_error', code, param });
}

function answer({ customId }: Task, status: number, body: unknown): Answer {
  const request_id = `req_${randomBytes(12).toString('hex')}`;
  return {
    custom_id: customId,
    response: { status_code: status, request_id, body },
    error: null,
  };
}

function refused({ customId, code, message, line }: Refusal): Answer {
  return { custom_id: customId, response: null, error: { code, message, line } };
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 80);
}
