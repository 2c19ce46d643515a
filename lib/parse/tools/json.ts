import { accept, type Input, isSpace, matches, peek, type Reading, skipSpace } from './input.js';

/** Takes text as it comes. */
export type Write = (text: string) => void;

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const comma = 0x2c;

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what has to be escaped
const special = /["\\\u0000-\u001f]/g;

/** The inside of a JSON string; halves of surrogate pairs stay, so that pieces join to the whole. */
export function escapeJson(text: string): string {
  return text.replace(special, (char) => JSON.stringify(char).slice(1, -1));
}

/**
 * Copies one JSON value as it is written, without checking it. A raw control character in a string, which
 * JSON forbids and models write, becomes its escape. Stands before the value's first character.
 *
 * @param stop a marker that ends the value wherever it stands outside a string; it is not read
 * @returns false where the value was cut by `stop` or the end of the text
 */
export function* copyValue(input: Input, stop: string, write: Write): Reading<boolean> {
  let depth = 0;
  let inString = false;
  let escaped = false;
  /** The next character was looked at: it does not begin `stop`. */
  let cleared = false;
  for (;;) {
    const text = input.rest;
    let from = 0;
    let at = 0;
    let complete = false;
    let suspect = false;
    for (; at < text.length && !complete; at++) {
      const code = text.charCodeAt(at);
      if (inString) {
        if (code < 0x20) {
          write(text.slice(from, at) + escapeJson(text[at]!));
          from = at + 1;
        }
        if (escaped) escaped = false;
        else if (code === backslash) escaped = true;
        else if (code === quote) {
          inString = false;
          complete = depth === 0;
        }
        continue;
      }
      suspect = !cleared && code === stop.charCodeAt(0);
      cleared = false;
      if (suspect) break;
      const ends = code === closeBrace || code === closeBracket;
      if (depth === 0 && (ends || code === comma || isSpace(code))) {
        if (at > from) write(text.slice(from, at));
        input.take(at);
        return true;
      }
      if (code === quote) inString = true;
      else if (code === openBrace || code === openBracket) depth++;
      else if (ends) complete = --depth === 0;
    }
    if (at > from) write(text.slice(from, at));
    input.take(at);
    if (complete) return true;
    if (suspect) {
      if (yield* matches(input, stop)) return false;
      cleared = true;
    } else if (input.ended) return false;
    else yield;
  }
}

const escapes: Record<string, string> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** Reads a JSON string that begins with the next character, and decodes it piece by piece.
 * @returns false where the text ended first */
export function* decodeString(input: Input, write: Write): Reading<boolean> {
  input.take(1);
  for (;;) {
    const code = yield* peek(input);
    if (code < 0) return false;
    if (code === quote) {
      input.take(1);
      return true;
    }
    if (code === backslash) {
      while (input.length < 2 && !input.ended) yield;
      const isUnicode = input.length >= 2 && input.charCodeAt(1) === 0x75;
      while (isUnicode && input.length < 6 && !input.ended) yield;
      const hex = isUnicode ? /^[0-9a-f]{4}/i.exec(input.rest.slice(2, 6)) : null;
      if (hex) {
        input.take(6);
        write(String.fromCharCode(Number.parseInt(hex[0], 16)));
      } else {
        // An escape that JSON does not know stands for its character.
        const char = input.take(Math.min(2, input.length)).slice(1);
        write(escapes[char] ?? char);
      }
      continue;
    }
    let length = 0;
    while (length < input.length) {
      const next = input.charCodeAt(length);
      if (next === quote || next === backslash) break;
      length++;
    }
    write(input.take(length));
  }
}

/** A whole JSON string; null where none stands here or the text ended in it. */
export function* readString(input: Input): Reading<string | null> {
  if ((yield* peek(input)) !== quote) return null;
  let text = '';
  const closed = yield* decodeString(input, (piece) => {
    text += piece;
  });
  return closed ? text : null;
}

/**
 * Copies a call's arguments. Some models write them as a string that holds the JSON (so do the API's own
 * objects, which templates print): that string is decoded.
 *
 * @returns as {@link copyValue}; nothing is written for an empty string
 */
export function* copyArguments(input: Input, stop: string, write: Write): Reading<boolean> {
  if ((yield* peek(input)) !== quote) return yield* copyValue(input, stop, write);
  let lead = '';
  let kind: 'open' | 'json' | 'string' = 'open';
  const closed = yield* decodeString(input, (piece) => {
    if (kind === 'json') write(piece);
    else if (kind === 'string') write(escapeJson(piece));
    else {
      lead += piece;
      const start = lead.search(/[^ \n\r\t]/);
      if (start < 0) return;
      kind = lead[start] === '{' ? 'json' : 'string';
      write(kind === 'json' ? lead.slice(start) : `"${escapeJson(lead)}`);
    }
  });
  if (closed && (kind as string) === 'string') write('"');
  return closed;
}

/** Reads `:` or the like with the white space around it. */
export function* acceptSpaced(input: Input, text: string): Reading<boolean> {
  yield* skipSpace(input);
  const found = yield* accept(input, text);
  if (found) yield* skipSpace(input);
  return found;
}
