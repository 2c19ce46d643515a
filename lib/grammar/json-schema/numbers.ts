/** Sets of JSON numbers. */
import { codePoints, digits } from '../code-points.js';
import {
  anyDfa,
  type Dfa,
  type DfaState,
  determinised,
  isNothing,
  minimised,
  product,
} from '../dfa.js';
import { Nfa, TooManyStates } from '../nfa.js';
import { emptyRegex, type Regex } from '../regex-tree.js';
import { choice, type GrammarSource, never } from '../source.js';
import { plainSpelling, writeLanguage, writeRegex } from '../write.js';
import { compare, type Decimal, decimalOf, isMultiple, isWhole, scaled } from './decimal.js';

export interface Bound {
  readonly value: Decimal;
  readonly exclusive: boolean;
}

export interface NumberSet {
  /** Only these; what else is said has been applied. */
  readonly finite: readonly number[] | null;
  /** `fraction`: none that is an integer. */
  readonly kind: 'any' | 'integer' | 'fraction';
  readonly low: Bound | null;
  readonly high: Bound | null;
  readonly multiples: readonly { readonly of: Decimal; readonly not: boolean }[];
}

export const anyNumber: NumberSet = {
  finite: null,
  kind: 'any',
  low: null,
  high: null,
  multiples: [],
};
export const anyInteger: NumberSet = { ...anyNumber, kind: 'integer' };

/** Most digits in front of the point: integers that JSON.stringify writes without an exponent have no more. */
const maxWhole = 21;
/** Together: so many survive a double, so that a parsed value keeps within its bounds. */
const maxSignificant = 15;
/** States of the automaton of a multipleOf. */
const maxMultipleStates = 20_000;

export function numbersOf(values: readonly number[]): NumberSet {
  return { ...anyNumber, finite: [...new Set(values.map((v) => (v === 0 ? 0 : v)))] };
}

export function intersectNumbers(a: NumberSet, b: NumberSet): NumberSet | null {
  if (a.finite) return filtered(a.finite, b);
  if (b.finite) return filtered(b.finite, a);
  if (a.kind !== b.kind && a.kind !== 'any' && b.kind !== 'any') return null;
  const kind = a.kind === 'any' ? b.kind : a.kind;
  const low = tighter(a.low, b.low, 1);
  const high = tighter(a.high, b.high, -1);
  const known = new Set(a.multiples.map(multipleKey));
  const multiples = [...a.multiples, ...b.multiples.filter((m) => !known.has(multipleKey(m)))];
  const set = { finite: null, kind, low, high, multiples };
  return isEmptyRange(set) ? null : set;
}

function multipleKey({ of, not }: { of: Decimal; not: boolean }): string {
  return `${not ? '!' : ''}${of.digits}e-${of.scale}`;
}

function filtered(values: readonly number[], set: NumberSet): NumberSet | null {
  const left = values.filter((value) => holds(set, value));
  return left.length > 0 ? { ...anyNumber, finite: left } : null;
}

function holds(set: NumberSet, value: number): boolean {
  if (set.finite) return set.finite.includes(value === 0 ? 0 : value);
  const exact = decimalOf(value);
  if (set.kind !== 'any' && isWhole(exact) !== (set.kind === 'integer')) return false;
  const { low, high } = set;
  if (low && compare(exact, low.value) < (low.exclusive ? 1 : 0)) return false;
  if (high && compare(exact, high.value) > (high.exclusive ? -1 : 0)) return false;
  return set.multiples.every(({ of, not }) => isMultiple(exact, of) !== not);
}

function tighter(a: Bound | null, b: Bound | null, sign: 1 | -1): Bound | null {
  if (!a || !b) return a ?? b;
  const order = compare(a.value, b.value) * sign;
  if (order === 0) return a.exclusive ? a : b;
  return order > 0 ? a : b;
}

