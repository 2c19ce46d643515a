/** A regular expression as a list of instructions for many threads that go in step. */

export type Instruction =
  | { kind: 'read'; accepts: (char: string) => boolean; next: number }
  | { kind: 'split'; next: number; other: number }
  | { kind: 'assert'; assertion: '^' | '$' | 'b' | 'B'; next: number }
  | { kind: 'match' };

/** Instructions of one pattern; counted repetitions are written out. */
export const maxInstructions = 2000;
const maxPatternLength = 1000;
const maxDepth = 100;

type Node =
  | { kind: 'read'; accepts: (char: string) => boolean }
  | { kind: 'assert'; assertion: '^' | '$' | 'b' | 'B' }
  | { kind: 'sequence'; parts: Node[] }
  | { kind: 'choice'; parts: Node[] }
  | { kind: 'repeat'; part: Node; least: number; most: number };

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
    const tree = new PatternParser(pattern).parse();
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

/** Reads a pattern that RegExp has accepted. */
class PatternParser {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): Node {
    return this.#choice();
  }

  #choice(): Node {
    if (++this.#depth > maxDepth) throw new Error(`groups are nested deeper than ${maxDepth}.`);
    const parts = [this.#sequence()];
    while (this.#source[this.#at] === '|') {
      this.#at++;
      parts.push(this.#sequence());
    }
    this.#depth--;
    return parts.length === 1 ? parts[0]! : { kind: 'choice', parts };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    while (this.#at < this.#source.length && !'|)'.includes(this.#source[this.#at]!))
      parts.push(this.#repeated(this.#atom()));
    return { kind: 'sequence', parts };
  }

  #repeated(part: Node): Node {
    const match = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/.exec(this.#source.slice(this.#at));
    if (match === null) return part;
    this.#at += match[0].length;
    const [, sign, low, comma, high] = match;
    if (sign !== undefined) {
      const least = sign === '+' ? 1 : 0;
      return { kind: 'repeat', part, least, most: sign === '?' ? 1 : Infinity };
    }
    const least = Number(low);
    const most = comma === '' ? least : high === '' ? Infinity : Number(high);
    return { kind: 'repeat', part, least, most };
  }

  #atom(): Node {
    const source = this.#source;
    const char = String.fromCodePoint(source.codePointAt(this.#at)!);
    if (char === '(') return this.#group();
    if (char === '[') return this.#single(classEnd(source, this.#at));
    if (char === '\\') return this.#escape();
    this.#at += char.length;
    if (char === '^' || char === '$') return { kind: 'assert', assertion: char };
    if (char === '.') return { kind: 'read', accepts: (c) => !/[\n\r\u2028\u2029]/.test(c) };
    return { kind: 'read', accepts: (c) => c === char };
  }

  #group(): Node {
    const opening = /^\((\?(:|<[^=!>][^>]*>|.{1,2}))?/u.exec(this.#source.slice(this.#at))!;
    const kind = opening[2] ?? '';
    if (kind !== '' && kind !== ':' && !kind.endsWith('>'))
      throw new Error(
        `the group "(?${kind}" is not supported: lookaround and modifiers cannot be matched while the text comes.`,
      );
    this.#at += opening[0].length;
    const inner = this.#choice();
    this.#at++;
    return inner;
  }

  #escape(): Node {
    const rest = this.#source.slice(this.#at);
    const second = rest[1]!;
    if (second === 'b' || second === 'B') {
      this.#at += 2;
      return { kind: 'assert', assertion: second };
    }
    if (second === 'k' || /^[1-9]/.test(second))
      throw new Error(
        `the backreference "\\${second}" is not supported: it cannot be matched while the text comes.`,
      );
    const whole =
      /^\\(?:u\{[^}]*\}|u[dD][89abAB]..\\u[dD][c-fC-F]..|u....|x..|c.|[pP]\{[^}]*\}|.)/u.exec(
        rest,
      )!;
    return this.#single(this.#at + whole[0].length);
  }

  /** A class or an escape up to `end`, which stands for one character: RegExp knows which. */
  #single(end: number): Node {
    const test = new RegExp(`^${this.#source.slice(this.#at, end)}$`, 'u');
    this.#at = end;
    const known = new Map<string, boolean>();
    const accepts = (char: string) => {
      let answer = known.get(char);
      if (answer === undefined) {
        if (known.size > 4096) known.clear();
        answer = test.test(char);
        known.set(char, answer);
      }
      return answer;
    };
    return { kind: 'read', accepts };
  }
}

function classEnd(source: string, start: number): number {
  let at = start + 1;
  while (source[at] !== ']') at += source[at] === '\\' ? 2 : 1;
  return at + 1;
}

function compile(tree: Node): Instruction[] {
  const list: Instruction[] = [];
  const add = <T extends Instruction>(instruction: T): T => {
    if (list.length >= maxInstructions)
      throw new Error(
        `the pattern is too large: its repetitions written out have more than ${maxInstructions} parts.`,
      );
    list.push(instruction);
    return instruction;
  };
  let written = 0;
  /** Writes `node` so that it goes on at the instruction that comes next. */
  const write = (node: Node): void => {
    // Repetitions of nothing add no instruction.
    if (++written > 10 * maxInstructions) throw new Error('the pattern repeats too much.');
    switch (node.kind) {
      case 'read':
        add({ kind: 'read', accepts: node.accepts, next: list.length + 1 });
        break;
      case 'assert':
        add({ kind: 'assert', assertion: node.assertion, next: list.length + 1 });
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
  const writeChoice = (parts: Node[]): void => {
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
  const writeRepeat = (part: Node, least: number, most: number): void => {
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
