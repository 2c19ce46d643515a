/**
 * The field `ebnf`: grammars in the dialect of GBNF that llama.cpp and xgrammar read. Rules `name ::= expression`,
 * "literals" (or 'literals'), [classes], alternatives, groups, ? * + {n} {n,} {n,m}, # comments; `.` is any
 * character at all. Escapes are \n \r \t \b \f \v \a \e \0, \xHH, \uHHHH, \u{H...}, \UHHHHHHHH (code points), and
 * punctuation. `root` is where an answer begins.
 */
import { invalidRequest } from '../errors.js';
import {
  anyCodePoint,
  type CodePoints,
  codePoints,
  complement,
  digits,
  spaces,
  wordCharacters,
} from './code-points.js';
import { characters, choice, type GrammarSource, repeat, sequence } from './source.js';

export const maxEbnfLength = 1_000_000;
const maxDepth = 100;
const maxCount = 100_000;

/**
 * An expression for `root`, with the grammar's rules.
 *
 * @throws EngineError, status 400, with line, column and reason
 */
export function ebnfExpression(source: GrammarSource, grammar: string, param: string): string {
  return new Parser(source, grammar, param).parse();
}

interface Rule {
  readonly name: string;
  /** Where it is defined, or first used. */
  position: number;
  isDefined: boolean;
}

class Parser {
  readonly #rules = new Map<string, Rule>();
  #at = 0;

  constructor(
    private readonly source: GrammarSource,
    private readonly text: string,
    private readonly param: string,
  ) {}

  parse(): string {
    if (this.text.length > maxEbnfLength)
      this.#fail(`it has more than ${maxEbnfLength} characters`, maxEbnfLength);
    this.#blank();
    if (this.#atEnd) this.#fail('it is empty; expected rules such as root ::= "yes" | "no"');
    while (!this.#atEnd) this.#rule();
    for (const [name, rule] of this.#rules)
      if (!rule.isDefined) this.#fail(`the rule ${name} is used but not defined`, rule.position);
    const root = this.#rules.get('root');
    if (!root) this.#fail('there is no rule root, which is where a grammar begins', 0);
    return root.name;
  }

  #fail(reason: string, position = this.#at): never {
    const before = this.text.slice(0, position).split('\n');
    throw invalidRequest(
      `${this.param} is not a grammar: line ${before.length}, column ${before.at(-1)!.length + 1}: ${reason}.`,
      this.param,
    );
  }

  get #atEnd(): boolean {
    return this.#at >= this.text.length;
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text);
    if (found) this.#at += found[0].length;
    return found;
  }

  #peek(text: string): boolean {
    return this.text.startsWith(text, this.#at);
  }

