/** The field regex against RegExp. */
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { contains, unicodeProperty } from '../../lib/grammar/code-points.js';
import { determinised } from '../../lib/grammar/dfa.js';
import { Nfa } from '../../lib/grammar/nfa.js';
import { regexExpression } from '../../lib/grammar/regex.js';
import { parseRegex } from '../../lib/grammar/regex-tree.js';
import { GrammarSource } from '../../lib/grammar/source.js';
import { plainSpelling, writeLanguage } from '../../lib/grammar/write.js';
import { Recogniser, randomNumbers } from './grammar-recogniser.js';

function recogniserOf(pattern: string): Recogniser {
  const source = new GrammarSource('regex');
  return new Recogniser(source.text(regexExpression(source, pattern, 'regex')));
}

/** pattern -> texts to compare RegExp and grammar by. */
const table: [string, string[]][] = [
  ['abc', ['abc', 'ab', 'abcd', '']],
  ['a|bc|', ['a', 'bc', '', 'b']],
  ['(?:ab){2,3}', ['ab', 'abab', 'ababab', 'abababab']],
  ['a{3}', ['aa', 'aaa', 'aaaa']],
  ['a{2,}', ['a', 'aa', 'aaaaaa']],
  ['a*?b+?c??', ['b', 'aabbc', 'c']],
  ['[a-c-]+', ['a-c', 'd', '-']],
  ['[^a-c]', ['a', 'd', '\n', '😀', 'ab']],
  ['[]', ['', 'a']],
  ['[^]', ['a', '\n', '']],
  ['.', ['a', '\n', '\r', '\u2028', 'é', '😀']],
  ['\\d+\\D', ['1a', '12', 'a1']],
  ['\\w\\W', ['a ', '_-', 'é!']],
  ['\\s\\S', [' a', '\u00a0b', '\u3000c', 'ab']],
  ['[\\d\\-\\]\\\\^]+', ['1-]\\^', 'a']],
  ['\\x41\\u0042\\u{1F600}\\uD83D\\uDE00', ['AB😀😀', 'AB😀']],
  ['\\n\\r\\t\\f\\v\\0\\cA', ['\n\r\t\f\v\0\u0001', 'n']],
  ['[\\b]', ['\b', 'b']],
  ['\\p{Lu}\\p{Script=Greek}\\P{L}', ['Aα1', 'aα1', 'Aαa', 'Éω ']],
  ['^ab$', ['ab', 'xab']],
  ['^a|b$', ['a', 'b', 'ab']],
  ['(^a|b)c', ['ac', 'bc', 'c']],
  ['(?:a$|ab)c?', ['a', 'abc', 'ab', 'ac']],
  ['x*^y', ['y', 'xy']],
  ['(?<name>a+)(b)', ['aab', 'b']],
  ['\\.\\*\\/\\$\\(\\)\\[\\]\\{\\}\\|\\?\\+', ['.*/$()[]{}|?+', 'a']],
  ['"[^"\\\\]*"', ['"a b"', '"a"b"', '""']],
  ['(a*)*b', ['aaab', 'b', 'a']],
  ['(|a)+c', ['c', 'aac', 'b']],
];

