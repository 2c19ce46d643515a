/** Free text that ends where one of some triggers is complete. */
import { type CodePoints, intersection, lastCodePoint } from './code-points.js';
import type { DfaState, Edge } from './dfa.js';
import { characters, choice, type GrammarSource, never } from './source.js';
import { writeDfa } from './write.js';

export interface Trigger {
  /** May hold special tokens. */
  readonly text: string;
  /** The expression for what follows it; `never` where it must not come. */
  readonly next: string;
}

/** Special tokens are code points of their own here, behind Unicode's. */
const firstToken = lastCodePoint + 1;
const everyToken: CodePoints = [[firstToken, 2 ** 32]];

interface Node {
  /** A special token has been read: nothing but the rest of a trigger may follow. */
  readonly bound: boolean;
  readonly next: Map<number, number>;
  fail: number;
  /** The trigger that is complete. */
  trigger: Trigger | null;
}

/**
 * An expression for text without any of the triggers, then one of them and what follows it. With `mayEnd` the
 * text may also end before a trigger is complete. Special tokens are in no free text.
 */
export function textUntil(
  source: GrammarSource,
  triggers: readonly Trigger[],
  mayEnd: boolean,
): string {
  const nodes = automaton(source, triggers);
  const states = nodes.map((node, i): DfaState => {
    if (node.trigger) return { accept: false, edges: [] };
    return { accept: mayEnd && !node.bound, edges: edgesOf(nodes, i) };
  });
  return writeDfa(source, states, spelled, 'free', (state) => {
    const { trigger, bound } = nodes[state]!;
    if (trigger) return trigger.next;
    return mayEnd && !bound ? '""' : null;
  });
}

/** Any text at all, but for special tokens. */
export function anyText(source: GrammarSource): string {
  return textUntil(source, [], true);
}

/** Aho and Corasick's. */
function automaton(source: GrammarSource, triggers: readonly Trigger[]): Node[] {
  const node = (bound: boolean): Node => ({ bound, next: new Map(), fail: 0, trigger: null });
  const nodes = [node(false)];
  for (const trigger of triggers) {
    let at = 0;
    for (const symbol of source.symbols(trigger.text)) {
      let to = nodes[at]!.next.get(symbol);
      if (to === undefined) {
        to = nodes.push(node(nodes[at]!.bound || symbol > lastCodePoint)) - 1;
        nodes[at]!.next.set(symbol, to);
      }
      at = to;
    }
    nodes[at]!.trigger ??= trigger;
  }
  const queue = [...nodes[0]!.next.values()];
  for (const at of queue)
    for (const [symbol, to] of nodes[at]!.next) {
      nodes[to]!.fail = follow(nodes, nodes[at]!.fail, symbol);
      nodes[to]!.trigger ??= nodes[nodes[to]!.fail]!.trigger;
      queue.push(to);
    }
  return nodes;
}

function follow(nodes: readonly Node[], from: number, symbol: number): number {
  for (let at = from; ; at = nodes[at]!.fail) {
    const to = nodes[at]!.next.get(symbol);
    if (to !== undefined) return to;
    if (at === 0) return 0;
  }
}

function edgesOf(nodes: readonly Node[], from: number): Edge[] {
  const named = new Map<number, number>();
  for (let at = from; ; at = nodes[at]!.fail) {
    for (const symbol of nodes[at]!.next.keys())
      if (!named.has(symbol)) named.set(symbol, follow(nodes, from, symbol));
    if (at === 0) break;
  }
  const edges: Edge[] = [];
  if (nodes[from]!.bound) {
    for (const [symbol, to] of named) if (nodes[to]!.bound) edges.push([symbol, symbol, to]);
    return edges.sort(([a], [b]) => a - b);
  }
  let next = 0;
  for (const [symbol, to] of [...named].sort(([a], [b]) => a - b)) {
    // Text that is no part of a trigger; a token that is none cannot come.
    if (symbol <= lastCodePoint && symbol > next) edges.push([next, symbol - 1, 0]);
    if (symbol > lastCodePoint && next <= lastCodePoint) edges.push([next, lastCodePoint, 0]);
    edges.push([symbol, symbol, to]);
    next = symbol + 1;
  }
  if (next <= lastCodePoint) edges.push([next, lastCodePoint, 0]);
  return edges;
}

function spelled(_: GrammarSource, set: CodePoints): string {
  const text = characters(intersection(set, [[0, lastCodePoint]]));
  const tokens: string[] = [];
  for (const [low, high] of intersection(set, everyToken))
    for (let i = low; i <= high; i++) tokens.push(`token(${i - firstToken})`);
  return tokens.length === 0 ? text : choice([text, ...tokens]);
}

/** The trigger's expression where it must not come at all. */
export const forbidden = never;
