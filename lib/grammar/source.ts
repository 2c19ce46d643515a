/** Text of the grammar language: see csrc/grammar/grammar.h, which defines it. */
import { invalidRequest } from '../errors.js';
import {
  type CodePoints,
  complement,
  difference,
  lastCodePoint,
  surrogates,
} from './code-points.js';
import { beginWork } from './work.js';

/** Limits of one grammar; what native code takes is larger. */
export const maxSourceLength = 2_000_000;
export const maxRules = 50_000;

/**
 * Rules as they are collected. Expressions are texts: what `literal`, `characters`, `sequence` and `choice`
 * return can stand wherever an atom can.
 */
export class GrammarSource {
  /** Names the request field in errors. */
  readonly param: string;
  readonly #special: ReadonlyMap<string, number>;
  readonly #specialPattern: RegExp | null;
  readonly #rules = new Map<string, string>();
  readonly #shared = new Map<string, string>();
  #length = 0;

  /** @param special tokens that are matched as tokens, by their text, never by its bytes */
  constructor(param: string, special: ReadonlyMap<string, number> = new Map()) {
    this.param = param;
    beginWork(param);
    this.#special = special;
    const longestFirst = [...special.keys()].sort((a, b) => b.length - a.length);
    const escaped = longestFirst.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
    this.#specialPattern = escaped.length > 0 ? new RegExp(escaped.join('|'), 'g') : null;
  }

  /** A name that no rule has yet; the rule has to be defined by {@link define}. */
  name(hint: string): string {
    const plain = hint.replace(/[^A-Za-z0-9]+/g, '_').replace(/^(?=[^A-Za-z_]|$)/, 'r');
    const stem = plain.slice(0, 24);
    let name = stem;
    for (let i = this.#rules.size; this.#rules.has(name) || reserved.has(name); i++)
      name = `${stem}-${i}`;
    this.#rules.set(name, '');
    return name;
  }

  define(name: string, expression: string): void {
    this.#length += name.length + expression.length + 6;
    if (this.#length > maxSourceLength || this.#rules.size > maxRules)
      throw invalidRequest(
        `${this.param}: the form of the answer is too large: it takes more than ` +
          (this.#rules.size > maxRules
            ? `${maxRules} grammar rules.`
            : `${maxSourceLength} characters as a grammar.`) +
          ' Use fewer properties, smaller counts or a simpler pattern.',
        this.param,
      );
    this.#rules.set(name, expression);
  }

  rule(hint: string, expression: string): string {
    const name = this.name(hint);
    this.define(name, expression);
    return name;
  }

  /** A rule that is made once: `make` is called the first time that `key` is asked for. */
  shared(key: string, make: () => string): string {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const name = this.name(key);
    this.#shared.set(key, name);
    this.define(name, make());
    return name;
  }

  /** Exactly this text. Special tokens in it are tokens. */
  literal(text: string): string {
    if (/\p{Surrogate}/u.test(text))
      throw invalidRequest(
        `${this.param}: ${JSON.stringify(text)} has half of a surrogate pair, which no text can contain.`,
        this.param,
      );
    if (this.#specialPattern === null || text === '') return quote(text);
    const parts: string[] = [];
    let at = 0;
    for (const found of text.matchAll(this.#specialPattern)) {
      if (found.index > at) parts.push(quote(text.slice(at, found.index)));
      parts.push(`token(${this.#special.get(found[0])!})`);
      at = found.index + found[0].length;
    }
    if (at < text.length) parts.push(quote(text.slice(at)));
    return sequence(parts);
  }

  /** Exactly this text, by bytes: special tokens in it are only their spelling. */
  bytes(text: string): string {
    return quote(text);
  }

  /** Code points of a text; special tokens in it as 0x110000 and their id. */
  symbols(text: string): number[] {
    const out: number[] = [];
    const plain = (part: string) => out.push(...[...part].map((char) => char.codePointAt(0)!));
    let at = 0;
    for (const found of this.#specialPattern ? text.matchAll(this.#specialPattern) : []) {
      plain(text.slice(at, found.index));
      out.push(lastCodePoint + 1 + this.#special.get(found[0])!);
      at = found.index + found[0].length;
    }
    plain(text.slice(at));
    return out;
  }

  /** Every rule, that of `root` first. */
  text(root: string): string {
    const rules = [`root ::= ${root}\n`];
    for (const [name, expression] of this.#rules) rules.push(`${name} ::= ${expression}\n`);
    return rules.join('');
  }
}

const reserved = new Set(['root', 'token']);

/** Nothing can be matched: an alternative that never is. */
export const never = '[]';

export function sequence(parts: readonly string[]): string {
  const real = parts.filter((part) => part !== '""');
  if (real.includes(never)) return never;
  if (real.length === 0) return '""';
  return real.length === 1 ? real[0]! : `(${real.join(' ')})`;
}

export function choice(parts: readonly string[]): string {
  const real = [...new Set(parts)].filter((part) => part !== never);
  if (real.length === 0) return never;
  return real.length === 1 ? real[0]! : `(${real.join(' | ')})`;
}

/** @param most Infinity for any number */
export function repeat(part: string, least: number, most: number): string {
  if (most === 0) return '""';
  if (part === '""') return part;
  if (least === 1 && most === 1) return part;
  const atom = /[?*+}]$/.test(part) && !part.startsWith('(') ? `(${part})` : part;
  if (most === Infinity)
    return least === 0 ? `${atom}*` : least === 1 ? `${atom}+` : `${atom}{${least},}`;
  if (least === 0 && most === 1) return `${atom}?`;
  return least === most ? `${atom}{${least}}` : `${atom}{${least},${most}}`;
}

export function optional(part: string): string {
  return part === never ? '""' : repeat(part, 0, 1);
}

const shortEscapes = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  ['\\', '\\\\'],
]);

function escaped(char: string, also: string): string {
  const short = shortEscapes.get(char);
  if (short) return short;
  if (also.includes(char)) return `\\${char}`;
  const point = char.codePointAt(0)!;
  const isPlain = point >= 0x20 && point !== 0x7f && !/[\p{C}\p{Z}\p{M}]/u.test(char);
  return isPlain || char === ' ' ? char : `\\u{${point.toString(16)}}`;
}

function quote(text: string): string {
  return `"${[...text].map((char) => escaped(char, '"')).join('')}"`;
}

/** One code point of the set. */
export function characters(set: CodePoints): string {
  const valid = difference(set, surrogates);
  if (valid.length === 0) return never;
  if (valid.length === 1 && valid[0]![0] === valid[0]![1])
    return quote(String.fromCodePoint(valid[0]![0]));
  const rest = complement(set);
  const one = (point: number) => escaped(String.fromCodePoint(point), ']-^[');
  const range = ([low, high]: readonly [number, number]) =>
    low === high ? one(low) : high === low + 1 ? one(low) + one(high) : `${one(low)}-${one(high)}`;
  // Whichever is shorter; surrogates are in neither.
  if (rest.length <= valid.length && !rest.some(isSurrogate))
    return `[^${rest.map(range).join('')}]`;
  return `[${valid.map(range).join('')}]`;
}

function isSurrogate([low, high]: readonly [number, number]): boolean {
  return (low >= 0xd800 && low <= 0xdfff) || (high >= 0xd800 && high <= 0xdfff);
}
