/** Stop expressions: against RegExp, in every cutting, beside stop strings, and that no pattern can hang. */
import { describe, expect, test } from 'vitest';
import { RegexProgram } from '../../lib/text/regex-program.js';
import { compileStopRegexes, maxHeldBack } from '../../lib/text/stop-regex.js';
import { Stops } from '../../lib/text/stops.js';

interface Outcome {
  text: string;
  matched: string | null;
  matchedText: string | null;
}

function run(
  pieces: Iterable<string>,
  patterns: string[],
  more: { stops?: string[]; include?: boolean } = {},
): Outcome {
  const scanner = new Stops({
    stops: more.stops ?? [],
    regexes: compileStopRegexes(patterns),
    include: more.include,
  });
  let text = '';
  for (const piece of pieces) {
    const { text: shown, found } = scanner.push(piece);
    text += shown;
    if (found) return { text, ...found };
  }
  const { text: rest, found } = scanner.flush();
  return { text: text + rest, matched: null, matchedText: null, ...found };
}

/** By RegExp: the shortest beginning of `text` in which the pattern is found, cut there. */
function expected(text: string, pattern: string): Outcome {
  const regex = new RegExp(pattern, 'u');
  const chars = [...text];
  for (let n = 1; n <= chars.length; n++) {
    const found = regex.exec(chars.slice(0, n).join(''));
    if (found) return { text: text.slice(0, found.index), matched: pattern, matchedText: found[0] };
  }
  return { text, matched: null, matchedText: null };
}

const same = (a: Outcome, b: Outcome) =>
  a.text === b.text && a.matched === b.matched && a.matchedText === b.matchedText;

const patterns = [
  'and|or',
  'ab+c',
  'a(?:b|cd)*e',
  '(?<x>a|b)c{2,3}d?',
  'a{3}',
  '[^a-c]x',
  '\\d{2,}\\.',
  '\\w+!',
  '^ab',
  'x.y',
  '\\s\\S',
  '\\u{1F600}',
  '[😀b]c',
  '\\p{Lu}a',
  '(a|b|c)(a|b|c)d',
  'a?b?c?d',
  '(?:a|ab)(?:c|bcd)',
  'b*?c',
  '[\\]a]b',
  '\\x61\\cJ?c',
  '(?:)ad',
];
const alphabet = [
  'a',
  'b',
  'c',
  'd',
  'e',
  'x',
  'y',
  '1',
  '.',
  '!',
  ' ',
  'A',
  '😀',
  ']',
  'or',
  'and',
];

