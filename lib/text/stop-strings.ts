import { invalidRequest } from '../errors.js';

export interface StopResult {
  /** Text that may be shown: no stop string can begin in it any more. */
  text: string;
  /** The stop string that was found; null while none was. */
  matched: string | null;
}

export interface StopStringsOptions {
  /** Keeps the matched stop string at the end of the text. Default false. */
  include?: boolean;
}

/**
 * Looks for stop strings in a text that comes in pieces, and holds back the longest end that could still
 * become one. The match is the one that starts first; of those that start at the same place, the one given
 * first. However the text is cut, the result is that of a search in the whole text.
 */
export class StopStrings {
  readonly #stops: readonly string[];
  readonly #include: boolean;
  readonly #longest: number;
  #held = '';
  #matched: string | null = null;

  /** @throws EngineError (param `stop`) for an empty or ill-formed stop string. */
  constructor(stops: readonly string[], options: StopStringsOptions = {}) {
    stops.forEach((stop, index) => {
      if (stop === '')
        throw invalidRequest(
          'Expected a stop string of at least one character, received an empty string; leave it out.',
          `stop[${index}]`,
        );
      if (/\p{Surrogate}/u.test(stop))
        throw invalidRequest(
          `Expected well-formed text, received half a surrogate pair in ${JSON.stringify(stop)}, which never occurs in a text.`,
          `stop[${index}]`,
        );
    });
    this.#stops = stops;
    this.#include = options.include ?? false;
    this.#longest = Math.max(0, ...stops.map((stop) => stop.length));
  }

  /** Takes the next piece. After a match every call gives no text and the same match. */
  push(text: string): StopResult {
    if (this.#matched !== null) return { text: '', matched: this.#matched };
    if (this.#stops.length === 0) return { text, matched: null };
    const buffer = this.#held + text;

    const { at, stop } = this.#find(buffer);
    // A stop string that may still be completed and would then come before the match found (it starts
    // earlier, or there too but was given earlier) has to be waited for.
    for (
      let start = Math.max(0, buffer.length - this.#longest + 1);
      start < buffer.length;
      start++
    ) {
      if (start > at) break;
      const rest = buffer.length - start;
      const first = buffer.charCodeAt(start);
      for (let i = 0; i < this.#stops.length; i++) {
        if (start === at && i >= stop) break;
        const candidate = this.#stops[i]!;
        if (candidate.charCodeAt(0) !== first || candidate.length <= rest) continue;
        if (buffer.endsWith(candidate.slice(0, rest))) {
          this.#held = buffer.slice(start);
          return { text: buffer.slice(0, start), matched: null };
        }
      }
    }
    if (stop >= 0) return this.#match(buffer, at, stop);
    this.#held = '';
    return { text: buffer, matched: null };
  }

  /** The end of the text: what was held back, up to a stop string that was waiting for an earlier one. */
  flush(): StopResult {
    const buffer = this.#held;
    this.#held = '';
    if (this.#matched !== null) return { text: '', matched: this.#matched };
    const { at, stop } = this.#find(buffer);
    return stop >= 0 ? this.#match(buffer, at, stop) : { text: buffer, matched: null };
  }

  /** Text is being held back. */
  get holdsBack(): boolean {
    return this.#held !== '';
  }

  /** `at` is Infinity and `stop` -1 where there is none. */
  #find(buffer: string): { at: number; stop: number } {
    let at = Infinity;
    let stop = -1;
    for (let i = 0; i < this.#stops.length; i++) {
      const found = buffer.indexOf(this.#stops[i]!);
      if (found >= 0 && found < at) {
        at = found;
        stop = i;
      }
    }
    return { at, stop };
  }

  #match(buffer: string, at: number, stop: number): StopResult {
    const matched = this.#stops[stop]!;
    this.#matched = matched;
    this.#held = '';
    return {
      text: buffer.slice(0, this.#include ? at + matched.length : at),
      matched,
    };
  }
}
