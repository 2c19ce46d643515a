/** Arrays: items by place, counts, `contains` and `uniqueItems`. */
import { choice, never, optional, repeat, sequence } from '../source.js';
import { enumerate } from './enumerate.js';
import type { ArrayValue, Conjunction } from './values.js';
import type { SchemaWriter } from './writer.js';

const maxGrid = 5_000;
/** Values that the items of a uniqueItems can be in all, and sets of them that may be used up. */
const maxValues = 64;
const maxSets = 3_000;

export function writeArray(writer: SchemaWriter, array: ArrayValue): string {
  const isUnique = array.unique && array.most > 1;
  const inner = isUnique
    ? unique(writer, array)
    : array.contains.length > 0
      ? containing(writer, array)
      : plain(writer, array);
  return writer.brackets('[', inner, ']');
}

function itemAt({ prefix, rest }: ArrayValue, i: number): Conjunction {
  return prefix[i] ?? rest;
}

function plain(writer: SchemaWriter, array: ArrayValue): string {
  const { prefix, least } = array;
  const rest = writer.inside(writer.value(array.rest));
  const most = rest === never ? Math.min(array.most, prefix.length) : array.most;
  if (least > most) return never;
  const places = Math.min(prefix.length, most);
  if (places === 0) return writer.list(rest, least, most);
  let tail = '""';
  if (most > places) {
    const more = sequence([writer.comma, rest]);
    const low = Math.max(least - places, 0);
    tail = writer.named('items', repeat(more, low, most - places));
  }
  for (let i = places - 1; i >= 0; i--) {
    const item = writer.inside(writer.value(prefix[i]!));
    const here = sequence([...(i > 0 ? [writer.comma] : []), item, tail]);
    if (here === never && i < least) return never;
    tail = writer.named('items', i < least ? here : optional(here));
  }
  return tail;
}

/** A rule for each number of items, and of those that `contains` counts. */
function containing(writer: SchemaWriter, array: ArrayValue): string {
  const { least, most, contains, node } = array;
  if (contains.length > 1)
    writer.fault(node, 'contains', 'several of them for one array cannot be enforced');
  const { value: wanted, least: fewest, most: highest } = contains[0]!;
  const { conjunctions } = writer.expander;
  const places = most === Infinity ? Math.max(least, array.prefix.length) : most;
  const hits = highest === Infinity ? fewest : highest;
  if ((places + 1) * (hits + 1) > maxGrid)
    writer.fault(node, 'contains', 'its counts together with the number of items are too large');
  // What must not be counted is only told apart where counting matters.
  const notWanted = () => {
    const [literal] = wanted.literals;
    if (wanted.nothing) return conjunctions.anything;
    if (!literal) return conjunctions.nothing;
    if (wanted.literals.length > 1)
      writer.fault(node, 'contains', 'maxContains of combined schemas cannot be enforced');
    return conjunctions.of([{ node: literal.node, not: !literal.not }]);
  };
  const miss = highest === Infinity ? conjunctions.anything : notWanted();
  const names = new Map<string, string>();
  const waiting: [number, number][] = [];
  const refer = (i: number, h: number): string => {
    const at = most === Infinity ? Math.min(i, places) : i;
    const count = highest === Infinity ? Math.min(h, hits) : h;
    // Whether a comma is needed: the same place may be the first.
    const key = `${at} ${count} ${i > 0}`;
    let name = names.get(key);
    if (name === undefined) {
      name = writer.source.name('contains');
      names.set(key, name);
      waiting.push([i === 0 ? 0 : Math.max(at, 1), count]);
    }
    return name;
  };
  const root = refer(0, 0);
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [i, h] = next;
    const parts: string[] = [];
    const step = (value: Conjunction, to: () => string) => {
      const item = writer.inside(writer.value(value));
      if (item !== never) parts.push(sequence([...(i > 0 ? [writer.comma] : []), item, to()]));
    };
    if (i < most) {
      const item = itemAt(array, i);
      if (h < highest) step(conjunctions.all(item, wanted), () => refer(i + 1, h + 1));
      step(conjunctions.all(item, miss), () => refer(i + 1, h));
    }
    if (i >= least && h >= fewest) parts.push('""');
    const at = most === Infinity ? Math.min(i, places) : i;
    writer.source.define(names.get(`${at} ${h} ${i > 0}`)!, choice(parts));
  }
  return root;
}

/** A rule for each set of values that is used up. */
function unique(writer: SchemaWriter, array: ArrayValue): string {
  const { least, most, node, contains } = array;
  const { conjunctions, document } = writer.expander;
  const places = [...array.prefix, array.rest];
  const values = new Map<string, number>();
  const texts: unknown[] = [];
  const perPlace = places.map((value) => {
    const found = value.nothing ? [] : enumerate(writer.expander, value, maxValues);
    if (found === null)
      writer.fault(
        node,
        'uniqueItems',
        `it can be enforced where the items are of at most ${maxValues} known values (enum, const, boolean, ` +
          'small ranges of integers)',
      );
    return found.map((item) => {
      const key = canonical(item);
      const known = values.get(key);
      if (known !== undefined) return known;
      values.set(key, texts.length);
      return texts.push(item) - 1;
    });
  });
  const counts = contains.map(({ value, least: low, most: high }) => {
    const isHit = texts.map((item) => {
      const constant = conjunctions.of([{ node: document.constant(node, item), not: false }]);
      return !writer.expander.isEmpty(conjunctions.all(constant, value));
    });
    return (used: readonly number[]) => {
      const hits = used.filter((i) => isHit[i]).length;
      return hits >= low && hits <= high;
    };
  });
  const names = new Map<string, string>();
  const waiting: (readonly number[])[] = [];
  const refer = (used: readonly number[]): string => {
    const key = used.join();
    let name = names.get(key);
    if (name === undefined) {
      if (names.size >= maxSets)
        writer.fault(node, 'uniqueItems', `its items can be chosen in more than ${maxSets} ways`);
      name = writer.source.name('unique');
      names.set(key, name);
      waiting.push(used);
    }
    return name;
  };
  const root = refer([]);
  for (let used = waiting.pop(); used; used = waiting.pop()) {
    const count = used.length;
    const parts: string[] = [];
    if (count < most)
      for (const i of perPlace[count] ?? perPlace.at(-1)!) {
        if (used.includes(i)) continue;
        const after = [...used, i].sort((a, b) => a - b);
        const item = writer.inside(writer.source.bytes(JSON.stringify(texts[i])));
        parts.push(sequence([...(count > 0 ? [writer.comma] : []), item, refer(after)]));
      }
    if (count >= least && counts.every((fits) => fits(used!))) parts.push('""');
    writer.source.define(names.get(used.join())!, choice(parts));
  }
  return root;
}

/** Equal for equal JSON values. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`).join()}}`;
}
