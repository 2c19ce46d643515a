/** What a schema allows, as a list of alternatives of one type each. */
import { spend } from '../work.js';
import type { SchemaNode } from './document.js';
import { intersectNumbers, type NumberSet } from './numbers.js';
import { holdsString, intersectStrings, type StringSet } from './strings.js';

/** A schema, or what it does not allow. */
export interface Literal {
  readonly node: SchemaNode;
  readonly not: boolean;
}

/** Schemas that all have to hold. Equal ones are one object. */
export interface Conjunction {
  readonly id: number;
  readonly literals: readonly Literal[];
  /** Plainly nothing: `false`, or a schema and its negation. */
  readonly nothing: boolean;
}

export type Alternative =
  | { readonly type: 'null' }
  | { readonly type: 'boolean'; readonly values: readonly boolean[] }
  | { readonly type: 'string'; readonly set: StringSet }
  | { readonly type: 'number'; readonly set: NumberSet }
  | ArrayValue
  | ObjectValue;

export interface Contained {
  readonly value: Conjunction;
  readonly least: number;
  readonly most: number;
}

export interface ArrayValue {
  readonly type: 'array';
  readonly prefix: readonly Conjunction[];
  readonly rest: Conjunction;
  readonly least: number;
  readonly most: number;
  readonly contains: readonly Contained[];
  readonly unique: boolean;
  /** For errors. */
  readonly node: SchemaNode;
}

export interface Property {
  readonly value: Conjunction;
  readonly presence: 'required' | 'optional' | 'forbidden';
}

/** Properties without a name of their own. Other names than those of all kinds are not allowed. */
export interface OpenKind {
  readonly names: StringSet;
  readonly value: Conjunction;
}

export interface ObjectValue {
  readonly type: 'object';
  /** In the order in which they are written. */
  readonly properties: ReadonlyMap<string, Property>;
  readonly open: readonly OpenKind[];
  readonly least: number;
  readonly most: number;
  readonly node: SchemaNode;
}

/** Makes conjunctions, equal ones once. */
export class Conjunctions {
  readonly #known = new Map<string, Conjunction>();
  readonly anything: Conjunction;
  readonly nothing: Conjunction;

  constructor() {
    this.anything = this.of([]);
    this.nothing = { id: -1, literals: [], nothing: true };
  }

  of(literals: readonly Literal[]): Conjunction {
    const wanted = new Map<string, Literal>();
    for (const { node, not } of literals) {
      if (typeof node.schema === 'boolean') {
        if (node.schema === not) return this.nothing;
        continue;
      }
      if (wanted.has(`${node.id}${not ? '' : '!'}`)) return this.nothing;
      wanted.set(`${node.id}${not ? '!' : ''}`, { node, not });
    }
    const sorted = [...wanted].sort(([, a], [, b]) => a.node.id - b.node.id);
    const key = sorted.map(([name]) => name).join();
    let found = this.#known.get(key);
    if (!found) {
      found = { id: this.#known.size, literals: sorted.map(([, l]) => l), nothing: false };
      this.#known.set(key, found);
    }
    return found;
  }

  all(...parts: readonly Conjunction[]): Conjunction {
    const real = parts.filter((part) => part !== this.anything);
    if (real.some((part) => part.nothing)) return this.nothing;
    if (real.length <= 1) return real[0] ?? this.anything;
    return this.of(real.flatMap((part) => part.literals));
  }

  get count(): number {
    return this.#known.size;
  }

  /** Null where nothing is left. */
  intersect(a: Alternative, b: Alternative): Alternative | null {
    spend(1);
    if (a.type === 'null') return b.type === 'null' ? a : null;
    if (a.type === 'boolean') {
      if (b.type !== 'boolean') return null;
      const values = a.values.filter((value) => b.values.includes(value));
      return values.length > 0 ? { type: 'boolean', values } : null;
    }
    if (a.type === 'string') {
      const set = b.type === 'string' ? intersectStrings(a.set, b.set) : null;
      return set && { type: 'string', set };
    }
    if (a.type === 'number') {
      const set = b.type === 'number' ? intersectNumbers(a.set, b.set) : null;
      return set && { type: 'number', set };
    }
    if (a.type === 'array') return b.type === 'array' ? this.#arrays(a, b) : null;
    return b.type === 'object' ? this.#objects(a, b) : null;
  }

  #arrays(a: ArrayValue, b: ArrayValue): ArrayValue | null {
    const least = Math.max(a.least, b.least);
    const most = Math.min(a.most, b.most);
    if (least > most) return null;
    const length = Math.max(a.prefix.length, b.prefix.length);
    const prefix = Array.from({ length }, (_, i) =>
      this.all(a.prefix[i] ?? a.rest, b.prefix[i] ?? b.rest),
    );
    const known = new Set(a.contains.map((c) => `${c.value.id},${c.least},${c.most}`));
    const added = b.contains.filter((c) => !known.has(`${c.value.id},${c.least},${c.most}`));
    const contains = [...a.contains, ...added];
    const unique = a.unique || b.unique;
    return { ...a, prefix, rest: this.all(a.rest, b.rest), least, most, contains, unique };
  }

  #objects(a: ObjectValue, b: ObjectValue): ObjectValue | null {
    const least = Math.max(a.least, b.least);
    const most = Math.min(a.most, b.most);
    if (least > most) return null;
    const properties = new Map<string, Property>();
    spend(a.properties.size + b.properties.size);
    for (const name of [...a.properties.keys(), ...b.properties.keys()]) {
      if (properties.has(name)) continue;
      const [x, y] = [this.property(a, name), this.property(b, name)];
      const value = this.all(x.value, y.value);
      const either = [x.presence, y.presence];
      const forbidden = either.includes('forbidden') || value.nothing;
      const required = either.includes('required');
      if (forbidden && required) return null;
      const presence = forbidden ? 'forbidden' : required ? 'required' : 'optional';
      properties.set(name, { value, presence });
    }
    const open: OpenKind[] = [];
    for (const x of a.open)
      for (const y of b.open) {
        const names = intersectStrings(x.names, y.names);
        const value = this.all(x.value, y.value);
        if (names && !value.nothing) open.push({ names, value });
      }
    return { ...a, properties, open, least, most };
  }

  /** What an object says of a name. */
  property(object: ObjectValue, name: string): Property {
    const own = object.properties.get(name);
    if (own) return own;
    const kind = object.open.find(({ names }) => holdsString(names, name));
    if (!kind) return { value: this.nothing, presence: 'forbidden' };
    return { value: kind.value, presence: 'optional' };
  }
}
