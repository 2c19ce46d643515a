/** Request bodies: JSON, and where it is broken. */
import { HttpError } from './errors.js';

export interface JsonFault {
  /** UTF-16 units before the character at fault. */
  offset: number;
  expected: string;
}

/** V8 does not always say where; this does, in one pass without recursion. null: the text is valid. */
export function findJsonFault(text: string): JsonFault | null {
  /** Closing brackets that are due. */
  const open: string[] = [];
  let expect: 'value' | 'value or ]' | 'key' | 'key or }' | 'colon' | 'next' = 'value';
  let at = 0;
  const fault = (expected: string, offset = at): JsonFault => ({ offset, expected });

  for (;;) {
    at = skipSpace(text, at);
    const c = text[at];
    if (expect === 'next') {
      if (open.length === 0) return at < text.length ? fault('the end') : null;
      const closing = open.at(-1)!;
      if (c === closing) open.pop();
      else if (c === ',') expect = closing === '}' ? 'key' : 'value';
      else return fault(`',' or '${closing}'`);
      at++;
    } else if (expect === 'colon') {
      if (c !== ':') return fault("':'");
      expect = 'value';
      at++;
    } else if (c === open.at(-1) && (expect === 'value or ]' || expect === 'key or }')) {
      open.pop();
      expect = 'next';
      at++;
    } else if (expect === 'key' || expect === 'key or }') {
      if (c !== '"') return fault('a name in double quotes');
      const end = stringEnd(text, at);
      if (typeof end !== 'number') return end;
      at = end;
      expect = 'colon';
    } else if (c === '{' || c === '[') {
      open.push(c === '{' ? '}' : ']');
      expect = c === '{' ? 'key or }' : 'value or ]';
      at++;
    } else if (c === '"') {
      const end = stringEnd(text, at);
      if (typeof end !== 'number') return end;
      at = end;
      expect = 'next';
    } else {
      scalar.lastIndex = at;
      const match = scalar.exec(text);
      if (match === null) return fault('a value');
      at += match[0].length;
      expect = 'next';
    }
  }
}

const scalar = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

function skipSpace(text: string, at: number): number {
  while (' \t\n\r'.includes(text[at] ?? '-')) at++;
  return at;
}

/** Behind the closing quote. */
function stringEnd(text: string, start: number): number | JsonFault {
  for (let at = start + 1; at < text.length; at++) {
    const c = text[at]!;
    if (c === '"') return at + 1;
    if (c < ' ') return { offset: at, expected: 'an escape such as \\n for a control character' };
    if (c !== '\\') continue;
    const kind = text[++at] ?? '';
    if (kind === 'u') {
      if (!/^[0-9a-fA-F]{4}$/.test(text.slice(at + 1, at + 5)))
        return { offset: at + 1, expected: 'four hexadecimal digits' };
      at += 4;
    } else if (kind === '' || !'"\\/bfnrt'.includes(kind))
      return { offset: at, expected: 'an escape of JSON (one of "\\/bfnrtu)' };
  }
  return { offset: text.length, expected: 'a closing double quote' };
}

export function invalidJson(text: string): HttpError {
  const options = { status: 400, code: 'invalid_json' } as const;
  if (text.trim() === '')
    return new HttpError('The body is empty: it must be a JSON object.', options);
  const found = findJsonFault(text);
  if (found === null)
    return new HttpError(
      "The body has a key '__proto__' or 'constructor.prototype', which is not accepted.",
      options,
    );
  const { offset, expected } = found;
  const before = text.slice(0, offset).split('\n');
  const place = `position ${offset} (line ${before.length}, column ${before.at(-1)!.length + 1})`;
  const [character] = text.slice(offset, offset + 2);
  const received = character === undefined ? 'the end' : JSON.stringify(character);
  return new HttpError(
    `The body is not valid JSON: expected ${expected} at ${place}, received ${received}.`,
    options,
  );
}
