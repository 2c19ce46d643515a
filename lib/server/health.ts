/** GET /health: may requests be sent here? GET /health_generate: does the engine get on? */
import { HttpError, serverClosing } from './errors.js';
import type { ServerState } from './state.js';

/** How often a busy engine is looked at. */
const pollMs = 20;

export function healthy({ engine, requests }: ServerState): { status: 'ok' } {
  if (requests.closing) throw serverClosing();
  // Throws when the engine is closed.
  const { failure } = engine.stats();
  if (failure !== null) throw unhealthy('The engine failed and takes no requests: load it again.');
  return { status: 'ok' };
}

/** Generates one token. Where others are in its way, a token of theirs is as good. */
export async function healthGenerate(state: ServerState): Promise<{ status: 'ok' }> {
  healthy(state);
  const { engine, options } = state;
  const { healthTimeout } = options;
  const before = engine.stats().generatedTokens;
  const probe = new AbortController();
  let poll: NodeJS.Timeout | undefined;
  let deadline: NodeJS.Timeout | undefined;
  try {
    const body = { prompt: [0], max_tokens: 1, temperature: 0, ignore_eos: true };
    const own = engine.completions(body, { signal: probe.signal });
    const others = new Promise<void>((resolve, reject) => {
      poll = setInterval(() => {
        try {
          if (engine.stats().generatedTokens > before) resolve();
        } catch (error) {
          reject(error);
        }
      }, pollMs);
      deadline = setTimeout(
        () => reject(unhealthy(`The engine generated no token in ${healthTimeout} ms.`)),
        healthTimeout,
      );
    });
    await Promise.race([own, others]);
    return { status: 'ok' };
  } finally {
    clearInterval(poll);
    clearTimeout(deadline);
    probe.abort();
  }
}

function unhealthy(message: string): HttpError {
  return new HttpError(message, {
    status: 503,
    type: 'service_unavailable',
    code: 'engine_failed',
  });
}
