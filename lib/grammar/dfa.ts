/** Deterministic automata over code points, and what can be done with their languages. */
import { type CodePoints, codePoints, lastCodePoint } from './code-points.js';
import { type Nfa, TooManyStates } from './nfa.js';
import { spend } from './work.js';

/** To state `to` by one of low..high; sorted, disjoint. */
export type Edge = readonly [low: number, high: number, to: number];

export interface DfaState {
  readonly accept: boolean;
  readonly edges: readonly Edge[];
}

/** State 0 is the start. What has no edge is not matched. */
export type Dfa = readonly DfaState[];

export const maxDfaStates = 20_000;
/** Edges of all states. */
const maxEdges = 400_000;

/** Makes states for keys as they are met. */
class Explorer<K> {
  readonly states: DfaState[] = [];
  readonly #ids = new Map<string, number>();
  readonly #keys: K[] = [];
  #edges = 0;

  constructor(private readonly nameOf: (key: K) => string) {}

  id(key: K): number {
    const name = this.nameOf(key);
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    if (this.#keys.length >= maxDfaStates) throw new TooManyStates(maxDfaStates);
    this.#ids.set(name, this.#keys.length);
    this.#keys.push(key);
    return this.#keys.length - 1;
  }

  run(start: K, expand: (key: K) => DfaState): Dfa {
    this.id(start);
    for (let i = 0; i < this.#keys.length; i++) {
      const state = expand(this.#keys[i]!);
      this.#edges += state.edges.length;
      spend(1 + state.edges.length / 4);
      if (this.#edges > maxEdges) throw new TooManyStates(maxDfaStates);
      this.states.push({ accept: state.accept, edges: joined(state.edges) });
    }
    return trimmed(this.states);
  }
}

function joined(edges: readonly Edge[]): Edge[] {
  const out: [number, number, number][] = [];
  for (const [low, high, to] of edges) {
    const last = out.at(-1);
    if (last && last[1] + 1 === low && last[2] === to) last[1] = high;
    else out.push([low, high, to]);
  }
  return out;
}

/** @throws TooManyStates */
export function determinised(nfa: Nfa): Dfa {
  const explorer = new Explorer<{ states: number[]; first: boolean }>(
    ({ states, first }) => `${first ? '^' : ''}${states.join()}`,
  );
  const start = { states: nfa.closure([nfa.start], true, false), first: true };
  return explorer.run(start, ({ states, first }) => {
    const reads = states.flatMap((at) => nfa.states[at]!.reads);
    spend(states.length / 4);
    const cuts = new Set<number>();
    for (const { set } of reads)
      for (const [low, high] of set) {
        cuts.add(low);
        cuts.add(high + 1);
      }
    const at = [...cuts].sort((a, b) => a - b);
    const place = new Map(at.map((point, i) => [point, i]));
    const targets: Set<number>[] = at.map(() => new Set());
    for (const { set, to } of reads)
      for (const [low, high] of set)
        for (let i = place.get(low)!; i < place.get(high + 1)!; i++) targets[i]!.add(to);
    const edges: Edge[] = [];
    const ids = new Map<string, number>();
    for (const [i, to] of targets.entries()) {
      if (to.size === 0) continue;
      const key = [...to].join();
      let id = ids.get(key);
      if (id === undefined) {
        id = explorer.id({ states: nfa.closure(to, false, false), first: false });
        ids.set(key, id);
      }
      edges.push([at[i]!, at[i + 1]! - 1, id]);
    }
    return { accept: nfa.accepts(states, first), edges };
  });
}

/**
 * The texts that both match (`and`), or the first without the second (`minus`).
 *
 * @throws TooManyStates
 */
export function product(a: Dfa, b: Dfa, operation: 'and' | 'minus'): Dfa {
  const explorer = new Explorer<readonly [number, number]>(([i, j]) => `${i} ${j}`);
  const minus = operation === 'minus';
  return explorer.run([0, 0], ([i, j]) => {
    const left = a[i]!;
    const right = j < 0 ? { accept: false, edges: [] } : b[j]!;
    const edges: Edge[] = [];
    let k = 0;
    for (const [low, high, to] of left.edges) {
      let next = low;
      while (k < right.edges.length && right.edges[k]![1] < low) k++;
      for (let m = k; m < right.edges.length && right.edges[m]![0] <= high; m++) {
        const [from, until, other] = right.edges[m]!;
        const begin = Math.max(from, low);
        if (minus && begin > next) edges.push([next, begin - 1, explorer.id([to, -1])]);
        edges.push([begin, Math.min(until, high), explorer.id([to, other])]);
        next = Math.min(until, high) + 1;
      }
      if (minus && next <= high) edges.push([next, high, explorer.id([to, -1])]);
    }
    return { accept: left.accept && right.accept !== minus, edges };
  });
}

/** Texts of least to most code points. @throws TooManyStates */
export function withLength(dfa: Dfa, least: number, most: number): Dfa {
  const cap = most === Infinity ? least : most + 1;
  const explorer = new Explorer<readonly [number, number]>(([i, n]) => `${i} ${n}`);
  return explorer.run([0, 0], ([i, n]) => {
    const state = dfa[i]!;
    const next = Math.min(n + 1, cap);
    const edges = next > most ? [] : state.edges;
    return {
      accept: state.accept && n >= least,
      edges: edges.map(([low, high, to]): Edge => [low, high, explorer.id([to, next])]),
    };
  });
}

/** Exactly these texts: a tree. */
export function listDfa(texts: readonly string[]): Dfa {
  const nodes: { next: Map<number, number>; accept: boolean }[] = [
    { next: new Map(), accept: false },
  ];
  for (const text of texts) {
    let at = 0;
    for (const char of text) {
      const point = char.codePointAt(0)!;
      let to = nodes[at]!.next.get(point);
      if (to === undefined) {
        if (nodes.length >= maxDfaStates) throw new TooManyStates(maxDfaStates);
        to = nodes.push({ next: new Map(), accept: false }) - 1;
        nodes[at]!.next.set(point, to);
      }
      at = to;
    }
    nodes[at]!.accept = true;
  }
  return nodes.map(({ next, accept }) => ({
    accept,
    edges: [...next].sort(([a], [b]) => a - b).map(([point, to]): Edge => [point, point, to]),
  }));
}

/** Every text but these: their tree, with a way out of it at every place. */
export function exceptDfa(texts: readonly string[]): Dfa {
  const tree = listDfa(texts);
  const outside = tree.length;
  const states = tree.map(({ accept, edges }): DfaState => {
    const all: Edge[] = [];
    let next = 0;
    for (const [point, , to] of edges) {
      if (point > next) all.push([next, point - 1, outside]);
      all.push([point, point, to]);
      next = point + 1;
    }
    if (next <= lastCodePoint) all.push([next, lastCodePoint, outside]);
    return { accept: !accept, edges: all };
  });
  return [...states, { accept: true, edges: [[0, lastCodePoint, outside]] }];
}

/** Every text. */
export const anyDfa: Dfa = [{ accept: true, edges: [[0, lastCodePoint, 0]] }];

/** Nothing is matched. Of what the functions here return. */
export function isNothing(dfa: Dfa): boolean {
  return dfa.length === 1 && !dfa[0]!.accept && dfa[0]!.edges.length === 0;
}

/** Without states that lead to no end. */
function trimmed(dfa: Dfa): Dfa {
  const sources: number[][] = dfa.map(() => []);
  for (const [i, { edges }] of dfa.entries()) for (const [, , to] of edges) sources[to]!.push(i);
  const useful = new Set<number>();
  const stack = [...dfa.keys()].filter((i) => dfa[i]!.accept);
  while (stack.length > 0) {
    const at = stack.pop()!;
    if (useful.has(at)) continue;
    useful.add(at);
    stack.push(...sources[at]!);
  }
  if (!useful.has(0)) return [{ accept: false, edges: [] }];
  const renumbered = new Map([...useful].sort((a, b) => a - b).map((old, i) => [old, i]));
  return [...renumbered.keys()].map((old) => ({
    accept: dfa[old]!.accept,
    edges: dfa[old]!.edges.flatMap(([low, high, to]): Edge[] =>
      renumbered.has(to) ? [[low, high, renumbered.get(to)!]] : [],
    ),
  }));
}

/** States times rounds; above it an automaton stays as it is. */
const maxRounds = 200_000;

/** With equal states merged, unless that takes long. */
export function minimised(dfa: Dfa): Dfa {
  return mergedFromEnd(dfa) ?? mergedInRounds(dfa);
}

/** In one pass from the ends on; null where states lead back to others than themselves. */
function mergedFromEnd(dfa: Dfa): Dfa | null {
  const order = fromEnd(dfa);
  if (order === null) return null;
  spend(dfa.length);
  const same: number[] = [];
  const known = new Map<string, number>();
  const keyOf = (state: number, self: number) => {
    const edges = dfa[state]!.edges.map(([low, high, to]): Edge => {
      const target = to === state ? -1 : same[to]!;
      return [low, high, target === self ? -1 : target];
    });
    return `${dfa[state]!.accept}:${joined(edges).join(';')}`;
  };
  for (const state of order) {
    // A state may be the same as one that it leads to, where that leads to itself.
    const targets = new Set(dfa[state]!.edges.map(([, , to]) => (to === state ? -1 : same[to]!)));
    const loop = [...targets].find(
      (to) =>
        to >= 0 && dfa[to]!.edges.some(([, , t]) => t === to) && known.get(keyOf(state, to)) === to,
    );
    const key = keyOf(state, -1);
    same[state] = loop ?? known.get(key) ?? state;
    if (same[state] === state) known.set(key, state);
  }
  const ids = new Map([[same[0]!, 0]]);
  const out: DfaState[] = [];
  for (const state of ids.keys()) {
    const edges = dfa[state]!.edges.map(([low, high, to]): Edge => {
      const target = same[to]!;
      if (!ids.has(target)) ids.set(target, ids.size);
      return [low, high, ids.get(target)!];
    });
    out.push({ accept: dfa[state]!.accept, edges: joined(edges) });
  }
  return out;
}

/** Every state behind those that it leads to. */
function fromEnd(dfa: Dfa): number[] | null {
  const order: number[] = [];
  const place = new Map([[0, 0]]);
  const done = new Set<number>();
  const stack = [0];
  while (stack.length > 0) {
    const state = stack.at(-1)!;
    const { edges } = dfa[state]!;
    const at = place.get(state)!;
    if (at === edges.length) {
      done.add(state);
      order.push(state);
      stack.pop();
      continue;
    }
    place.set(state, at + 1);
    const to = edges[at]![2];
    if (to === state || done.has(to)) continue;
    if (place.has(to)) return null;
    place.set(to, 0);
    stack.push(to);
  }
  return order;
}

function mergedInRounds(dfa: Dfa): Dfa {
  const edges = dfa.reduce((sum, state) => sum + state.edges.length, dfa.length);
  let group: number[] = dfa.map(({ accept }) => (accept ? 1 : 0));
  for (let count = new Set(group).size, work = 0; ; ) {
    const ids = new Map<string, number>();
    const next = dfa.map(({ edges }, i) => {
      const seen = joined(edges.map(([low, high, to]): Edge => [low, high, group[to]!]));
      const key = `${group[i]}:${seen.join(';')}`;
      if (!ids.has(key)) ids.set(key, ids.size);
      return ids.get(key)!;
    });
    group = next;
    if (ids.size === count) break;
    count = ids.size;
    work += edges;
    spend(edges);
    if (work > maxRounds) return dfa;
  }
  // Groups are numbered as they are met: the start's is 0.
  const first = new Map<number, number>();
  for (const [i, g] of group.entries()) if (!first.has(g)) first.set(g, i);
  return [...first.values()].map((i) => ({
    accept: dfa[i]!.accept,
    edges: joined(dfa[i]!.edges.map(([low, high, to]): Edge => [low, high, group[to]!])),
  }));
}

/** Edges of one state by where they lead. */
export function byTarget(edges: readonly Edge[]): Map<number, CodePoints> {
  const ranges = new Map<number, [number, number][]>();
  for (const [low, high, to] of edges) {
    const list = ranges.get(to);
    if (list) list.push([low, high]);
    else ranges.set(to, [[low, high]]);
  }
  return new Map([...ranges].map(([to, list]) => [to, codePoints(list)]));
}
