/** Random schemas: the grammar, ajv and random values have to agree. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { jsonSchemaExpression } from '../../lib/grammar/json-schema/index.js';
import { GrammarSource } from '../../lib/grammar/source.js';
import { Recogniser, randomNumbers } from './grammar-recogniser.js';

type Schema = Record<string, unknown>;
const ajv = new Ajv2020({ strict: false });

class Maker {
  /** Schemas that others refer to. */
  defs: Schema = {};

  constructor(private readonly random: () => number) {}

  root(): Schema {
    this.defs = {};
    return { allOf: [this.schema(2)], $defs: this.defs };
  }

  one<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)]!;
  }

  maybe(chance: number): boolean {
    return this.random() < chance;
  }

  some<T>(list: readonly T[]): T[] {
    return list.filter(() => this.maybe(0.5));
  }

  scalar(): unknown {
    return this.one<unknown>(['', 'a', 'ab', 'abc', 'b', 0, 1, 2, 3, -1, 1.5, true, false, null]);
  }

  value(depth: number): unknown {
    if (depth <= 0 || this.maybe(0.5)) return this.scalar();
    if (this.maybe(0.5))
      return Array.from({ length: Math.floor(this.random() * 4) }, () => this.value(depth - 1));
    return Object.fromEntries(
      this.some(['a', 'b', 'c']).map((name) => [name, this.value(depth - 1)]),
    );
  }

  schema(depth: number): Schema | boolean {
    if (this.maybe(0.05)) return this.maybe(0.7);
    const local = () =>
      this.one([this.#string, this.#number, this.#object, this.#array, this.#enum]);
    const schema = local().call(this, depth);
    if (depth <= 0) return schema;
    const combine = this.random();
    const part = () => this.schema(depth - 1);
    if (combine < 0.12) schema.anyOf = [part(), part()];
    else if (combine < 0.24) schema.allOf = [part(), part()];
    else if (combine < 0.34) schema.oneOf = [part(), part()];
    else if (combine < 0.44) schema.not = part();
    else if (combine < 0.54)
      // biome-ignore lint/suspicious/noThenProperty: the keyword
      Object.assign(schema, { if: part(), then: part(), else: part() });
    else if (combine < 0.6) {
      const name = `d${Object.keys(this.defs).length}`;
      this.defs[name] = schema;
      return { $ref: `#/$defs/${name}` };
    }
    return schema;
  }

  #string(): Schema {
    const schema: Schema = this.maybe(0.7) ? { type: 'string' } : {};
    if (this.maybe(0.4)) schema.minLength = this.one([1, 2]);
    if (this.maybe(0.4)) schema.maxLength = this.one([1, 2, 3]);
    if (this.maybe(0.4)) schema.pattern = this.one(['a', '^a', 'b$', '^[ab]*$', '^(a|ab)$']);
    return schema;
  }

  #number(): Schema {
    const schema: Schema = this.maybe(0.8) ? { type: this.one(['number', 'integer']) } : {};
    if (this.maybe(0.4)) schema.minimum = this.one([0, 1, 1.5]);
    if (this.maybe(0.3)) schema.exclusiveMaximum = this.one([2, 3]);
    if (this.maybe(0.3)) schema.multipleOf = this.one([0.5, 1, 2]);
    return schema;
  }

  #object(depth: number): Schema {
    const schema: Schema = this.maybe(0.8) ? { type: 'object' } : {};
    const part = () => this.schema(depth - 1);
    const names = this.some(['a', 'b', 'c']);
    if (depth > 0) schema.properties = Object.fromEntries(names.map((name) => [name, part()]));
    if (this.maybe(0.5)) schema.required = this.some(['a', 'b']);
    if (this.maybe(0.4)) schema.additionalProperties = this.maybe(0.6) ? false : part();
    if (this.maybe(0.15)) schema.patternProperties = { '^[ab]$': part() };
    if (this.maybe(0.15)) schema.propertyNames = { enum: ['a', 'c'] };
    if (this.maybe(0.15)) schema.maxProperties = this.one([1, 2]);
    if (this.maybe(0.15)) schema.minProperties = 1;
    if (this.maybe(0.15)) schema.dependentRequired = { a: ['b'] };
    if (this.maybe(0.1)) schema.dependentSchemas = { b: part() };
    return schema;
  }

  #array(depth: number): Schema {
    const schema: Schema = this.maybe(0.8) ? { type: 'array' } : {};
    const part = () => (depth > 0 ? this.schema(depth - 1) : this.#enum());
    if (this.maybe(0.5)) schema.items = part();
    if (this.maybe(0.3)) schema.prefixItems = [part()];
    // ajv takes an empty array to contain anything where there are prefixItems.
    else if (this.maybe(0.4)) {
      schema.contains = part();
      if (this.maybe(0.4)) schema.maxContains = this.one([1, 2]);
      if (this.maybe(0.3)) schema.minContains = this.one([0, 1]);
    }
    if (this.maybe(0.3)) schema.minItems = this.one([1, 2]);
    if (this.maybe(0.3)) schema.maxItems = this.one([1, 2]);
    if (this.maybe(0.15)) schema.uniqueItems = true;
    return schema;
  }

  #enum(): Schema {
    if (this.maybe(0.3)) return { const: this.value(1) };
    return { enum: [this.scalar(), this.scalar(), this.value(1)] };
  }
}

