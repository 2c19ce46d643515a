import { randomBytes } from 'node:crypto';
import { findTag, holdBackFrom } from '../holdback.js';
import { MessageEvents } from '../reasoning/events.js';
import type { MessageEvent, MessageParser } from '../types.js';
import { Input, isSpace, type Reading } from './input.js';

/** A tool as the request declares it. */
export interface ToolDeclaration {
  name: string;
  /** JSON Schema of the arguments; says how formats that write values as bare text are to be read. */
  parameters?: unknown;
}

export interface ToolParserOptions {
  /** The request's tools. Default none: bare values are strings then. */
  declaredTools?: readonly ToolDeclaration[];
  /** `parallel_tool_calls`: false makes one call at most; what follows it stays text. Default true. */
  parallel?: boolean;
  /** Tool calls in the conversation so far: where Kimi's ids go on counting. Default 0. */
  callsBefore?: number;
  /** Makes the id of a call. Default: random, in the format's own form. */
  newId?: () => string;
}

export const newCallId = (): string => `call_${randomBytes(12).toString('hex')}`;

/**
 * Takes tool calls out of a text. A format says what a block of calls looks like; what is common to all is
 * here: the text between blocks, ids, and giving back as content what turned out to be no call.
 *
 * White space before a call, between calls and after the last belongs to the format; the rest of the text
 * around calls is content, character by character. A call that has begun stays a call: if its text breaks
 * off, so do its arguments. Names are passed on as they are written, known or not: the caller decides.
 */
export abstract class ToolParser implements MessageParser {
  readonly reasoningEnd = 0;

  protected readonly input = new Input();
  protected readonly declaredTools: readonly ToolDeclaration[];
  protected readonly callsBefore: number;
  readonly #openings: readonly string[];
  readonly #limit: number;
  readonly #newId: () => string;
  readonly #reading: Reading<void>;
  readonly #events = new MessageEvents(true);
  #calls = 0;
  #hasArguments = false;
  /** White space after the last text: content only if text follows. */
  #space = '';
  /** Nothing but white space came since the last call. */
  #afterCall = false;

  /** @param openings texts that begin a block of calls */
  constructor(openings: readonly string[], options: ToolParserOptions) {
    this.#openings = openings;
    this.declaredTools = options.declaredTools ?? [];
    this.callsBefore = options.callsBefore ?? 0;
    this.#limit = options.parallel === false ? 1 : Infinity;
    this.#newId = options.newId ?? (() => this.randomId());
    this.#reading = this.#read();
  }

  push(text: string): MessageEvent[] {
    if (this.input.ended) throw new Error('push after flush');
    if (text !== '') {
      this.input.push(text);
      this.#reading.next();
    }
    return this.#events.take();
  }

  flush(): MessageEvent[] {
    this.input.end();
    this.#reading.next();
    return this.#events.take();
  }

  /**
   * A block of calls, after its opening. Returns at its end, having called {@link done}, or where the text
   * is not what the format has: what was read since the last call (or the opening) is content then.
   */
  protected abstract block(opening: string): Reading<void>;

  /** What may stand at the very beginning without an opening. */
  protected *start(): Reading<void> {}

  protected randomId(): string {
    return newCallId();
  }

  /** Calls so far. */
  protected get calls(): number {
    return this.#calls;
  }

  /** No further call may begin. */
  protected get full(): boolean {
    return this.#calls >= this.#limit;
  }

  /** From here on it is a call. */
  protected begin(name: string, id: string = this.#newId()): void {
    this.done();
    this.#hasArguments = false;
    this.#events.toolCall(this.#calls++, id, name);
  }

  protected readonly arguments = (text: string): void => {
    if (text === '') return;
    this.#hasArguments = true;
    this.#events.toolArguments(this.#calls - 1, text);
  };

  /**
   * The call's arguments are over. Without any it has none, which is `{}`, unless the text broke off.
   * What is read from here on is content if it does not belong to the format after all.
   */
  protected endCall(): void {
    if (!this.#hasArguments && !this.input.atEnd) this.arguments('{}');
    if (!this.input.marked) this.input.mark();
  }

  /** What was read belongs to the format. */
  protected done(): void {
    this.input.unmark();
    this.#space = '';
    this.#afterCall = true;
  }

  *#read(): Reading<void> {
    this.input.mark();
    yield* this.start();
    this.#giveBack();
    for (;;) {
      const opening = yield* this.#content();
      if (opening === null) break;
      this.input.mark();
      this.input.take(opening.length);
      yield* this.block(opening);
      this.#giveBack();
    }
    if (!this.#afterCall) this.#events.content(this.#space);
  }

  #giveBack(): void {
    this.#text(this.input.unmark());
  }

  /** Content up to the next opening, which is not read; null at the end. */
  *#content(): Reading<string | null> {
    const { input } = this;
    for (;;) {
      const openings = this.full ? [] : this.#openings;
      const text = input.rest;
      const found = findTag(text, openings);
      const certain = input.ended ? text.length : holdBackFrom(text, openings);
      this.#text(input.take(found ? found.at : certain));
      if (found || input.ended) return found?.tag ?? null;
      yield;
    }
  }

  #text(text: string): void {
    let end = text.length;
    while (end > 0 && isSpace(text.charCodeAt(end - 1))) end--;
    if (end === 0) this.#space += text;
    else {
      this.#events.content(this.#space + text.slice(0, end));
      this.#space = text.slice(end);
      this.#afterCall = false;
    }
  }
}
