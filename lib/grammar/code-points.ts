/** Sets of Unicode code points: sorted, disjoint, inclusive ranges that do not touch. */
export type CodePoints = readonly (readonly [low: number, high: number])[];

export const lastCodePoint = 0x10ffff;
export const anyCodePoint: CodePoints = [[0, lastCodePoint]];

export function codePoints(ranges: Iterable<readonly [number, number]>): CodePoints {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const out: [number, number][] = [];
  for (const [low, high] of sorted) {
    const last = out.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else out.push([low, high]);
  }
  return out;
}

export function codePointsOf(text: string): CodePoints {
  return codePoints([...text].map((char) => [char.codePointAt(0)!, char.codePointAt(0)!]));
}

export function union(...sets: CodePoints[]): CodePoints {
  return codePoints(sets.flat());
}

export function complement(set: CodePoints): CodePoints {
  const out: [number, number][] = [];
  let next = 0;
  for (const [low, high] of set) {
    if (low > next) out.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= lastCodePoint) out.push([next, lastCodePoint]);
  return out;
}

export function intersection(a: CodePoints, b: CodePoints): CodePoints {
  const out: [number, number][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const low = Math.max(a[i]![0], b[j]![0]);
    const high = Math.min(a[i]![1], b[j]![1]);
    if (low <= high) out.push([low, high]);
    if (a[i]![1] < b[j]![1]) i++;
    else j++;
  }
  return out;
}

export function difference(a: CodePoints, b: CodePoints): CodePoints {
  return intersection(a, complement(b));
}

export function contains(set: CodePoints, point: number): boolean {
  return set.some(([low, high]) => low <= point && point <= high);
}

export const digits: CodePoints = [[0x30, 0x39]];
export const wordCharacters = codePoints([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
/** JavaScript's \s. */
export const spaces = codePoints([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);
export const lineEnds = codePointsOf('\n\r\u2028\u2029');
export const surrogates: CodePoints = [[0xd800, 0xdfff]];

/** Of \p{name} or \p{name=value}, by JavaScript's own tables. Null where it knows no such property. */
export function unicodeProperty(name: string): CodePoints | null {
  const known = properties.get(name);
  if (known) return known;
  let pattern: RegExp;
  try {
    pattern = new RegExp(`\\p{${name}}+`, 'gu');
  } catch {
    return null;
  }
  const ranges: [number, number][] = [];
  // Piece by piece: all code points at once are 4 MB of text.
  for (let first = 0; first <= lastCodePoint; first += 0x1000) {
    const plane = first >> 16;
    if ((plane > 3 && plane < 14) || plane > 14) {
      // Nothing is assigned here one by one: what holds for one holds for all but the last two.
      if ((first & 0xffff) === 0) {
        if (!runsIn(pattern, first, first).next().done) ranges.push([first, first + 0xfffd]);
        ranges.push(...runsIn(pattern, first + 0xfffe, first + 0xffff));
      }
      continue;
    }
    if (first >= 0xd000 && first < 0xe000) {
      // Surrogates are in no text; what is around them is looked at by itself.
      if (first === 0xd000) ranges.push(...runsIn(pattern, 0xd000, 0xd7ff));
      continue;
    }
    ranges.push(...runsIn(pattern, first, first + 0xfff));
  }
  const set = codePoints(ranges);
  if (properties.size >= 64) properties.clear();
  properties.set(name, set);
  return set;
}

const properties = new Map<string, CodePoints>();

function* runsIn(pattern: RegExp, first: number, last: number): Generator<[number, number]> {
  const all = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const text = String.fromCodePoint(...all);
  const unit = first > 0xffff ? 2 : 1;
  for (const found of text.matchAll(pattern)) {
    const low = first + found.index / unit;
    yield [low, low + found[0].length / unit - 1];
  }
}
