import { expect } from 'vitest';
import type { MessageEvent, MessageParser } from '../../lib/parse/types.js';

/** Events as a response shows them: text of one kind joined where it is adjacent, arguments per call. */
export interface Parsed {
  events: MessageEvent[];
  reasoning: string;
  content: string;
  reasoningEnd: number | null;
}

export function parse(parser: MessageParser, chunks: readonly string[]): Parsed {
  const events: MessageEvent[] = [];
  const take = (more: MessageEvent[]) => {
    for (const event of more) {
      const last = events.at(-1);
      const sameCall = !(last && 'index' in last && 'index' in event) || last.index === event.index;
      if (last?.type === event.type && 'text' in last && 'text' in event && sameCall)
        last.text += event.text;
      else events.push({ ...event });
    }
  };
  for (const chunk of chunks) take(parser.push(chunk));
  take(parser.flush());
  // No matcher: this runs a hundred thousand times.
  if (parser.flush().length > 0) throw new Error('the second flush gave something');
  const textOf = (type: string) =>
    events.map((event) => (event.type === type && 'text' in event ? event.text : '')).join('');
  return {
    events,
    reasoning: textOf('reasoning'),
    content: textOf('content'),
    reasoningEnd: parser.reasoningEnd,
  };
}

/** Every way to cut a text of at most 15 characters into pieces. */
export function* allCuts(text: string): Generator<string[]> {
  const places = Math.max(0, text.length - 1);
  if (places > 14) throw new Error(`too long for all cuts: ${text.length}`);
  for (let bits = 0; bits < 1 << places; bits++) {
    const chunks: string[] = [];
    let from = 0;
    for (let i = 0; i < places; i++) {
      if (!(bits & (1 << i))) continue;
      chunks.push(text.slice(from, i + 1));
      from = i + 1;
    }
    chunks.push(text.slice(from));
    yield chunks;
  }
}

/** Numbers in [0, 1) that are the same in every run. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export const pick = <T>(values: readonly T[], next: () => number): T =>
  values[Math.floor(next() * values.length)]!;

/** One way to cut; empty pieces are among them. */
function randomCut(text: string, next: () => number): string[] {
  const chunks: string[] = [];
  const longest = 1 + Math.floor(next() * 12);
  for (let at = 0; at < text.length; ) {
    const length = Math.floor(next() * (longest + 1));
    chunks.push(text.slice(at, at + length));
    at += length;
  }
  return chunks;
}

/** Fails unless every way to cut `text` that `cuts` gives parses as the whole does; returns their number. */
export function expectSame(
  parser: () => MessageParser,
  text: string,
  cuts: Iterable<readonly string[]>,
): number {
  const whole = JSON.stringify(parse(parser(), [text]));
  let count = 0;
  for (const chunks of cuts) {
    const cut = JSON.stringify(parse(parser(), chunks));
    // A matcher for each of a hundred thousand cuts would take most of the time.
    if (cut !== whole) expect({ chunks, cut }).toEqual({ chunks, cut: whole });
    count++;
  }
  return count;
}

/** One character at a time, and `count` other ways. */
export function* someCuts(text: string, count: number, next: () => number): Generator<string[]> {
  yield [...text];
  for (let i = 0; i < count; i++) yield randomCut(text, next);
}
