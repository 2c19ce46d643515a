/** A regular expression as a list of instructions for many threads that go in step. */

import type { CodePoints } from '../grammar/code-points.js';
import { parseRegex, type Regex } from '../grammar/regex-tree.js';

export type Instruction =
  | { kind: 'read'; set: CodePoints; next: number }
  | { kind: 'split'; next: number; other: number }
  | { kind: 'assert'; assertion: '^' | '$' | 'b' | 'B'; next: number }
  | { kind: 'match' };

/** Instructions of one pattern; counted repetitions are written out. */
export const maxInstructions = 2000;
const maxPatternLength = 1000;

/**
 * JavaScript's syntax with the flag u, without what only backtracking can do: backreferences and lookaround.
 * Greedy and lazy are the same here, because the shortest match ends generation.
 */
export class RegexProgram {
  readonly pattern: string;
  readonly instructions: readonly Instruction[];

  /** @throws Error whose message says what is wrong with the pattern. */
  constructor(pattern: string) {
    if (pattern.length > maxPatternLength)
      throw new Error(
        `expected a pattern of at most ${maxPatternLength} characters, received ${pattern.length}.`,
      );
    let native: RegExp;
    try {
      native = new RegExp(pattern, 'u');
    } catch (error) {
      throw new Error(
        `expected a regular expression in JavaScript's syntax (flag u), received ${JSON.stringify(pattern)}: ` +
          `${(error as Error).message}.`,
      );
    }
    const tree = parseRegex(pattern, { boundaries: true });
    const instructions = compile(tree);
    // Only now: this pattern is known to be small and to need no backtracking on an empty text.
    if (native.test(''))
      throw new Error(
        `${JSON.stringify(pattern)} matches the empty text, so that it would end generation before it begins. ` +
          'Write one that needs at least one character.',
      );
    this.pattern = pattern;
    this.instructions = instructions;
  }
}

function compile(tree: Regex): Instruction[] {
  const list: Instruction[] = [];
  const add = <T extends Instruction>(instruction: T): T => {
    if (list.length >= maxInstructions)
      throw new Error(
        `the pattern is too large: its repetitions written out have more than ${maxInstructions} parts.`,
      );
    list.push(instruction);
    return instruction;
  };
  const assert = (assertion: '^' | '$' | 'b' | 'B') =>
    add({ kind: 'assert', assertion, next: list.length + 1 });
  let written = 0;
  /** Writes `node` so that it goes on at the instruction that comes next. */
  const write = (node: Regex): void => {
    // Repetitions of nothing add no instruction.
    if (++written > 10 * maxInstructions) throw new Error('the pattern repeats too much.');
    switch (node.kind) {
      case 'set':
        add({ kind: 'read', set: node.set, next: list.length + 1 });
        break;
      case 'start':
      case 'end':
        assert(node.kind === 'start' ? '^' : '$');
        break;
      case 'boundary':
        assert(node.not ? 'B' : 'b');
        break;
      case 'sequence':
        for (const part of node.parts) write(part);
        break;
      case 'choice':
        writeChoice(node.parts);
        break;
      case 'repeat':
        writeRepeat(node.part, node.least, node.most);
    }
  };
  const writeChoice = (parts: readonly Regex[]): void => {
    const ends: { next: number; other: number }[] = [];
    for (const part of parts.slice(0, -1)) {
      const split = add({ kind: 'split' as const, next: list.length + 1, other: 0 });
      write(part);
      ends.push(add({ kind: 'split' as const, next: 0, other: 0 }));
      split.other = list.length;
    }
    write(parts.at(-1)!);
    for (const end of ends) end.next = end.other = list.length;
  };
  const writeRepeat = (part: Regex, least: number, most: number): void => {
    if (least > maxInstructions || (most !== Infinity && most > maxInstructions))
      throw new Error(`a repetition of more than ${maxInstructions} times is too large.`);
    for (let i = 0; i < least; i++) write(part);
    if (most === Infinity) {
      const top = list.length;
      const split = add({ kind: 'split' as const, next: top + 1, other: 0 });
      write(part);
      add({ kind: 'split', next: top, other: top });
      split.other = list.length;
      return;
    }
    const splits = [];
    for (let i = least; i < most; i++) {
      splits.push(add({ kind: 'split' as const, next: list.length + 1, other: 0 }));
      write(part);
    }
    for (const split of splits) split.other = list.length;
  };
  write(tree);
  add({ kind: 'match' });
  return list;
}