describe('regex', () => {
  for (const [pattern, texts] of table)
    it(`${pattern} as RegExp has it`, () => {
      const grammar = recogniserOf(pattern);
      const native = new RegExp(`^(?:${pattern})$`, 'u');
      for (const text of texts)
        expect([text, grammar.accepts(text)]).toEqual([text, native.test(text)]);
    });

  it('takes what only the older syntax takes', () => {
    expect(recogniserOf('a\\-b{x}]').accepts('a-b{x}]')).toBe(true);
  });

  it('is the same by rules and by automaton, for random patterns and texts', () => {
    const random = randomNumbers(7);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const atom = (depth: number): string => {
      if (depth <= 0 || random() < 0.5) return pick(['a', 'b', '[ab]', '[^a]', '.', 'c', '\\w']);
      return `(?:${pattern(depth - 1)})`;
    };
    const pattern = (depth: number): string => {
      const part = () => atom(depth) + pick(['', '', '*', '+', '?', '{2}', '{0,2}', '{1,}']);
      const sequence = () => Array.from({ length: 1 + Math.floor(random() * 3) }, part).join('');
      return random() < 0.3 ? `${sequence()}|${sequence()}` : sequence();
    };
    for (let i = 0; i < 150; i++) {
      const source = pattern(2);
      const native = new RegExp(`^(?:${source})$`, 'u');
      const search = new RegExp(source, 'u');
      const grammar = recogniserOf(source);
      const found = determinised(new Nfa(parseRegex(source), true));
      const out = new GrammarSource('regex');
      const automaton = new Recogniser(out.text(writeLanguage(out, found, plainSpelling, 's')));
      for (let k = 0; k < 25; k++) {
        const length = Math.floor(random() * 7);
        const text = Array.from({ length }, () => pick(['a', 'b', 'c', ' '])).join('');
        expect([source, text, grammar.accepts(text)]).toEqual([source, text, native.test(text)]);
        expect([source, text, automaton.accepts(text)]).toEqual([source, text, search.test(text)]);
      }
      const sample = grammar.sample(random, 30);
      expect([source, sample, native.test(sample)]).toEqual([source, sample, true]);
    }
  });

  it('searches with anchors anywhere as RegExp does', () => {
    const texts = ['', 'a', 'b', 'ab', 'ba', 'aba', 'aab', 'bb', 'xax', 'abx'];
    for (const pattern of [
      '^a',
      'a$',
      '^a$',
      'a|^b',
      '(^|x)a',
      'a($|x)',
      '^',
      '$',
      '^$',
      '(^a|b$)+',
    ]) {
      const nfa = new Nfa(parseRegex(pattern), true);
      const source = new GrammarSource('regex');
      const expression = writeLanguage(source, determinised(nfa), plainSpelling, 's');
      const grammar = new Recogniser(source.text(expression));
      for (const text of texts) {
        const expected = new RegExp(pattern, 'u').test(text);
        expect([pattern, text, grammar.accepts(text)]).toEqual([pattern, text, expected]);
        expect([pattern, text, nfa.matches(text)]).toEqual([pattern, text, expected]);
      }
    }
  });

  it('has the tables of Unicode that RegExp has', () => {
    const random = randomNumbers(12);
    const edges = [
      0, 0xd7ff, 0xe000, 0xfffe, 0xffff, 0x1fffe, 0x2ffff, 0x4fffe, 0x50000, 0xe0001, 0x10fffd,
      0x10ffff,
    ];
    for (const name of [
      'L',
      'Nd',
      'Script=Han',
      'Emoji',
      'Noncharacter_Code_Point',
      'Cn',
      'Co',
      'Any',
    ]) {
      const set = unicodeProperty(name)!;
      const native = new RegExp(`^\\p{${name}}$`, 'u');
      const points = [
        ...edges,
        ...set.slice(0, 40).flatMap(([low, high]) => [low - 1, low, high, high + 1]),
      ];
      for (let i = 0; i < 300; i++) points.push(Math.floor(random() * 0x110000));
      for (const point of points) {
        if (point < 0 || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) continue;
        const expected = native.test(String.fromCodePoint(point));
        expect([name, point, contains(set, point)]).toEqual([name, point, expected]);
      }
    }
    expect(unicodeProperty('Nope')).toBeNull();
  });

  it('has counts of any size without writing them out', () => {
    const source = new GrammarSource('regex');
    expect(source.text(regexExpression(source, '[a-z]{3,90000}', 'regex')).length).toBeLessThan(60);
  });

  const refused: [string, RegExp][] = [
    ['(a', /a \( without its \) \(position 0/],
    ['a)', /a \) without its \( \(position 1/],
    ['[a', /a \[ without its \]/],
    ['*a', /nothing to repeat \(position 0/],
    ['a**', /quantifier behind a quantifier/],
    ['a{3,2}', /out of order \(position 1/],
    ['^*', /nothing to repeat/],
    ['{2}', /nothing to repeat/],
    ['a{1000000}', /count above 100000/],
    ['[z-a]', /range whose end comes before/],
    ['[\\d-z]', /one character on either side/],
    ['(?=a)', /lookaround \(\?=\.\.\.\)/],
    ['(?<!a)b', /lookaround \(\?<!\.\.\.\)/],
    ['(?i:a)', /the group \(\?i:\.\.\.\)/],
    ['(a)\\1', /the backreference \\1 is not supported \(position 3/],
    ['\\bword', /word boundary \\b is not supported \(position 0/],
    ['\\q', /unknown escape \\q/],
    ['\\p{Nope}', /no Unicode property is called Nope/],
    ['a\\', /a \\ at the end/],
    ['\\u{110000}', /no code point/],
    ['a^b', /no text matches/],
    ['('.repeat(5000), /nested deeper than 200/],
    ['a'.repeat(30_000), /more than 20000/],
    ['(x^|a){1,60000}', /states/],
  ];
  for (const [pattern, message] of refused)
    it(`refuses ${pattern.slice(0, 20)}`, () => {
      let error: unknown;
      try {
        recogniserOf(pattern);
      } catch (e) {
        error = e;
      }
      expect(error).toBeInstanceOf(EngineError);
      expect(error).toMatchObject({ status: 400, param: 'regex' });
      expect((error as Error).message).toMatch(message);
    });
});
