/** Automata of patterns. Anchors are edges that only the beginning or the end of a text takes. */
import { anyCodePoint, type CodePoints, contains } from './code-points.js';
import type { Regex } from './regex-tree.js';
import { spend } from './work.js';

/** A pattern, or several at once, makes more states than there may be. */
export class TooManyStates extends Error {
  constructor(readonly limit: number) {
    super(`more than ${limit} states`);
  }
}

const maxNfaStates = 60_000;

interface State {
  readonly empty: number[];
  /** Taken at the beginning of the text only, or at its end only. */
  readonly atStart: number[];
  readonly atEnd: number[];
  readonly reads: { set: CodePoints; to: number }[];
}

export class Nfa {
  readonly states: State[] = [];
  readonly start: number;
  readonly final: number;
  /** What follows matters no more: everything is matched from here. */
  readonly sink: number | null;

  /**
   * @param search the pattern may match anywhere in the text; else it has to match all of it
   * @throws TooManyStates
   */
  constructor(tree: Regex, search: boolean) {
    this.start = this.#add();
    let begin = this.start;
    if (search) {
      this.states[begin]!.reads.push({ set: anyCodePoint, to: begin });
      begin = this.#add();
      this.states[this.start]!.empty.push(begin);
    }
    this.final = this.#build(tree, begin);
    if (search) this.states[this.final]!.reads.push({ set: anyCodePoint, to: this.final });
    this.sink = search ? this.final : null;
  }

  /** States reachable without reading; sorted. */
  closure(from: Iterable<number>, atStart: boolean, atEnd: boolean): number[] {
    const seen = new Set<number>();
    const stack = [...from];
    while (stack.length > 0) {
      const at = stack.pop()!;
      if (seen.has(at)) continue;
      seen.add(at);
      const state = this.states[at]!;
      for (const to of state.empty) stack.push(to);
      if (atStart) for (const to of state.atStart) stack.push(to);
      if (atEnd) for (const to of state.atEnd) stack.push(to);
    }
    if (this.sink !== null && seen.has(this.sink)) return [this.sink];
    return [...seen].sort((a, b) => a - b);
  }

  accepts(states: Iterable<number>, atStart: boolean): boolean {
    return this.closure(states, atStart, true).includes(this.final);
  }

  matches(text: string): boolean {
    let states = this.closure([this.start], true, false);
    let atStart = true;
    for (const char of text) {
      const point = char.codePointAt(0)!;
      const next: number[] = [];
      for (const at of states)
        for (const { set, to } of this.states[at]!.reads) if (contains(set, point)) next.push(to);
      if (next.length === 0) return false;
      states = this.closure(next, false, false);
      atStart = false;
    }
    return this.accepts(states, atStart);
  }

  #add(): number {
    if (this.states.length >= maxNfaStates) throw new TooManyStates(maxNfaStates);
    spend(1);
    this.states.push({ empty: [], atStart: [], atEnd: [], reads: [] });
    return this.states.length - 1;
  }

  /** @returns where the text goes on behind `tree` */
  #build(tree: Regex, from: number): number {
    switch (tree.kind) {
      case 'set': {
        const to = this.#add();
        this.states[from]!.reads.push({ set: tree.set, to });
        return to;
      }
      case 'sequence': {
        let at = from;
        for (const part of tree.parts) at = this.#build(part, at);
        // The end of an empty one must be its own: loops lead back to it.
        return tree.parts.length === 0 ? this.#behind(from) : at;
      }
      case 'choice': {
        const to = this.#add();
        for (const part of tree.parts)
          this.states[this.#build(part, this.#behind(from))]!.empty.push(to);
        return to;
      }
      case 'repeat':
        return this.#repeat(tree, from);
      case 'start':
      case 'end': {
        const to = this.#add();
        this.states[from]![tree.kind === 'start' ? 'atStart' : 'atEnd'].push(to);
        return to;
      }
      case 'boundary':
        throw new Error('a word boundary has no automaton here: patterns with one are refused');
    }
  }

  #repeat(tree: Regex & { kind: 'repeat' }, from: number): number {
    let at = from;
    for (let i = 0; i < tree.least; i++) at = this.#build(tree.part, at);
    if (tree.most === Infinity) {
      const loop = this.#behind(at);
      this.states[this.#build(tree.part, this.#behind(loop))]!.empty.push(loop);
      return this.#behind(loop);
    }
    const to = this.#add();
    for (let i = tree.least; i < tree.most; i++) {
      this.states[at]!.empty.push(to);
      at = this.#build(tree.part, this.#behind(at));
    }
    this.states[at]!.empty.push(to);
    return to;
  }

  #behind(from: number): number {
    const to = this.#add();
    this.states[from]!.empty.push(to);
    return to;
  }
}