function isEmptyRange({ low, high, kind }: NumberSet): boolean {
  if (!low || !high) return false;
  const order = compare(low.value, high.value);
  if (order > 0 || (order === 0 && (low.exclusive || high.exclusive))) return true;
  if (kind !== 'integer') return false;
  const [least, most] = inclusive({ low, high }, 0);
  return least! > most!;
}

/** Bounds in units of 10 ** -scale, both inclusive. */
function inclusive(
  { low, high }: Pick<NumberSet, 'low' | 'high'>,
  scale: number,
): [bigint | null, bigint | null] {
  const unit = ({ value, exclusive }: Bound, round: 'down' | 'up') => {
    const at = scaled(value, scale, round);
    const exact =
      scale >= value.scale || scaled({ digits: at, scale }, value.scale, 'down') === value.digits;
    return exclusive && exact ? at + (round === 'up' ? 1n : -1n) : at;
  };
  return [low && unit(low, 'up'), high && unit(high, 'down')];
}

/** At most `limit` integers, or null where they are more or others. */
export function integersIn(set: NumberSet, limit: number): number[] | null {
  if (set.finite) return set.finite.length <= limit ? [...set.finite] : null;
  if (set.kind !== 'integer' || !set.low || !set.high) return null;
  const [least, most] = inclusive(set, 0) as [bigint, bigint];
  if (most - least >= 64n * BigInt(limit)) return null;
  const out: number[] = [];
  for (let i = least; i <= most; i++) if (holds(set, Number(i))) out.push(Number(i));
  return out.length <= limit ? out : null;
}

function isUnbounded(set: NumberSet): boolean {
  return !set.finite && !set.low && !set.high && set.multiples.length === 0;
}

const digit: Regex = { kind: 'set', set: digits };
const nonZero = digitsBetween(1, 9);
const exactly = (char: string): Regex => ({
  kind: 'set',
  set: [[char.charCodeAt(0), char.charCodeAt(0)]],
});
const seq = (...parts: Regex[]): Regex => ({ kind: 'sequence', parts });
const alt = (...parts: Regex[]): Regex => ({ kind: 'choice', parts });
const times = (part: Regex, least: number, most: number): Regex => ({
  kind: 'repeat',
  part,
  least,
  most,
});

function digitsBetween(low: number, high: number): Regex {
  return { kind: 'set', set: [[0x30 + low, 0x30 + high]] };
}

/** Any number: integers up to 21 digits, and values up to 1e279. */
export function writeAnyNumber(source: GrammarSource): string {
  return source.shared(
    'json_number',
    () =>
      '"-"? ("0" | [1-9] [0-9]{0,20}) ("." [0-9]{1,20})? ' +
      '([eE] ("-" [0-9]{1,3} | "+"? ([0-9]{1,2} | "1" [0-9]{2} | "2" [0-7] [0-9])))?',
  );
}

export function writeAnyInteger(source: GrammarSource): string {
  return source.shared('json_integer', () => '"0" | "-"? [1-9] [0-9]{0,20}');
}

/** @throws TooManyStates */
export function writeNumbers(source: GrammarSource, set: NumberSet): string {
  if (set.finite) return choice(set.finite.map((value) => source.bytes(JSON.stringify(value))));
  if (isUnbounded(set) && set.kind !== 'fraction')
    return set.kind === 'any' ? writeAnyNumber(source) : writeAnyInteger(source);
  const range = rangeTree(set);
  if (set.multiples.length === 0 && set.kind !== 'fraction')
    return writeRegex(source, range, plainSpelling);
  const dfa = automaton(set, range);
  return isNothing(dfa) ? never : writeLanguage(source, dfa, plainSpelling, 'number');
}

/** Surely no number is in it. */
export function hasNoNumber(set: NumberSet): boolean {
  if (set.finite) return set.finite.length === 0;
  if (set.multiples.length === 0) return isEmptyRange(set);
  try {
    return isNothing(automaton(set, rangeTree(set)));
  } catch (error) {
    if (error instanceof TooManyStates) return false;
    throw error;
  }
}

