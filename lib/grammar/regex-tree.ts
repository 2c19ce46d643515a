/** Regular expressions in JavaScript's syntax, as trees over code points. */
import {
  anyCodePoint,
  type CodePoints,
  codePoints,
  complement,
  digits,
  lineEnds,
  spaces,
  unicodeProperty,
  union,
  wordCharacters,
} from './code-points.js';

export type Regex =
  | { readonly kind: 'set'; readonly set: CodePoints }
  | { readonly kind: 'sequence'; readonly parts: readonly Regex[] }
  | { readonly kind: 'choice'; readonly parts: readonly Regex[] }
  | { readonly kind: 'repeat'; readonly part: Regex; readonly least: number; readonly most: number }
  /** ^ and $. */
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  /** \b, and \B with `not`: only where they are asked for. */
  | { readonly kind: 'boundary'; readonly not: boolean };

export const emptyRegex: Regex = { kind: 'sequence', parts: [] };

/** What is wrong with a pattern, and where (UTF-16 units). */
export class RegexFault extends Error {
  readonly position: number;

  constructor(message: string, position: number) {
    super(message);
    this.position = position;
  }
}

export const maxPatternLength = 20_000;
const maxDepth = 200;
const maxCount = 100_000;

export interface RegexOptions {
  /** Word boundaries are read too. Default false: they are refused. */
  boundaries?: boolean;
}

/**
 * Code points as with the flag u; escapes of punctuation and lone brackets are also taken where only the
 * older syntax takes them. Lazy quantifiers are greedy: what matches is the same. Groups do not capture.
 *
 * @throws RegexFault for what is not a pattern, and for lookaround, backreferences, flags, and word boundaries unless asked for
 */
export function parseRegex(pattern: string, options: RegexOptions = {}): Regex {
  if (pattern.length > maxPatternLength)
    throw new RegexFault(
      `the pattern has ${pattern.length} characters, more than ${maxPatternLength}`,
      maxPatternLength,
    );
  return new Parser(pattern, options).parse();
}

class Parser {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  readonly #boundaries: boolean;

  constructor(source: string, { boundaries = false }: RegexOptions) {
    this.#source = source;
    this.#boundaries = boundaries;
  }

  parse(): Regex {
    const tree = this.#choice();
    if (this.#at < this.#source.length) this.#fail('a ) without its (');
    return tree;
  }

  #fail(message: string, position = this.#at): never {
    throw new RegexFault(message, position);
  }

