/**
 * Text that comes in pieces, read by generators: a reader that needs more than there is yields and goes on
 * with the next piece. What it decides depends on the characters alone, never on where they were cut.
 */

/** A step of a grammar; `yield` waits for the next piece or the end. */
export type Reading<T> = Generator<void, T, void>;

/** Longer names are no names: bounds what is held back for a call that never comes. */
const longestName = 256;

export class Input {
  #text = '';
  #at = 0;
  #ended = false;
  /** Where the mark lies in #text; -1 without one. */
  #markAt = -1;
  /** What was read since the mark and is no longer in #text. */
  #kept = '';

  push(text: string): void {
    if (this.#markAt >= 0) {
      this.#kept += this.#text.slice(this.#markAt, this.#at);
      this.#markAt = 0;
    }
    this.#text = this.#text.slice(this.#at) + text;
    this.#at = 0;
  }

  end(): void {
    this.#ended = true;
  }

  /** No more text will come; what is here may still be unread. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Everything is read, and no more will come. */
  get atEnd(): boolean {
    return this.#ended && this.#at === this.#text.length;
  }

  /** Characters that are here and unread. */
  get length(): number {
    return this.#text.length - this.#at;
  }

  get rest(): string {
    return this.#text.slice(this.#at);
  }

  charCodeAt(offset: number): number {
    return this.#text.charCodeAt(this.#at + offset);
  }

  startsWith(text: string, offset = 0): boolean {
    return this.#text.startsWith(text, this.#at + offset);
  }

  take(length: number): string {
    this.#at += length;
    return this.#text.slice(this.#at - length, this.#at);
  }

  /** Keeps what is read from here on, so that {@link unmark} can give it back. */
  mark(): void {
    this.#kept = '';
    this.#markAt = this.#at;
  }

  get marked(): boolean {
    return this.#markAt >= 0;
  }

  /** Ends the mark. @returns what was read since; empty without a mark */
  unmark(): string {
    if (this.#markAt < 0) return '';
    const text = this.#kept + this.#text.slice(this.#markAt, this.#at);
    this.#kept = '';
    this.#markAt = -1;
    return text;
  }
}

export function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

/** The next character's code, unread; -1 at the end. */
export function* peek(input: Input): Reading<number> {
  while (input.length === 0) {
    if (input.ended) return -1;
    yield;
  }
  return input.charCodeAt(0);
}

/** Whether `text` comes next, `offset` characters ahead. Reads nothing. */
export function* matches(input: Input, text: string, offset = 0): Reading<boolean> {
  for (;;) {
    const length = input.length - offset;
    if (length >= text.length || input.ended) return input.startsWith(text, offset);
    if (length > 0 && !input.startsWith(text.slice(0, length), offset)) return false;
    yield;
  }
}

/** Reads `text` if it comes next. */
export function* accept(input: Input, text: string): Reading<boolean> {
  const found = yield* matches(input, text);
  if (found) input.take(text.length);
  return found;
}

export function* skipSpace(input: Input): Reading<void> {
  for (;;) {
    let length = 0;
    while (length < input.length && isSpace(input.charCodeAt(length))) length++;
    input.take(length);
    if (input.length > 0 || input.ended) return;
    yield;
  }
}

/**
 * Reads a name up to the first of `ends`, which stays unread.
 *
 * @returns null where no name stands here: it is empty or too long, has a control character or a `<`
 * before any end, or the text ended. Nothing is read then.
 */
export function* readNameBefore(
  input: Input,
  ends: readonly string[],
): Reading<{ name: string; end: string } | null> {
  for (let length = 0; length <= longestName; length++) {
    while (input.length <= length) {
      if (input.ended) return null;
      yield;
    }
    for (const end of ends) {
      if (!(yield* matches(input, end, length))) continue;
      const name = input.rest.slice(0, length).trim();
      if (name === '') return null;
      input.take(length);
      return { name, end };
    }
    const code = input.charCodeAt(length);
    if (code < 0x20 || code === 0x3c) return null;
  }
  return null;
}

/** As {@link readNameBefore}, and reads the end too. */
export function* readName(input: Input, end: string): Reading<string | null> {
  const found = yield* readNameBefore(input, [end]);
  if (found) input.take(end.length);
  return found?.name ?? null;
}
