/** What a command has of the outside world. main.ts passes the process's own, tests pass theirs. */
import type { Readable } from 'node:stream';
import type { Engine, LoadOptions } from '../index.js';

export type Input = Readable & { isTTY?: boolean };
export type Output = NodeJS.WritableStream & { isTTY?: boolean };

export interface Context {
  input: Input;
  /** Results, and nothing else. */
  out: Output;
  /** Progress, notes and errors. */
  err: Output;
  env: Record<string, string | undefined>;
  load(model: string, options: LoadOptions): Promise<Engine>;
  /** Takes SIGINT and SIGTERM over until the function that it returns is called. */
  onSignal(listener: (signal: 'SIGINT' | 'SIGTERM') => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** What the process ends with. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** The command line itself is at fault: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Something failed for a reason that the message says in full: exit code 1, no stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** Whether a stream gets colours: a terminal does, unless NO_COLOR (https://no-color.org) or TERM say no. */
export function hasColours(out: Output, env: Context['env']): boolean {
  return out.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
}

/** Resolves once the stream has taken the text, so that nothing piles up behind a slow reader. */
export function write(out: Output, text: string): Promise<void> {
  if (text === '') return Promise.resolve();
  return new Promise((resolve) => {
    out.write(text, () => resolve());
  });
}

/** All of a stream as UTF-8. */
export async function readAll(input: Input): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of input) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
