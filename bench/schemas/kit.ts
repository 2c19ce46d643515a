/**
 * The words that the corpus is written in: shapes, each a JSON Schema and a way to write values that fit it. A kit makes
 * one variant of a template: which optional properties, choices and bounds there are depends on its seed alone.
 */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

export interface Shape {
  readonly schema: JsonObject;
  /** A value that fits; `depth` counts down in recursive shapes. */
  readonly make: (depth: number) => Json;
}

/** Where a property's name ends in `?` it is optional, and some variants leave it out. */
export type Members = Record<string, Shape>;

const words = (
  'amber basic cedar delta eager field grain harbor island jungle kernel lumen meadow north ocean pilot quartz river ' +
  'signal timber urban valley winter yellow zenith account balance customer delivery engine factor gateway history ' +
  'invoice journal ledger module network order payment quality report service ticket update vendor window'
).split(' ');

const prose = [
  'Replaces the battery pack of the unit near the east gate.',
  'He said "not before Monday", and left.',
  'Größe und Gewicht stehen auf dem Etikett.',
  'First line\nsecond line\twith a tab',
  'Das Café schließt um 18 Uhr; naïve façade, 東京タワー.',
  'A path such as C:\\temp\\new, or a slash / in between.',
  'Shipped in two parcels, 3.5 kg each (fragile).',
  'Ship it 🚀 and tell nobody.',
];

export class Kit {
  #state: number;
  readonly #definitions: JsonObject = {};
  readonly #shapes = new Map<string, Shape>();

