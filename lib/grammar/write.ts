/** Patterns and automata as expressions of the grammar language. */
import {
  type CodePoints,
  codePoints,
  codePointsOf,
  difference,
  intersection,
} from './code-points.js';
import { byTarget, type Dfa, minimised } from './dfa.js';
import type { Regex } from './regex-tree.js';
import {
  characters,
  choice,
  type GrammarSource,
  never,
  optional,
  repeat,
  sequence,
} from './source.js';
import { spend } from './work.js';

/** How one code point of a set is written. */
export type Spelling = (source: GrammarSource, set: CodePoints) => string;

/** As it is. */
export const plainSpelling: Spelling = (_, set) => characters(set);

const short = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);
const escapedInJson = codePoints([[0, 0x1f], ...codePointsOf('"\\')]);

/**
 * Inside a JSON string, as JSON.stringify writes it: quotes, backslashes and controls are escaped, in one
 * way each, and nothing else is.
 */
export const jsonSpelling: Spelling = (source, set) => {
  const plain = difference(set, escapedInJson);
  const escapes = intersection(set, escapedInJson);
  if (escapes.length === 0) return characters(plain);
  const all = escapes.reduce((n, [low, high]) => n + high - low + 1, 0) === 34;
  const written = all
    ? source.shared('json_escape', () => jsonEscapes(source, escapedInJson))
    : jsonEscapes(source, escapes);
  return choice([characters(plain), written]);
};

function jsonEscapes(source: GrammarSource, set: CodePoints): string {
  const shorts: string[] = [];
  const byHigh = new Map<string, string>();
  for (const [low, high] of set)
    for (let point = low; point <= high; point++) {
      const known = short.get(String.fromCharCode(point));
      if (known) shorts.push(known.slice(1));
      else {
        const hex = point.toString(16).padStart(2, '0');
        byHigh.set(hex[0]!, (byHigh.get(hex[0]!) ?? '') + hex[1]!);
      }
    }
  const coded = [...byHigh].map(([first, second]) =>
    sequence([source.literal(`u00${first}`), characters(codePointsOf(second))]),
  );
  return sequence([
    source.literal('\\'),
    choice([characters(codePointsOf(shorts.join(''))), ...coded]),
  ]);
}

/** One character of a JSON string, any. */
export function jsonCharacter(source: GrammarSource): string {
  return source.shared('json_char', () => jsonSpelling(source, [[0, 0x10ffff]]));
}

/** A pattern without anchors. */
export function writeRegex(source: GrammarSource, tree: Regex, spelling: Spelling): string {
  switch (tree.kind) {
    case 'set':
      if (
        spelling === jsonSpelling &&
        tree.set.length === 1 &&
        tree.set[0]![1] - tree.set[0]![0] === 0x10ffff
      )
        return jsonCharacter(source);
      return spelling(source, tree.set);
    case 'sequence':
      return sequence(tree.parts.map((part) => writeRegex(source, part, spelling)));
    case 'choice': {
      const parts = tree.parts.map((part) => writeRegex(source, part, spelling));
      return choice(parts);
    }
    case 'repeat': {
      const part = writeRegex(source, tree.part, spelling);
      if (part === never) return tree.least === 0 ? '""' : never;
      return repeat(part, tree.least, tree.most);
    }
    default:
      throw new Error('an anchor has no expression');
  }
}

/** What follows where the text may end in a state; null where it may not. */
export type Ending = (state: number) => string | null;

const maxInlined = 20;

/**
 * An automaton as rules that each lead on to the next. What a state's text may end with is `ending`; states
 * with one are left there, if they have no edges.
 */
export function writeDfa(
  source: GrammarSource,
  dfa: Dfa,
  spelling: Spelling,
  hint: string,
  ending: Ending = (state) => (dfa[state]!.accept ? '""' : null),
): string {
  const targets = dfa.map(({ edges }) => byTarget(edges));
  const arrivals = dfa.map(() => 0);
  for (const [i, list] of targets.entries())
    for (const to of list.keys()) if (to !== i) arrivals[to]!++;
  const names = new Map<number, string>();
  const waiting: number[] = [];
  const refer = (state: number, depth: number): string => {
    const last = targets[state]!.size === 0;
    if (last || (arrivals[state]! <= 1 && state !== 0 && depth < maxInlined))
      return body(state, depth + 1);
    let name = names.get(state);
    if (name === undefined) {
      name = source.name(hint);
      names.set(state, name);
      waiting.push(state);
    }
    return name;
  };
  const body = (state: number, depth: number): string => {
    spend(1 + 2 * targets[state]!.size);
    const parts: string[] = [];
    let loop: string | null = null;
    for (const [to, set] of targets[state]!) {
      const read = spelling(source, set);
      if (to === state) loop = read;
      else parts.push(sequence([read, refer(to, depth)]));
    }
    const end = ending(state);
    const rest =
      end === '""' ? optional(choice(parts)) : choice(end === null ? parts : [...parts, end]);
    return loop === null || loop === never ? rest : sequence([repeat(loop, 0, Infinity), rest]);
  };
  // The start is a rule of its own where something leads back to it.
  const root = arrivals[0]! > 0 ? refer(0, 0) : body(0, 0);
  while (waiting.length > 0) {
    const state = waiting.pop()!;
    source.define(names.get(state)!, body(state, 0));
  }
  return root;
}

/** {@link writeDfa} of the smallest automaton for the same texts. */
export function writeLanguage(
  source: GrammarSource,
  dfa: Dfa,
  spelling: Spelling,
  hint: string,
): string {
  return writeDfa(source, minimised(dfa), spelling, hint);
}
