/**
 * Regular expressions that end generation, matched as the text comes. They run on an automaton of their own
 * (all threads in step, one per instruction), so that the time per character is bounded by the pattern's size
 * whatever the text: no pattern can hang. JavaScript's RegExp is asked about the syntax.
 */
import { invalidRequest } from '../errors.js';
import { contains } from '../grammar/code-points.js';
import { type Instruction, maxInstructions, RegexProgram } from './regex-program.js';

/** Characters (UTF-16 units) that are held back while a match may be under way. */
export const maxHeldBack = 1024;

interface Thread {
  at: number;
  /** Where its match began, in UTF-16 units of the whole text. */
  start: number;
}

export interface RegexMatch {
  start: number;
  end: number;
  pattern: string;
}

/**
 * Looks for the first text that matches: it ends at the earliest character that completes a match, and begins at
 * the earliest place of those that end there. `$` is true at the end of what has come so far, that is after
 * every piece pushed; `\b` and `\B` wait for the character behind them.
 */
export class StopRegex {
  readonly pattern: string;
  readonly #program: readonly Instruction[];
  /** By rising start. Before their assertions are looked at, which need the next character. */
  #threads: Thread[] = [];
  /** Per instruction: the round in which a thread last came to it. */
  readonly #visited: Float64Array;
  #round = 0;
  #position = 0;
  #previous = '';

  /** @throws EngineError where the pattern is no expression, or one that this automaton has not. */
  constructor(program: RegexProgram) {
    this.pattern = program.pattern;
    this.#program = program.instructions;
    this.#visited = new Float64Array(this.#program.length);
  }

  /** Takes the next piece; null while nothing has matched. Not to be called after a match. */
  push(text: string): RegexMatch | null {
    for (const char of text) {
      const found = this.#step(char);
      if (found) return found;
    }
    return this.#settle(null, true);
  }

  /** The end of the text. */
  flush(): RegexMatch | null {
    return this.#settle('', true);
  }

  /** Where the earliest match that is under way began; the end of the text where there is none. */
  get pendingStart(): number {
    return this.#threads[0]?.start ?? this.#position;
  }

  /** Text before `position` has been shown: a match can no longer begin there. */
  forget(position: number): void {
    for (const thread of this.#threads) {
      if (thread.start >= position) break;
      thread.start = position;
    }
  }

  #step(char: string): RegexMatch | null {
    const next: Thread[] = [];
    const point = char.codePointAt(0)!;
    const found = this.#close(char, false, (instruction, start) => {
      if (contains(instruction.set, point)) next.push({ at: instruction.next, start });
    });
    if (found) return found;
    this.#threads = next;
    this.#position += char.length;
    this.#previous = char;
    return null;
  }

  #settle(next: string | null, atEnd: boolean): RegexMatch | null {
    return this.#close(next, atEnd, () => {});
  }

  /**
   * Follows all threads, and one that begins here, to the instructions that read a character.
   *
   * @param next the character behind, "" at the end of the text, null where it is not known yet
   */
  #close(
    next: string | null,
    atEnd: boolean,
    onRead: (instruction: Instruction & { kind: 'read' }, start: number) => void,
  ): RegexMatch | null {
    this.#round++;
    for (const { at, start } of this.#threads) {
      if (this.#follow(at, start, next, atEnd, onRead)) return this.#match(start);
    }
    const here = this.#position;
    return this.#follow(0, here, next, atEnd, onRead) ? this.#match(here) : null;
  }

  #follow(
    from: number,
    start: number,
    next: string | null,
    atEnd: boolean,
    onRead: (instruction: Instruction & { kind: 'read' }, start: number) => void,
  ): boolean {
    const open = [from];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (this.#visited[at] === this.#round) continue;
      this.#visited[at] = this.#round;
      const instruction = this.#program[at]!;
      if (instruction.kind === 'match') return true;
      if (instruction.kind === 'read') onRead(instruction, start);
      else if (instruction.kind === 'split') open.push(instruction.other, instruction.next);
      else if (this.#holds(instruction.assertion, next, atEnd)) open.push(instruction.next);
    }
    return false;
  }

  #holds(assertion: '^' | '$' | 'b' | 'B', next: string | null, atEnd: boolean): boolean {
    if (assertion === '^') return this.#position === 0;
    if (assertion === '$') return atEnd;
    if (next === null) return false;
    const boundary = isWord(this.#previous) !== isWord(next);
    return assertion === 'b' ? boundary : !boundary;
  }

  #match(start: number): RegexMatch {
    return { start, end: this.#position, pattern: this.pattern };
  }
}

function isWord(char: string): boolean {
  return /^\w$/.test(char);
}

/** A list of patterns, compiled once per request. @throws EngineError (param `stop_regex`). */
export function compileStopRegexes(patterns: readonly string[]): RegexProgram[] {
  let size = 0;
  return patterns.map((pattern, i) => {
    const param = patterns.length === 1 ? 'stop_regex' : `stop_regex[${i}]`;
    let program: RegexProgram;
    try {
      program = new RegexProgram(pattern);
    } catch (error) {
      throw invalidRequest(`${param}: ${(error as Error).message}`, param);
    }
    // Every one of them takes its time for every character.
    size += program.instructions.length;
    if (size > maxInstructions)
      throw invalidRequest(
        `stop_regex: the patterns together are too large, more than ${maxInstructions} parts up to ${param}.`,
        param,
      );
    return program;
  });
}