  #peek(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    if (found) this.#at += found[0].length;
    return found;
  }

  #choice(): Regex {
    if (++this.#depth > maxDepth) this.#fail(`groups are nested deeper than ${maxDepth}`);
    const parts = [this.#sequence()];
    while (this.#peek('|')) {
      this.#at++;
      parts.push(this.#sequence());
    }
    this.#depth--;
    return parts.length === 1 ? parts[0]! : { kind: 'choice', parts };
  }

  #sequence(): Regex {
    const parts: Regex[] = [];
    while (this.#at < this.#source.length && !this.#peek('|') && !this.#peek(')')) {
      const begin = this.#at;
      const part = this.#atom();
      parts.push(this.#repeated(part, begin));
    }
    return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts };
  }

  #repeated(part: Regex, begin: number): Regex {
    const position = this.#at;
    const found = this.#take(/(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/y);
    if (found === null) return part;
    if (part.kind === 'start' || part.kind === 'end' || part.kind === 'boundary')
      this.#fail('nothing to repeat', begin);
    const [, sign, low, comma, high] = found;
    let least = sign === '+' ? 1 : 0;
    let most = sign === '?' ? 1 : Infinity;
    if (sign === undefined) {
      least = Number(low);
      most = comma === '' ? least : high === '' ? Infinity : Number(high);
      if (most < least) this.#fail(`{${low},${high}} has its numbers out of order`, position);
      if (Math.max(least, most === Infinity ? 0 : most) > maxCount)
        this.#fail(`a repetition count above ${maxCount}`, position);
    }
    if (/[*+?]|\{\d+,?\d*\}/y.test(this.#source.slice(this.#at, this.#at + 40)))
      this.#fail('nothing to repeat: a quantifier behind a quantifier');
    return { kind: 'repeat', part, least, most };
  }

  #atom(): Regex {
    const position = this.#at;
    const char = String.fromCodePoint(this.#source.codePointAt(position)!);
    if (char === '(') return this.#group();
    if (char === '[') return { kind: 'set', set: this.#class() };
    const boundary = this.#boundaries && this.#take(/\\([bB])/y);
    if (boundary) return { kind: 'boundary', not: boundary[1] === 'B' };
    if (char === '\\') return { kind: 'set', set: this.#escape(false) };
    if ('*+?'.includes(char) || this.#take(/\{\d+,?\d*\}/y))
      this.#fail('nothing to repeat', position);
    this.#at += char.length;
    if (char === '^') return { kind: 'start' };
    if (char === '$') return { kind: 'end' };
    if (char === '.') return { kind: 'set', set: complement(lineEnds) };
    return { kind: 'set', set: only(char.codePointAt(0)!) };
  }

  #group(): Regex {
    const position = this.#at;
    const named = /\((?:\?(?::|P?<[\p{L}_$][\p{L}\p{N}_$]*>))?/uy;
    const opening = this.#take(named)![0];
    if (opening === '(' && this.#peek('?')) {
      const kind = /^\?(?:<?[=!]|[a-z-]*:?)/.exec(this.#source.slice(this.#at, this.#at + 16))?.[0];
      if (kind && /[=!]/.test(kind))
        this.#fail(`lookaround (${kind}...) is not supported`, position);
      this.#fail(`the group (${kind ?? '?'}...) is not supported`, position);
    }
    const inner = this.#choice();
    if (!this.#peek(')')) this.#fail('a ( without its )', position);
    this.#at++;
    return inner;
  }

  #class(): CodePoints {
    const position = this.#at++;
    const negated = this.#peek('^');
    if (negated) this.#at++;
    const ranges: CodePoints[] = [];
    while (!this.#peek(']')) {
      if (this.#at >= this.#source.length) this.#fail('a [ without its ]', position);
      const itemAt = this.#at;
      const low = this.#classItem();
      if (!this.#peek('-') || this.#source[this.#at + 1] === ']' || !this.#source[this.#at + 1]) {
        ranges.push(low);
        continue;
      }
      this.#at++;
      const high = this.#classItem();
      const [first, last] = [single(low), single(high)];
      if (first === null || last === null)
        this.#fail('a range needs one character on either side of its -', itemAt);
      if (last < first) this.#fail('a range whose end comes before its start', itemAt);
      ranges.push([[first, last]]);
    }
    this.#at++;
    const set = union(...ranges);
    return negated ? complement(set) : set;
  }

  #classItem(): CodePoints {
    if (this.#peek('\\')) return this.#escape(true);
    const point = this.#source.codePointAt(this.#at)!;
    this.#at += point > 0xffff ? 2 : 1;
    return only(point);
  }

  #escape(inClass: boolean): CodePoints {
    const position = this.#at++;
    const char = this.#source[this.#at];
    if (char === undefined) this.#fail('a \\ at the end', position);
    const numeric = this.#take(
      /(?:u\{([0-9a-fA-F]+)\}|u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|c([a-zA-Z])|0(?![0-9]))/y,
    );
    if (numeric) {
      const [whole, braced, lead, trail, four, two, control] = numeric;
      if (whole === '0') return only(0);
      if (control) return only(control.codePointAt(0)! % 32);
      if (lead)
        return only(
          0x10000 +
            ((Number.parseInt(lead, 16) - 0xd800) << 10) +
            Number.parseInt(trail!, 16) -
            0xdc00,
        );
      const point = Number.parseInt(braced ?? four ?? two!, 16);
      if (point > 0x10ffff) this.#fail(`\\${whole} is no code point`, position);
      return only(point);
    }
    const property = this.#take(/([pP])\{([\w=]+)\}/y);
    if (property) {
      const set = unicodeProperty(property[2]!);
      if (set === null) this.#fail(`no Unicode property is called ${property[2]}`, position);
      return property[1] === 'P' ? complement(set) : set;
    }
    this.#at += char.codePointAt(0)! >= 0xd800 && char.codePointAt(0)! <= 0xdbff ? 2 : 1;
    const set = classes.get(char);
    if (set) return set;
    const control = 'fnrtv'.indexOf(char);
    if (control >= 0) return only('\f\n\r\t\v'.codePointAt(control)!);
    if (inClass && char === 'b') return only(8);
    if (char === 'b' || char === 'B')
      this.#fail(`the word boundary \\${char} is not supported`, position);
    if (char === 'k' || /[1-9]/.test(char))
      this.#fail(`the backreference \\${char} is not supported`, position);
    if (/[A-Za-z0-9]/.test(char)) this.#fail(`unknown escape \\${char}`, position);
    return only(this.#source.codePointAt(position + 1)!);
  }
}

const classes = new Map<string, CodePoints>([
  ['d', digits],
  ['D', complement(digits)],
  ['w', wordCharacters],
  ['W', complement(wordCharacters)],
  ['s', spaces],
  ['S', complement(spaces)],
]);

function only(point: number): CodePoints {
  return codePoints([[point, point]]);
}

function single(set: CodePoints): number | null {
  return set.length === 1 && set[0]![0] === set[0]![1] ? set[0]![0] : null;
}

export const anyText: Regex = {
  kind: 'repeat',
  part: { kind: 'set', set: anyCodePoint },
  least: 0,
  most: Infinity,
};

/** The tree for exactly this text. */
export function textRegex(text: string): Regex {
  return {
    kind: 'sequence',
    parts: [...text].map((c) => ({ kind: 'set', set: only(c.codePointAt(0)!) })),
  };
}

/**
 * What a pattern matches as a whole, given that it may match anywhere in a text (`search`) or has to match
 * all of it. Null where an anchor stands in mid-pattern: then only an automaton tells.
 */
export function withoutAnchors(tree: Regex, search: boolean): Regex | null {
  const alternatives = tree.kind === 'choice' ? tree.parts : [tree];
  const parts: Regex[] = [];
  for (const alternative of alternatives) {
    let inner = alternative.kind === 'sequence' ? [...alternative.parts] : [alternative];
    const begins = inner[0]?.kind === 'start';
    if (begins) inner = inner.slice(1);
    const ends = inner.at(-1)?.kind === 'end';
    if (ends) inner = inner.slice(0, -1);
    if (inner.some(hasAnchor)) return null;
    if (search && !begins) inner.unshift(anyText);
    if (search && !ends) inner.push(anyText);
    parts.push(inner.length === 1 ? inner[0]! : { kind: 'sequence', parts: inner });
  }
  return parts.length === 1 ? parts[0]! : { kind: 'choice', parts };
}

function hasAnchor(tree: Regex): boolean {
  switch (tree.kind) {
    case 'set':
      return false;
    case 'repeat':
      return hasAnchor(tree.part);
    case 'sequence':
    case 'choice':
      return tree.parts.some(hasAnchor);
    default:
      return true;
  }
}

/** How many code points what it matches has; of trees without anchors. */
export function lengths(tree: Regex): { least: number; most: number } {
  switch (tree.kind) {
    case 'set':
      return { least: 1, most: 1 };
    case 'repeat': {
      const { least, most } = lengths(tree.part);
      return {
        least: least * tree.least,
        most: most === 0 || tree.most === 0 ? 0 : most * tree.most,
      };
    }
    case 'sequence': {
      const all = tree.parts.map(lengths);
      return { least: sum(all.map((l) => l.least)), most: sum(all.map((l) => l.most)) };
    }
    case 'choice': {
      const all = tree.parts.map(lengths);
      return {
        least: Math.min(...all.map((l) => l.least)),
        most: Math.max(...all.map((l) => l.most)),
      };
    }
    default:
      return { least: 0, most: 0 };
  }
}

function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
