/** Lines of a file that may be far larger than memory, with their places in it. */
import { createReadStream } from 'node:fs';
import { fileError } from '../report.js';

export interface Line {
  /** From 1. */
  number: number;
  bytes: Buffer;
  /** Byte offset of its first byte. */
  start: number;
  /** Whether a newline ends it: a last line without one may be half of a line. */
  ended: boolean;
}

const newline = 0x0a;

/** Throws CommandError where the file cannot be read. */
export async function* readLines(file: string): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let number = 1;
  let start = 0;
  const take = (ended: boolean): Line => {
    const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    const line = { number, bytes, start, ended };
    parts = [];
    number += 1;
    start += bytes.length + (ended ? 1 : 0);
    return line;
  };
  try {
    for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
      let from = 0;
      for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
        parts.push(chunk.subarray(from, at));
        yield take(true);
        from = at + 1;
      }
      if (from < chunk.length) parts.push(chunk.subarray(from));
    }
  } catch (error) {
    throw fileError('read', file, error);
  }
  if (parts.length > 0) yield take(false);
}

/** Spaces and carriage returns only. */
export function isBlank({ bytes }: Line): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09);
}

/** The JSON object of a line; throws an Error that says what else it is. */
export function parseLine({ bytes }: Line): Record<string, unknown> {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  const value: unknown = JSON.parse(text);
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new Error(
    `expected an object, received ${Array.isArray(value) ? 'an array' : text.slice(0, 20)}`,
  );
}