/** Automata that were made lately: a set is first looked at for numbers, then written, often in several schemas. */
const recent = new Map<string, Dfa>();
const maxRecent = 64;
const maxRecentStates = 2000;

function automaton(set: NumberSet, range: Regex): Dfa {
  const bound = (of: Bound | null) =>
    of && `${of.value.digits}e-${of.value.scale}${of.exclusive ? '!' : ''}`;
  const multiples = set.multiples.map(multipleKey).sort().join();
  const key = [set.kind, bound(set.low), bound(set.high), multiples].join(' ');
  const dfa = recent.get(key) ?? minimised(makeAutomaton(set, range));
  recent.delete(key);
  if (dfa.length <= maxRecentStates) recent.set(key, dfa);
  if (recent.size > maxRecent) recent.delete(recent.keys().next().value!);
  return dfa;
}

function makeAutomaton(set: NumberSet, range: Regex): Dfa {
  // The multiples first, which are small together; wanted ones before others.
  const ordered = [...set.multiples].sort((a, b) => Number(a.not) - Number(b.not));
  let wanted: Dfa = anyDfa;
  for (const { of, not } of ordered)
    wanted = minimised(product(wanted, minimised(multiples(of)), not ? 'minus' : 'and'));
  let dfa = product(determinised(new Nfa(range, false)), wanted, 'and');
  if (set.kind === 'fraction')
    dfa = product(dfa, determinised(new Nfa(integerTree, false)), 'minus');
  return dfa;
}

/** Integers, also as 1.0. */
const integerTree = seq(
  times(exactly('-'), 0, 1),
  times(digit, 1, Infinity),
  times(seq(exactly('.'), times(exactly('0'), 1, Infinity)), 0, 1),
);

/** Digits, with a point or not, that make a multiple; signs and leading zeros are let through. */
function multiples(of: Decimal): Dfa {
  const modulus = of.digits;
  const m = Number(modulus);
  if (m * (of.scale + 2) > maxMultipleStates) throw new TooManyStates(maxMultipleStates);
  // A state for every remainder and number of decimals read; then one where only zeros may follow.
  const states: DfaState[] = [];
  const isEnd = (remainder: number, decimals: number) =>
    (BigInt(remainder) * 10n ** BigInt(of.scale - decimals)) % modulus === 0n;
  const zeros = m * (of.scale + 2);
  const next = (remainder: number, d: number) => (remainder * 10 + d) % m;
  for (let level = -1; level <= of.scale; level++) {
    for (let r = 0; r < m; r++) {
      const edges: [number, number, number][] = [];
      // Level -1 is before the point; level n has n decimals behind it.
      if (level === -1) {
        edges.push([0x2d, 0x2d, r], [0x2e, 0x2e, m + r]);
        for (let d = 0; d < 10; d++) edges.push([0x30 + d, 0x30 + d, next(r, d)]);
      } else if (level < of.scale) {
        for (let d = 0; d < 10; d++) edges.push([0x30 + d, 0x30 + d, (level + 2) * m + next(r, d)]);
      } else if (r === 0) edges.push([0x30, 0x30, zeros]);
      states.push({ accept: isEnd(r, Math.max(level, 0)), edges });
    }
  }
  states.push({ accept: true, edges: [[0x30, 0x30, zeros]] });
  return states;
}

/** The texts of the numbers between the bounds, without exponents. */
function rangeTree(set: NumberSet): Regex {
  const scale = set.kind === 'integer' ? 0 : decimalsFor(set);
  const [least, most] = inclusive(set, scale);
  const parts: Regex[] = [];
  if ((most === null || most >= 0n) && (least === null || least <= 0n))
    parts.push(seq(exactly('0'), zeroFraction(scale)));
  const isPlain = set.multiples.length === 0 && set.kind !== 'fraction';
  const whole = isPlain ? maxWhole : maxSignificant;
  const positive = magnitudes(least !== null && least > 1n ? least : 1n, most, scale, whole);
  if (positive) parts.push(positive);
  const negative = magnitudes(
    most !== null && most < -1n ? -most : 1n,
    least === null ? null : -least,
    scale,
    whole,
  );
  if (negative) parts.push(seq(exactly('-'), negative));
  return parts.length === 0 ? { kind: 'set', set: codePoints([]) } : alt(...parts);
}