function* randomTexts(count: number): Generator<string> {
  let state = 12345;
  const next = (n: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
  for (let i = 0; i < count; i++)
    yield Array.from({ length: 1 + next(10) }, () => alphabet[next(alphabet.length)]).join('');
}

test.each(patterns)('%s: as RegExp finds it, one character at a time', (pattern) => {
  let hits = 0;
  const wrong: unknown[] = [];
  for (const text of randomTexts(1500)) {
    const wanted = expected(text, pattern);
    if (wanted.matched !== null) hits++;
    const got = run([...text], [pattern]);
    if (!same(got, wanted)) wrong.push({ text, wanted, got });
  }
  expect(wrong).toEqual([]);
  if (!/1F600|cJ|\\d\{2,\}/.test(pattern)) expect(hits).toBeGreaterThan(0);
});

test.each(patterns)('%s: the same in every cutting', (pattern) => {
  const wrong: unknown[] = [];
  for (const text of randomTexts(60)) {
    const chars = [...text];
    const wanted = run(chars, [pattern]);
    const cuts = Math.min(chars.length - 1, 7);
    for (let mask = 0; mask < 2 ** cuts; mask++) {
      const pieces = [''];
      chars.forEach((char, i) => {
        pieces[pieces.length - 1] += char;
        if (i < cuts && (mask >> i) & 1) pieces.push('');
      });
      const got = run(pieces, [pattern]);
      if (!same(got, wanted)) wrong.push({ pieces, wanted, got });
    }
  }
  expect(wrong).toEqual([]);
});

describe('assertions', () => {
  test('$ is true after every piece', () => {
    expect(run(['Pi is 3', '.14', '. ', 'So'], ['[.!?]\\s*$'])).toEqual({
      text: 'Pi is 3.14',
      matched: '[.!?]\\s*$',
      matchedText: '. ',
    });
    expect(run(['a', 'b'], ['a$']).text).toBe('');
    expect(run(['ab'], ['a$']).matched).toBe(null);
  });

  test('^ is the beginning of the text', () => {
    expect(run(['b', 'a'], ['^a']).matched).toBe(null);
    expect(run(['ab'], ['^a']).matched).toBe('^a');
  });

  test('\\b waits for the next character, or the end', () => {
    expect(run(['foo', 'bar'], ['foo\\b']).matched).toBe(null);
    expect(run(['foo', ' bar'], ['foo\\b'])).toMatchObject({ text: '', matchedText: 'foo' });
    expect(run(['a foo'], ['foo\\b'])).toMatchObject({ text: 'a ', matchedText: 'foo' });
    expect(run(['foo', 'bar'], ['foo\\B'])).toMatchObject({ text: '', matchedText: 'foo' });
  });
});

describe('beside stop strings', () => {
  test('what begins first wins, a string before an expression', () => {
    expect(run(['xaby'], ['b'], { stops: ['ab'] })).toEqual({
      text: 'x',
      matched: 'ab',
      matchedText: null,
    });
    expect(run(['xaby'], ['ab'], { stops: ['b'] }).matched).toBe('ab');
    expect(run(['xaby'], ['ab'], { stops: ['ab'] })).toMatchObject({ matchedText: null });
  });

  test('a stop string is found while an expression is under way', () => {
    expect(run(['a STOP', ' b'], ['a.*c'], { stops: ['STOP'] })).toEqual({
      text: 'a ',
      matched: 'STOP',
      matchedText: null,
    });
  });

  test('half of a stop string is text at the end', () => {
    expect(run(['ab ST'], ['z'], { stops: ['STOP'] }).text).toBe('ab ST');
  });

  test('include keeps what was found, and nothing behind it', () => {
    expect(run(['x 12 y'], ['1\\d'], { include: true }).text).toBe('x 12');
    expect(run(['x STOP y'], ['1\\d'], { stops: ['STOP'], include: true }).text).toBe('x STOP');
  });
});

test('the first of several expressions', () => {
  expect(run([...'xyz'], ['z', 'yz', 'y'])).toMatchObject({ text: 'x', matched: 'y' });
  expect(run(['xyz'], ['z', 'yz'])).toMatchObject({ text: 'x', matched: 'yz' });
});

test('text is held back only while a match is under way, and no more than the limit', () => {
  const scanner = new Stops({ stops: [], regexes: compileStopRegexes(['foo\\d+bar|<.*>']) });
  expect(scanner.push('x fo').text).toBe('x ');
  expect(scanner.push('x').text).toBe('fox');
  expect(scanner.push(' foo12').text).toBe(' ');
  expect(scanner.push('3').text).toBe('');
  expect(scanner.push('!').text).toBe('foo123!');
  let shown = scanner.push('<').text;
  for (let i = 0; i < 1000; i++) shown += scanner.push('😀 ').text;
  expect(3001 - shown.length).toBeLessThanOrEqual(maxHeldBack + 1);
  expect(shown).not.toMatch(/\p{Surrogate}/u);
  // It still ends the text: only its beginning has been shown.
  expect(scanner.push('>')).toMatchObject({ text: '', found: { matched: 'foo\\d+bar|<.*>' } });
});

test('patterns that make backtracking explode take linear time', () => {
  const text = 'a'.repeat(20_000);
  for (const pattern of ['(a+)+b', '(a|a)*b', '(.*)*(.*)*x', 'a*a*a*a*a*b', '(?:a?){50}a{50}b']) {
    const start = performance.now();
    expect(run([...text], [pattern]).text).toBe(text);
    expect(performance.now() - start).toBeLessThan(20_000);
  }
});

describe('what is refused', () => {
  test.each([
    ['(', /regular expression in JavaScript's syntax/],
    ['a**', /regular expression/],
    ['\\Z', /regular expression/],
    ['(?P<x>a)', /regular expression/],
    ['(?=a)b', /lookaround/],
    ['(?!a)b', /lookaround/],
    ['(?<=a)b', /lookaround/],
    ['(?<!a)b', /lookaround/],
    ['(a)\\1', /backreference/],
    ['(?<n>a)\\k<n>', /backreference/],
    ['a*', /matches the empty text/],
    ['\\s*$', /matches the empty text/],
    ['', /matches the empty text/],
    ['a{5000}', /too large/],
    ['(a{1000}){1000}', /too large/],
    ['((((){2000}){2000}){2000})a', /repeats too much/],
    [`${'('.repeat(300)}a${')'.repeat(300)}`, /nested deeper/],
  ])('%s', (pattern, message) => {
    expect(() => new RegexProgram(pattern)).toThrow(message);
  });

  test('several that are too large together', () => {
    const many = Array(30).fill('[ab]{100}');
    expect(() => compileStopRegexes(many)).toThrow(/patterns together are too large/);
  });
});