/** A value in every order of its properties. */
function orders(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [value];
  const names = Array.isArray(value) ? null : Object.keys(value);
  let out: unknown[][] = [[]];
  for (const part of Object.values(value))
    out = out.flatMap((before) => orders(part).map((one) => [...before, one]));
  if (names === null) return out;
  return out.flatMap((parts) =>
    permutations(names.map((name, i) => [name, parts[i]] as const)).map((p) =>
      Object.fromEntries(p),
    ),
  );
}

function permutations<T>(list: readonly T[]): T[][] {
  if (list.length <= 1) return [[...list]];
  return list.flatMap((first, i) =>
    permutations([...list.slice(0, i), ...list.slice(i + 1)]).map((rest) => [first, ...rest]),
  );
}

describe('random schemas', () => {
  it('allow what ajv allows, and nothing else', () => {
    const random = randomNumbers(2026);
    const maker = new Maker(random);
    const seen = { enforced: 0, refused: 0, empty: 0, valid: 0, samples: 0 };
    for (let i = 0; i < 250; i++) {
      const schema = maker.root();
      const validate = ajv.compile(schema);
      const values = Array.from({ length: 12 }, () => maker.value(2));
      const source = new GrammarSource('schema');
      let grammar: Recogniser;
      try {
        grammar = new Recogniser(source.text(jsonSchemaExpression(source, schema, 'schema')));
      } catch (error) {
        expect(error).toBeInstanceOf(EngineError);
        const isEmpty = /no value fits/.test((error as Error).message);
        seen[isEmpty ? 'empty' : 'refused']++;
        if (isEmpty)
          for (const value of values)
            expect([schema, value, validate(value)]).toEqual([schema, value, false]);
        continue;
      }
      seen.enforced++;
      for (const value of values) {
        const expected = validate(value);
        if (expected) seen.valid++;
        const accepted = orders(value).some((one) => grammar.accepts(JSON.stringify(one)));
        expect([JSON.stringify(schema), value, accepted]).toEqual([
          JSON.stringify(schema),
          value,
          expected,
        ]);
      }
      for (let k = 0; k < 6 && grammar.satisfiable; k++) {
        const text = grammar.sample(random, 25);
        const value: unknown = JSON.parse(text);
        seen.samples++;
        expect([JSON.stringify(schema), text, validate(value)]).toEqual([
          JSON.stringify(schema),
          text,
          true,
        ]);
      }
    }
    expect(seen.enforced).toBeGreaterThan(125);
    expect(seen.valid).toBeGreaterThan(150);
    expect(seen.samples).toBeGreaterThan(500);
  });
});
