/** Stop strings and stop expressions together: what of a text may be shown, and where it ends. */
import type { RegexProgram } from './regex-program.js';
import { maxHeldBack, type RegexMatch, StopRegex } from './stop-regex.js';
import { StopStrings } from './stop-strings.js';

export interface StopFound {
  /** The stop string, or the pattern as it was given. */
  matched: string;
  /** The text that a pattern matched, as far as it was not shown yet; null for a stop string. */
  matchedText: string | null;
}

export interface Scanned {
  /** Text that may be shown. */
  text: string;
  found: StopFound | null;
}

export interface StopsOptions {
  stops: readonly string[];
  regexes: readonly RegexProgram[];
  /** Keeps what was found at the end of the text. Default false. */
  include?: boolean;
}

/**
 * Of strings and expressions that are found in one piece, the one that begins first wins, a string before an
 * expression. Text is held back while it may become either, for expressions at most {@link maxHeldBack} units of it: of
 * a longer match the beginning has been shown.
 */
export class Stops {
  readonly #strings: StopStrings;
  readonly #regexes: readonly StopRegex[];
  readonly #include: boolean;
  /** The text from `#shown` on; without expressions it is StopStrings that holds back. */
  #held = '';
  #shown = 0;
  /** Up to where the stop strings have let go. */
  #free = 0;
  #found: StopFound | null = null;

  /** @throws EngineError (param `stop`) for an empty or ill-formed stop string. */
  constructor({ stops, regexes, include = false }: StopsOptions) {
    this.#include = include;
    this.#regexes = regexes.map((program) => new StopRegex(program));
    this.#strings = new StopStrings(stops, { include: include && regexes.length === 0 });
  }

  /** Takes the text of the next token. After a match every call gives no text and the same match. */
  push(text: string): Scanned {
    if (this.#regexes.length === 0) return stringsOnly(this.#strings.push(text));
    return this.#scan(text, this.#strings.push(text), (regex) => regex.push(text));
  }

  /** The end of the text: what was held back. */
  flush(): Scanned {
    if (this.#regexes.length === 0) return stringsOnly(this.#strings.flush());
    return this.#scan('', this.#strings.flush(), (regex) => regex.flush(), true);
  }

  #scan(
    text: string,
    strings: ReturnType<StopStrings['push']>,
    look: (regex: StopRegex) => RegexMatch | null,
    atEnd = false,
  ): Scanned {
    if (this.#found) return { text: '', found: this.#found };
    this.#held += text;
    this.#free += strings.text.length;
    const end = this.#shown + this.#held.length;
    let best: RegexMatch | null = null;
    for (const regex of this.#regexes) {
      const match = look(regex);
      if (match && (best === null || match.start < best.start)) best = match;
    }
    if (strings.matched !== null && (best === null || this.#free <= best.start)) {
      const last = this.#include ? this.#free + strings.matched.length : this.#free;
      return this.#end(last, { matched: strings.matched, matchedText: null });
    }
    if (best !== null) {
      const matchedText = this.#held.slice(best.start - this.#shown, best.end - this.#shown);
      return this.#end(this.#include ? best.end : best.start, {
        matched: best.pattern,
        matchedText,
      });
    }
    if (atEnd) return { text: this.#show(end), found: null };
    const pending = Math.min(...this.#regexes.map((regex) => regex.pendingStart));
    const to = Math.min(this.#free, Math.max(pending, end - maxHeldBack));
    const shown = this.#show(to);
    for (const regex of this.#regexes) regex.forget(this.#shown);
    return { text: shown, found: null };
  }

  #end(last: number, found: StopFound): Scanned {
    this.#found = found;
    const text = this.#show(last);
    this.#held = '';
    return { text, found };
  }

  /** The text up to `to`, or to before the character that `to` would cut. */
  #show(to: number): string {
    let count = Math.max(0, to - this.#shown);
    if (/[\ud800-\udbff]/.test(this.#held[count - 1] ?? '')) count--;
    const text = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    this.#shown += count;
    return text;
  }
}

function stringsOnly({ text, matched }: ReturnType<StopStrings['push']>): Scanned {
  return { text, found: matched === null ? null : { matched, matchedText: null } };
}