  constructor(
    readonly seed: number,
    /** 0 for the template as it is written; larger ones leave out, tighten and widen. */
    readonly variant: number,
  ) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(variant + 1, 0x85ebca6b);
  }

  /** In [0, n). */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) % n;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  word(): string {
    return this.pick(words);
  }

  /** `[A-Za-z]` and digits from `letters`, as in identifiers. */
  letters(letters: string, length: number): string {
    return Array.from({ length }, () => this.pick([...letters])).join('');
  }

  digits(length: number): string {
    return this.letters('0123456789', length);
  }

  shape(schema: JsonObject, make: (depth: number) => Json): Shape {
    return { schema, make };
  }

  describe(shape: Shape, description: string): Shape {
    return { ...shape, schema: { ...shape.schema, description } };
  }

  /** Prose, code points of it counted. */
  text(bounds: { min?: number; max?: number } = {}): Shape {
    const { min, max } = bounds;
    const schema: JsonObject = { type: 'string' };
    if (min !== undefined) schema.minLength = min;
    if (max !== undefined) schema.maxLength = max;
    return this.shape(schema, () => {
      let text = this.chance(40) ? this.pick(prose) : this.phrase(1 + this.below(5));
      while ([...text].length < (min ?? 0)) text += ` ${this.word()}`;
      return max === undefined ? text : [...text].slice(0, max).join('');
    });
  }

  phrase(count: number): string {
    return Array.from({ length: count }, () => this.word()).join(' ');
  }

  pattern(pattern: string, make: () => string, more: JsonObject = {}): Shape {
    return this.shape({ type: 'string', pattern, ...more }, make);
  }

  format(format: keyof typeof formats): Shape {
    return this.shape({ type: 'string', format }, () => formats[format](this));
  }

  /** Multiples of `step`, of which `minimum` is one. */
  integer(minimum?: number, maximum?: number, step = 1): Shape {
    const schema: JsonObject = { type: 'integer' };
    if (minimum !== undefined) schema.minimum = minimum;
    if (maximum !== undefined) schema.maximum = maximum;
    if (step > 1) schema.multipleOf = step;
    const low = minimum ?? -1000 * step;
    const high = maximum ?? low + 100_000 * step;
    const count = Math.floor((high - low) / step) + 1;
    return this.shape(schema, () => low + step * this.below(count));
  }

  /** With up to two digits behind the point. */
  number(minimum?: number, maximum?: number): Shape {
    const schema: JsonObject = { type: 'number' };
    if (minimum !== undefined) schema.minimum = minimum;
    if (maximum !== undefined) schema.maximum = maximum;
    const low = Math.ceil((minimum ?? -1000) * 100);
    const high = Math.floor((maximum ?? 100_000) * 100);
    return this.shape(schema, () => (low + this.below(high - low + 1)) / 100);
  }

  /** Steps of `step` from `low`, as money and percentages are. `low` has to be one. */
  steps(step: number, low: number, high: number): Shape {
    const count = Math.round((high - low) / step);
    const schema: JsonObject = { type: 'number', minimum: low, maximum: high, multipleOf: step };
    return this.shape(schema, () => Number((low + step * this.below(count + 1)).toFixed(4)));
  }

  boolean(): Shape {
    return this.shape({ type: 'boolean' }, () => this.chance(50));
  }

  constant(value: Json): Shape {
    return this.shape({ const: value }, () => value);
  }

  /** Variants but the first have some of the values only. */
  choice(...values: Json[]): Shape {
    const kept = this.variant === 0 ? values : values.filter((_, i) => i === 0 || this.chance(75));
    const typed = kept.every((value) => typeof value === 'string');
    return this.shape({ ...(typed && { type: 'string' }), enum: kept }, () => this.pick(kept));
  }

  list(item: Shape, bounds: { min?: number; max?: number } = {}, more: JsonObject = {}): Shape {
    const { min, max } = bounds;
    const schema: JsonObject = { type: 'array', items: item.schema };
    if (min !== undefined) schema.minItems = min;
    if (max !== undefined) schema.maxItems = this.variant > 2 ? max * 2 : max;
    const most = Math.max(min ?? 0, Math.min(max ?? 4, (min ?? 0) + 4));
    return this.shape({ ...schema, ...more }, (depth) => {
      const least = min ?? 0;
      const length = depth > 0 ? least + this.below(most - least + 1) : least;
      return Array.from({ length }, () => item.make(depth - 1));
    });
  }

  /** A set out of a few values, each at most once. */
  subset(...values: Json[]): Shape {
    const schema: JsonObject = { type: 'array', items: { enum: values }, uniqueItems: true };
    return this.shape(schema, () => values.filter(() => this.chance(40)));
  }

  tuple(...items: Shape[]): Shape {
    const count = items.length;
    const prefixItems = items.map((item) => item.schema);
    const schema = { type: 'array', prefixItems, items: false, minItems: count, maxItems: count };
    return this.shape(schema, (depth) => items.map((item) => item.make(depth - 1)));
  }

  /** @param more `additionalProperties: false` stands in the schema where variants are strict, and `open` is not set */
  object(members: Members, more: JsonObject = {}, open = false): Shape {
    const properties: JsonObject = {};
    const required: string[] = [];
    const made: [string, Shape, boolean][] = [];
    for (const [key, shape] of Object.entries(members)) {
      const optional = key.endsWith('?');
      const name = optional ? key.slice(0, -1) : key;
      if (optional && this.variant > 0 && this.chance(20)) continue;
      // A value that needs itself inside would have no end.
      const mayBeNeeded = this.variant > 0 && shape.schema.$ref === undefined;
      const needed = !optional || (mayBeNeeded && this.chance(15));
      properties[name] = shape.schema;
      if (needed) required.push(name);
      made.push([name, shape, needed]);
    }
    const schema: JsonObject = { type: 'object', properties };
    if (required.length > 0) schema.required = required;
    if (!open && this.variant % 2 === 1) schema.additionalProperties = false;
    return this.shape({ ...schema, ...more }, (depth) => {
      const value: JsonObject = {};
      for (const [name, shape, needed] of made)
        if (needed || (depth > 0 && this.chance(60))) value[name] = shape.make(depth - 1);
      return value;
    });
  }

  /** An object whose names are data. */
  map(value: Shape, names?: { pattern: string; make: () => string }): Shape {
    const rest = value.schema;
    const schema: JsonObject = names
      ? {
          type: 'object',
          patternProperties: { [names.pattern]: rest },
          additionalProperties: false,
        }
      : { type: 'object', additionalProperties: rest };
    return this.shape(schema, (depth) => {
      const count = depth > 0 ? this.below(4) : 0;
      const entries = Array.from({ length: count }, (_, i) => {
        const name = names ? names.make() : `${this.word()}_${i}`;
        return [name, value.make(depth - 1)] as const;
      });
      return Object.fromEntries(entries);
    });
  }

  oneOf(...shapes: Shape[]): Shape {
    return this.#union('oneOf', shapes);
  }

  anyOf(...shapes: Shape[]): Shape {
    return this.#union('anyOf', shapes);
  }

  #union(keyword: string, shapes: Shape[]): Shape {
    const schema = { [keyword]: shapes.map((shape) => shape.schema) };
    return this.shape(schema, (depth) => {
      // The first is written so that it ends.
      const shape = depth > 0 ? this.pick(shapes) : shapes[0]!;
      return shape.make(depth - 1);
    });
  }

  nullable(shape: Shape): Shape {
    const { type } = shape.schema;
    if (typeof type === 'string' && shape.schema.enum === undefined && this.variant % 2 === 0)
      return this.shape({ ...shape.schema, type: [type, 'null'] }, (depth) =>
        this.chance(30) ? null : shape.make(depth),
      );
    return this.anyOf(
      this.shape({ type: 'null' }, () => null),
      shape,
    );
  }

  /** A definition, made once; inside of it `again` refers to it. */
  define(name: string, make: () => Shape): Shape {
    if (!Object.hasOwn(this.#definitions, name)) {
      this.#definitions[name] = true;
      const shape = make();
      this.#shapes.set(name, shape);
      this.#definitions[name] = shape.schema;
    }
    return this.again(name);
  }

  again(name: string): Shape {
    const make = (depth: number) => this.#shapes.get(name)!.make(depth);
    return this.shape({ $ref: `#/$defs/${name}` }, make);
  }

  /** The whole schema, with what has been defined. */
  document(title: string, shape: Shape): Shape {
    const schema: JsonObject = { $schema: 'https://json-schema.org/draft/2020-12/schema', title };
    Object.assign(schema, shape.schema);
    if (Object.keys(this.#definitions).length > 0) schema.$defs = this.#definitions;
    return this.shape(schema, shape.make);
  }
}

const two = (n: number) => String(n).padStart(2, '0');

const date = (k: Kit) => `20${two(k.below(40))}-${two(1 + k.below(12))}-${two(1 + k.below(28))}`;
const time = (k: Kit) => `${two(k.below(24))}:${two(k.below(60))}:${two(k.below(60))}Z`;
const hex = '0123456789abcdef';

const formats = {
  date,
  time,
  'date-time': (k: Kit) => `${date(k)}T${time(k)}`,
  duration: (k: Kit) => `P${1 + k.below(20)}DT${k.below(23)}H`,
  email: (k: Kit) => `${k.word()}.${k.word()}@${k.word()}.example`,
  hostname: (k: Kit) => `${k.word()}-${k.below(100)}.${k.word()}.example`,
  ipv4: (k: Kit) => Array.from({ length: 4 }, () => k.below(256)).join('.'),
  ipv6: (k: Kit) => `2001:db8:${k.letters(hex, 4)}::${k.letters(hex, 3)}`,
  uri: (k: Kit) => `https://${k.word()}.example/${k.word()}/${k.below(1000)}?q=${k.word()}`,
  uuid: (k: Kit) => [8, 4, 4, 4, 12].map((length) => k.letters(hex, length)).join('-'),
};
