/** Shared by the request-errors tests: a request that must be refused, and what the refusal says. */
import { expect, test } from 'vitest';
import type { EngineError } from '../../lib/errors.js';
import type { Fake } from './fake-engine.js';

export type Body = Record<string, unknown>;
export type Case = [body: Body, param: string | null, code: string, message: string | RegExp];

export const user = { role: 'user', content: 'hi' };

export async function refused(call: PromiseLike<unknown>): Promise<EngineError> {
  const error = await call.then(
    () => undefined,
    (e) => e,
  );
  expect(error).toMatchObject({ name: 'EngineError', status: 400, type: 'invalid_request_error' });
  return error as EngineError;
}

export function asking(fake: () => Fake) {
  return {
    chat: (body: Body) =>
      refused(fake().engine.chatCompletions({ messages: [user], ...body } as never)),
    complete: (body: Body) =>
      refused(fake().engine.completions({ prompt: 'hi', ...body } as never)),
  };
}

export function cases(rows: Case[], ask: (body: Body) => Promise<EngineError>) {
  test.each(rows)('%j', async (body, param, code, message) => {
    const error = await ask(body);
    expect(error.param).toBe(param);
    expect(error.code).toBe(code);
    if (typeof message === 'string') expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
  });
}