  #blank(): void {
    this.#take(/(?:[ \t\r\n]+|#[^\n]*)*/y);
  }

  #found(): string {
    if (this.#atEnd) return 'the end';
    return JSON.stringify(String.fromCodePoint(this.text.codePointAt(this.#at)!));
  }

  #named(name: string, position: number): Rule {
    let rule = this.#rules.get(name);
    if (!rule) {
      rule = { name: this.source.name(name), position, isDefined: false };
      this.#rules.set(name, rule);
    }
    return rule;
  }

  #rule(): void {
    const position = this.#at;
    const name = this.#take(namePattern)?.[0];
    if (name === undefined) this.#fail(`expected a rule (name ::= ...), received ${this.#found()}`);
    this.#blank();
    if (!this.#take(/::=/y))
      this.#fail(`expected ::= behind the rule name ${name}, received ${this.#found()}`);
    const rule = this.#named(name, position);
    if (rule.isDefined) this.#fail(`the rule ${name} is defined twice`, position);
    rule.isDefined = true;
    this.source.define(rule.name, this.#choice(0));
    if (!this.#atEnd && !this.#atDefinition())
      this.#fail(`expected an expression or the next rule, received ${this.#found()}`);
  }

  #atDefinition(): boolean {
    const begin = this.#at;
    const isName = this.#take(namePattern) !== null;
    this.#blank();
    const isRule = isName && this.#peek('::=');
    this.#at = begin;
    return isRule;
  }

  #choice(depth: number): string {
    if (depth > maxDepth) this.#fail(`groups are nested deeper than ${maxDepth}`);
    const parts = [this.#sequence(depth)];
    for (this.#blank(); this.#take(/\|/y); this.#blank()) parts.push(this.#sequence(depth));
    return choice(parts);
  }

  #sequence(depth: number): string {
    const parts: string[] = [];
    for (this.#blank(); ; this.#blank()) {
      const atom = this.#atom(depth);
      if (atom === null) break;
      parts.push(this.#repeated(atom));
    }
    // Nothing before | or ) or the next rule is the empty text, as in llama.cpp.
    return sequence(parts);
  }

  #atom(depth: number): string | null {
    const position = this.#at;
    if (this.#peek('"') || this.#peek("'")) return this.#literal();
    if (this.#peek('[')) return this.#class();
    if (this.#take(/\./y)) return characters(anyCodePoint);
    if (this.#take(/\((?!=)/y)) {
      const inner = this.#choice(depth + 1);
      if (!this.#take(/\)/y)) this.#fail(`expected ) for this (`, position);
      return inner;
    }
    if (this.#peek('(=')) this.#fail('lookahead (= ...) is not supported');
    if (this.#atDefinition()) return null;
    const name = this.#take(namePattern)?.[0];
    if (name === undefined) return null;
    if (this.#peek('('))
      this.#fail(`${name}(...) is not supported; only rules can be named`, position);
    return this.#named(name, position).name;
  }

  #repeated(atom: string): string {
    let expression = atom;
    for (this.#blank(); ; this.#blank()) {
      const position = this.#at;
      const sign = this.#take(/[?*+]/y)?.[0];
      if (sign) {
        expression = repeat(expression, sign === '+' ? 1 : 0, sign === '?' ? 1 : Infinity);
        continue;
      }
      if (!this.#peek('{')) return expression;
      const found = this.#take(/\{\s*(\d+)\s*(,?)\s*(\d*)\s*\}/y);
      if (!found) this.#fail('expected {n}, {n,} or {n,m}');
      const least = Number(found[1]);
      const most = found[2] === '' ? least : found[3] === '' ? Infinity : Number(found[3]);
      if (found[2] === '' && found[3] !== '') this.#fail('expected {n}, {n,} or {n,m}', position);
      if (most < least) this.#fail('the second number of a repetition is the smaller', position);
      if (Math.max(least, most === Infinity ? 0 : most) > maxCount)
        this.#fail(`a repetition count above ${maxCount}`, position);
      expression = repeat(expression, least, most);
    }
  }

  #literal(): string {
    const position = this.#at;
    const end = this.text[this.#at++]!;
    let out = '';
    while (!this.#peek(end)) {
      if (this.#atEnd || this.#peek('\n')) this.#fail('a literal that does not end', position);
      out += String.fromCodePoint(this.#character());
    }
    this.#at++;
    if (/\p{Surrogate}/u.test(out))
      this.#fail('half of a surrogate pair, which no text can contain', position);
    return this.source.bytes(out);
  }

  #class(): string {
    const position = this.#at++;
    const negated = this.#take(/\^/y) !== null;
    const ranges: (readonly [number, number])[] = [];
    while (!this.#peek(']')) {
      if (this.#atEnd || this.#peek('\n')) this.#fail('a class [ that does not end', position);
      const itemAt = this.#at;
      const known = this.#take(/\\([dwsDWS])/y);
      if (known) {
        ranges.push(...classes[known[1]!]!);
        continue;
      }
      const low = this.#character();
      let high = low;
      if (this.#take(/-(?!\])/y)) {
        if (this.#take(/\\[dwsDWS]/y)) this.#fail('a range that ends with a class', itemAt);
        high = this.#character();
      }
      if (high < low) this.#fail('a range whose end comes before its start', itemAt);
      ranges.push([low, high]);
    }
    this.#at++;
    const set = codePoints(ranges);
    if (set.length === 0 && !negated)
      this.#fail('an empty class [], which nothing matches', position);
    return characters(negated ? complement(set) : set);
  }

  #character(): number {
    const position = this.#at;
    if (!this.#take(/\\/y)) {
      const point = this.text.codePointAt(this.#at)!;
      this.#at += point > 0xffff ? 2 : 1;
      return point;
    }
    const pair = this.#take(/u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/y);
    if (pair) return JSON.parse(`"\\u${pair[1]}\\u${pair[2]}"`).codePointAt(0);
    const coded = this.#take(
      /(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|U([0-9a-fA-F]{8}))/y,
    );
    if (coded) {
      const point = Number.parseInt(coded[1] ?? coded[2] ?? coded[3] ?? coded[4]!, 16);
      if (point > 0x10ffff) this.#fail('no code point is that large', position);
      return point;
    }
    const char = this.text[this.#at];
    if (char === undefined) this.#fail('an escape at the end', position);
    this.#at++;
    const at = 'nrtbfvae0'.indexOf(char);
    if (at >= 0) return '\n\r\t\b\f\v\x07\x1b\0'.charCodeAt(at);
    if (!/[!-/:-@[-`{-~ ]/.test(char)) this.#fail(`unknown escape \\${char}`, position);
    return char.charCodeAt(0);
  }
}

const namePattern = /[A-Za-z_][A-Za-z0-9_.-]*/y;

const classes: Readonly<Record<string, CodePoints>> = {
  d: digits,
  D: complement(digits),
  w: wordCharacters,
  W: complement(wordCharacters),
  s: spaces,
  S: complement(spaces),
};
