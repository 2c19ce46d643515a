/** Where broken JSON is broken: agrees with JSON.parse on what is valid, and names the first bad character. */
import { describe, expect, test } from 'vitest';
import { findJsonFault, invalidJson } from '../../lib/server/json.js';

function isValid(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test.each([
  ['{"a":}', 5, 'a value'],
  ['{"a":1,}', 7, 'a name in double quotes'],
  ['{a:1}', 1, 'a name in double quotes'],
  ["{'a':1}", 1, 'a name in double quotes'],
  ['[1,]', 3, 'a value'],
  ['[1 2]', 3, "',' or ']'"],
  ['{"a" 1}', 5, "':'"],
  ['{"a":1]', 6, "',' or '}'"],
  ['{"a":1} x', 8, 'the end'],
  ['{"a":1', 6, "',' or '}'"],
  ['"abc', 4, 'a closing double quote'],
  ['"a\nb"', 2, 'an escape such as \\n for a control character'],
  ['"\\x41"', 2, 'an escape of JSON (one of "\\/bfnrtu)'],
  ['"\\u12g4"', 3, 'four hexadecimal digits'],
  ['nul', 0, 'a value'],
  ['01', 1, 'the end'],
  ['NaN', 0, 'a value'],
  ['', 0, 'a value'],
])('%j', (text, offset, expected) => {
  expect(findJsonFault(text)).toEqual({ offset, expected });
});

describe('agrees with JSON.parse', () => {
  const whole = JSON.stringify({
    model: 'm',
    n: -1.5e-7,
    list: [[], {}, [true, false, null], 'é\u{1F600}"\\/\b\f\n\r\t\u0001'],
    nested: { a: { b: [1, 2, { c: '' }] } },
  });

  test('on every beginning of a text', () => {
    for (let i = 0; i <= whole.length; i++) {
      const text = whole.slice(0, i);
      expect(findJsonFault(text) === null, text).toBe(isValid(text));
    }
  });

  test('on every text with a character left out, doubled or changed', () => {
    for (let i = 0; i < whole.length; i++)
      for (const middle of ['', whole[i]! + whole[i]!, ...'"{}[]:,\\x0 \u0001-.e']) {
        const text = whole.slice(0, i) + middle + whole.slice(i + 1);
        expect(findJsonFault(text) === null, text).toBe(isValid(text));
      }
  });

  test('a million open brackets do not exhaust the stack', () => {
    expect(findJsonFault('['.repeat(1e6))).toEqual({ offset: 1e6, expected: 'a value' });
  });
});

test('the message has line and column, and the character', () => {
  expect(invalidJson('{\n  "a": 1\n  "b": 2}').message).toBe(
    "The body is not valid JSON: expected ',' or '}' at position 13 (line 3, column 3), received \"\\\"\".",
  );
  expect(invalidJson('{').message).toContain('received the end.');
  expect(invalidJson(' ').message).toBe('The body is empty: it must be a JSON object.');
  expect(invalidJson('{"__proto__":1}').message).toContain("'__proto__'");
});
