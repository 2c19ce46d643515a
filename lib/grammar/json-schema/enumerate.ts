import type { Expander } from './expand.js';
import { integersIn } from './numbers.js';
import type { Alternative, Conjunction } from './values.js';

/** Every value that fits, if they are at most `limit`; else null. Equal ones may come twice. */
export function enumerate(expander: Expander, value: Conjunction, limit: number): unknown[] | null {
  return some(expander, value, limit, 0);
}

const maxDepth = 10;

function some(
  expander: Expander,
  value: Conjunction,
  limit: number,
  depth: number,
): unknown[] | null {
  if (value.nothing) return [];
  if (value.literals.length === 0 || depth > maxDepth) return null;
  const out: unknown[] = [];
  for (const part of expander.alternatives(value)) {
    const found = ofPart(expander, part, limit, depth);
    if (found === null) return null;
    out.push(...found);
    if (out.length > limit) return null;
  }
  return out;
}

function ofPart(
  expander: Expander,
  part: Alternative,
  limit: number,
  depth: number,
): readonly unknown[] | null {
  switch (part.type) {
    case 'null':
      return [null];
    case 'boolean':
      return part.values;
    case 'string':
      if (part.set.finite) return part.set.finite;
      return part.set.patterns.length === 0 && part.set.most === 0 ? [''] : null;
    case 'number':
      return integersIn(part.set, limit);
    case 'array': {
      const { prefix, least, most, contains, unique } = part;
      if (least !== most || most > prefix.length || contains.length > 0 || unique) return null;
      return products(
        prefix.slice(0, most),
        (item) => some(expander, item, limit, depth + 1),
        limit,
      );
    }
    default: {
      const { properties, open, least, most } = part;
      const names = [...properties].filter(([, p]) => p.presence !== 'forbidden');
      if (open.length > 0 || names.some(([, p]) => p.presence !== 'required')) return null;
      if (names.length < least || names.length > most) return [];
      const values = products(
        names.map(([, p]) => p.value),
        (item) => some(expander, item, limit, depth + 1),
        limit,
      );
      return (
        values?.map((list) => Object.fromEntries(list.map((v, i) => [names[i]![0], v]))) ?? null
      );
    }
  }
}

function products(
  parts: readonly Conjunction[],
  each: (part: Conjunction) => unknown[] | null,
  limit: number,
): unknown[][] | null {
  let out: unknown[][] = [[]];
  for (const part of parts) {
    const values = each(part);
    if (values === null) return null;
    out = out.flatMap((before) => values.map((value) => [...before, value]));
    if (out.length > limit) return null;
  }
  return out;
}