function decimalsFor({ low, high, multiples: list }: NumberSet): number {
  const bounds = [low, high].flatMap((bound) => (bound ? [bound.value] : []));
  const whole = Math.max(1, ...bounds.map((b) => String(abs(scaled(b, 0, 'down'))).length));
  const own = Math.max(0, ...bounds.map((b) => b.scale), ...list.map(({ of }) => of.scale));
  return Math.max(maxSignificant - whole, own, 1);
}

function abs(value: bigint): bigint {
  return value < 0n ? -value : value;
}

/** "", ".0", ".00"... */
function zeroFraction(scale: number): Regex {
  return scale === 0 ? emptyRegex : times(seq(exactly('.'), times(exactly('0'), 1, scale)), 0, 1);
}

/** Numbers of low..high (above zero) in units of 10 ** -scale. Null where there is none. */
function magnitudes(
  low: bigint,
  high: bigint | null,
  scale: number,
  maxDigits: number,
): Regex | null {
  if (high !== null && high < low) return null;
  const pad = (value: bigint) => String(value).padStart(scale + 1, '0');
  const lowText = pad(low);
  const lowWhole = lowText.length - scale;
  const highText = high === null ? null : pad(high);
  const highWhole = highText === null ? Math.max(maxDigits, lowWhole) : highText.length - scale;
  const parts: Regex[] = [];
  if (highText !== null && highWhole === lowWhole) return between(lowText, highText, scale);
  parts.push(between(lowText, '9'.repeat(lowText.length), scale));
  const last = highText === null ? highWhole : highWhole - 1;
  if (last > lowWhole)
    parts.push(seq(nonZero, times(digit, lowWhole, last - 1), anyFraction(scale)));
  if (highText !== null) {
    const least = `1${'0'.repeat(highText.length - 1)}`;
    parts.push(between(least, highText, scale));
  }
  return alt(...parts);
}

function anyFraction(scale: number): Regex {
  return scale === 0 ? emptyRegex : times(seq(exactly('.'), times(digit, 1, scale)), 0, 1);
}

/** Texts of low..high, which have the same number of digits, the last `scale` of them behind the point. */
function between(low: string, high: string, scale: number): Regex {
  const whole = low.length - scale;
  const isZero = (text: string) => /^0*$/.test(text);
  const from = (at: number, onLow: boolean, onHigh: boolean): Regex => {
    if (at === low.length) return emptyRegex;
    if (!onLow && !onHigh) {
      if (at < whole) return seq(times(digit, whole - at, whole - at), anyFraction(scale));
      return at === whole ? anyFraction(scale) : times(digit, 0, low.length - at);
    }
    const least = onLow ? Number(low[at]) : 0;
    const most = onHigh ? Number(high[at]) : 9;
    const parts: Regex[] = [];
    const branch = (d: number, isLow: boolean, isHigh: boolean) =>
      parts.push(seq(digitsBetween(d, d), from(at + 1, isLow, isHigh)));
    if (onLow && onHigh && least === most) branch(least, true, true);
    else {
      if (onLow) branch(least, true, false);
      const [first, last] = [onLow ? least + 1 : 0, onHigh ? most - 1 : 9];
      if (first <= last) parts.push(seq(digitsBetween(first, last), from(at + 1, false, false)));
      if (onHigh) branch(most, false, true);
    }
    const more = parts.length === 1 ? parts[0]! : alt(...parts);
    // Fewer decimals mean zeros.
    const mayEnd = at >= whole && (!onLow || isZero(low.slice(at)));
    const written = at === whole && scale > 0 ? seq(exactly('.'), more) : more;
    return mayEnd ? times(written, 0, 1) : written;
  };
  return from(0, true, true);
}
