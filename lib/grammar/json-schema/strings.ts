/** Sets of strings: values, and names of properties. */
import { anyCodePoint, difference, surrogates } from '../code-points.js';
import { anyDfa, type Dfa, determinised, isNothing, listDfa, product, withLength } from '../dfa.js';
import { Nfa, TooManyStates } from '../nfa.js';
import { lengths, type Regex, textRegex, withoutAnchors } from '../regex-tree.js';
import { choice, type GrammarSource, never, repeat } from '../source.js';
import { jsonSpelling, type Spelling, writeLanguage, writeRegex } from '../write.js';

export interface StringPattern {
  /** Equal for equal patterns. */
  readonly key: string;
  readonly tree: Regex;
  /** It may match anywhere in the string. */
  readonly search: boolean;
  readonly not: boolean;
}

export interface StringSet {
  /** Only these; what else is said has been applied. */
  readonly finite: readonly string[] | null;
  readonly patterns: readonly StringPattern[];
  /** Code points. */
  readonly least: number;
  readonly most: number;
}

export const anyString: StringSet = { finite: null, patterns: [], least: 0, most: Infinity };

export function stringsOf(texts: readonly string[]): StringSet {
  return { ...anyString, finite: [...new Set(texts)] };
}

/** Every string but these. */
export function stringsExcept(texts: readonly string[]): StringSet {
  const key = JSON.stringify(texts);
  const tree: Regex = { kind: 'choice', parts: texts.map(textRegex) };
  return { ...anyString, patterns: [{ key, tree, search: false, not: true }] };
}

/** Null where nothing is left; what is left may still turn out to be empty. */
export function intersectStrings(a: StringSet, b: StringSet): StringSet | null {
  if (a.finite) return filtered(a.finite, b);
  if (b.finite) return filtered(b.finite, a);
  const known = new Set(a.patterns.map(patternKey));
  const added = b.patterns.filter((pattern) => !known.has(patternKey(pattern)));
  const least = Math.max(a.least, b.least);
  const most = Math.min(a.most, b.most);
  if (least > most) return null;
  for (const pattern of added)
    if (known.has(patternKey({ ...pattern, not: !pattern.not }))) return null;
  return { finite: null, patterns: [...a.patterns, ...added], least, most };
}

function filtered(texts: readonly string[], set: StringSet): StringSet | null {
  const left = texts.filter((text) => holdsString(set, text));
  return left.length > 0 ? { ...anyString, finite: left } : null;
}

export function holdsString(set: StringSet, text: string): boolean {
  if (set.finite) return set.finite.includes(text);
  const length = [...text].length;
  if (length < set.least || length > set.most) return false;
  return set.patterns.every((pattern) => nfaOf(pattern).matches(text) !== pattern.not);
}

export function isEveryString(set: StringSet): boolean {
  return !set.finite && set.patterns.length === 0 && set.least === 0 && set.most === Infinity;
}

function patternKey({ key, search, not }: StringPattern): string {
  return `${not ? '!' : ''}${search ? '~' : '='}${key}`;
}

function bareKey({ key, search }: StringPattern): string {
  return `${search ? '~' : '='}${key}`;
}

/** Automata that were made lately, by pattern: a schema asks for the same ones again and again. */
const recent = new Map<string, { nfa: Nfa; dfa: Dfa | null }>();
const maxRecent = 64;
const maxRecentStates = 100_000;
let recentStates = 0;

function entryOf(pattern: StringPattern): { nfa: Nfa; dfa: Dfa | null } {
  const key = bareKey(pattern);
  let entry = recent.get(key);
  if (!entry) {
    entry = { nfa: new Nfa(pattern.tree, pattern.search), dfa: null };
    remember(entry.nfa.states.length);
    recent.set(key, entry);
  }
  return entry;
}

function remember(states: number): void {
  recentStates += states;
  if (recent.size < maxRecent && recentStates <= maxRecentStates) return;
  recent.clear();
  recentStates = states;
}

function nfaOf(pattern: StringPattern): Nfa {
  return entryOf(pattern).nfa;
}

function dfaOf(pattern: StringPattern): Dfa {
  const entry = entryOf(pattern);
  if (entry.dfa === null) {
    entry.dfa = determinised(entry.nfa);
    remember(entry.dfa.length);
  }
  return entry.dfa;
}

/** @throws TooManyStates */
export function stringDfa(set: StringSet): Dfa {
  if (set.finite) return listDfa(set.finite);
  let dfa = anyDfa;
  // Wanted ones first: they are smaller.
  const ordered = [...set.patterns].sort((a, b) => Number(a.not) - Number(b.not));
  for (const [i, pattern] of ordered.entries())
    dfa =
      i === 0 && !pattern.not
        ? dfaOf(pattern)
        : product(dfa, dfaOf(pattern), pattern.not ? 'minus' : 'and');
  return set.least > 0 || set.most < Infinity ? withLength(dfa, set.least, set.most) : dfa;
}

/** Surely no string is in it. */
export function hasNoString(set: StringSet): boolean {
  if (set.finite) return set.finite.length === 0;
  if (set.patterns.length === 0) return set.least > set.most;
  if (set.patterns.length === 1 && !set.patterns[0]!.not) {
    const direct = directTree(set.patterns[0]!, set.least, set.most);
    if (direct) return !matchesSomething(direct);
  }
  try {
    return isNothing(stringDfa(set));
  } catch (error) {
    if (error instanceof TooManyStates) return false;
    throw error;
  }
}

/**
 * An expression for what stands between the quotes, or for the bare text, by `spelling`.
 *
 * @throws TooManyStates
 */
export function writeStrings(source: GrammarSource, set: StringSet, spelling: Spelling): string {
  const { patterns, least, most } = set;
  if (set.finite)
    return choice(
      set.finite.map((text) =>
        source.bytes(spelling === jsonSpelling ? JSON.stringify(text).slice(1, -1) : text),
      ),
    );
  if (patterns.length === 0)
    return repeat(writeRegex(source, { kind: 'set', set: anyCodePoint }, spelling), least, most);
  if (patterns.length === 1 && !patterns[0]!.not) {
    const direct = directTree(patterns[0]!, least, most);
    if (direct) return writeRegex(source, direct, spelling);
  }
  const dfa = stringDfa(set);
  return isNothing(dfa) ? never : writeLanguage(source, dfa, spelling, 'text');
}

/** Of a tree without anchors. */
function matchesSomething(tree: Regex): boolean {
  switch (tree.kind) {
    case 'set':
      return difference(tree.set, surrogates).length > 0;
    case 'sequence':
      return tree.parts.every(matchesSomething);
    case 'choice':
      return tree.parts.some(matchesSomething);
    case 'repeat':
      return tree.least === 0 || matchesSomething(tree.part);
    default:
      return true;
  }
}

/** A pattern that says it all, so that no automaton is needed. */
function directTree({ tree, search }: StringPattern, least: number, most: number): Regex | null {
  const plain = withoutAnchors(tree, search);
  if (plain === null) return null;
  const own = lengths(plain);
  if (own.least >= least && own.most <= most) return plain;
  if (plain.kind === 'repeat' && plain.part.kind === 'set') {
    const [low, high] = [Math.max(plain.least, least), Math.min(plain.most, most)];
    return low > high ? null : { ...plain, least: low, most: high };
  }
  return null;
}
