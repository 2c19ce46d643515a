import {
  fault,
  isObject,
  type SchemaDocument,
  SchemaFault,
  type SchemaNode,
  type SchemaObject,
} from './document.js';
import { checkedSchema, inPlace, type TypeName, typesOf } from './keywords.js';
import { negatedAlternatives } from './negate.js';
import { anyInteger, anyNumber, hasNoNumber, numbersOf } from './numbers.js';
import { expandObject } from './object-value.js';
import { checkFormat, numberSet, stringSet } from './scalars.js';
import { anyString, hasNoString, stringsOf } from './strings.js';
import {
  type Alternative,
  type ArrayValue,
  type Conjunction,
  Conjunctions,
  type Literal,
  type ObjectValue,
} from './values.js';

const maxAlternatives = 512;
const maxConjunctions = 20_000;
const maxNesting = 150;
/** Questions whether something is empty, for one schema. */
const maxQuestions = 50_000;

export const allTypes: readonly TypeName[] = [
  'object',
  'array',
  'string',
  'number',
  'boolean',
  'null',
];

export class Expander {
  readonly conjunctions = new Conjunctions();
  readonly #known = new Map<number, readonly Alternative[]>();
  readonly #open = new Set<string>();
  readonly #empty = new Map<number, boolean>();
  readonly #asked = new Set<number>();
  #cuts = 0;
  #questions = 0;

  constructor(readonly document: SchemaDocument) {}

  of(node: SchemaNode, not = false): Conjunction {
    return this.conjunctions.of([{ node, not }]);
  }

  /** @throws SchemaFault */
  alternatives(value: Conjunction): readonly Alternative[] {
    if (value.nothing) return [];
    const known = this.#known.get(value.id);
    if (known) return known;
    if (this.conjunctions.count > maxConjunctions)
      throw new SchemaFault('schema', '#', 'it combines too many schemas with each other');
    let found: readonly Alternative[] | null = null;
    for (const literal of value.literals)
      found = this.both(found, this.#literal(literal), literal.node);
    found ??= this.unconstrained(allTypes, this.document.root);
    this.#known.set(value.id, found);
    return found;
  }

  #literal({ node, not }: Literal): readonly Alternative[] {
    const key = `${node.id}${not ? '!' : ''}`;
    if (this.#open.has(key))
      fault(node, '$ref', 'it leads back to itself without a value in between, which says nothing');
    if (this.#open.size > maxNesting)
      fault(node, '$ref', `references go deeper than ${maxNesting}`);
    this.#open.add(key);
    try {
      return not ? negatedAlternatives(this, node) : this.#positive(node);
    } finally {
      this.#open.delete(key);
    }
  }

  /** What fits one of either; null for everything. */
  both(
    a: readonly Alternative[] | null,
    b: readonly Alternative[],
    node: SchemaNode,
  ): readonly Alternative[] {
    if (a === null) return b;
    const out: Alternative[] = [];
    for (const x of a)
      for (const y of b) {
        const found = this.conjunctions.intersect(x, y);
        if (found) out.push(found);
        if (out.length > maxAlternatives)
          fault(node, 'schema', `its combinations make more than ${maxAlternatives} alternatives`);
      }
    return out;
  }

  #positive(node: SchemaNode): readonly Alternative[] {
    const schema = checkedSchema(node);
    const child = (value: unknown, ...path: (string | number)[]) =>
      this.of(this.document.child(node, value, ...path));
    const list = (key: string) =>
      ((schema[key] ?? []) as unknown[]).map((value, i) => child(value, key, i));
    let found: readonly Alternative[] | null = null;
    const and = (more: readonly Alternative[]) => {
      found = this.both(found, more, node);
    };
    if (Object.keys(schema).some((key) => local.has(key))) and(this.#local(node, schema));
    if (schema.const !== undefined) and(this.constants([schema.const], node));
    if (schema.enum !== undefined) and(this.constants(schema.enum as unknown[], node));
    if (schema.$ref !== undefined)
      and(this.alternatives(this.of(this.document.resolve(node, '$ref', schema.$ref))));
    if (schema.allOf !== undefined) and(this.alternatives(this.conjunctions.all(...list('allOf'))));
    if (schema.anyOf !== undefined) and(list('anyOf').flatMap((part) => this.alternatives(part)));
    if (schema.oneOf !== undefined) and(this.#oneOf(node, list('oneOf')));
    if (schema.not !== undefined)
      and(this.alternatives(this.of(this.document.child(node, schema.not, 'not'), true)));
    if (schema.if !== undefined) and(this.#conditional(node, schema));
    return found ?? this.unconstrained(allTypes, node);
  }

  #oneOf(node: SchemaNode, branches: readonly Conjunction[]): Alternative[] {
    if (branches.length > 200) fault(node, 'oneOf', 'it has more than 200 branches');
    return branches.flatMap((branch, i) => {
      const others = branches.flatMap((other, k) =>
        k !== i && !this.isEmpty(this.conjunctions.all(branch, other)) ? [{ other, k }] : [],
      );
      if (others.length === 0) return [...this.alternatives(branch)];
      const negated = others.map(({ other }) => this.#negation(node, other));
      try {
        return [...this.alternatives(this.conjunctions.all(branch, ...negated))];
      } catch (error) {
        if (!(error instanceof SchemaFault)) throw error;
        return fault(
          node,
          'oneOf',
          `branches ${i} and ${others[0]!.k} may both hold for one value, and that cannot be ruled out ` +
            `(${error.message}); use anyOf, or give every branch a property with a const of its own`,
        );
      }
    });
  }

  /** Of a conjunction of one schema. */
  #negation(node: SchemaNode, value: Conjunction): Conjunction {
    if (value.nothing) return this.conjunctions.anything;
    if (value.literals.length === 0) return this.conjunctions.nothing;
    const [literal] = value.literals;
    if (value.literals.length > 1) fault(node, 'oneOf', 'a branch is more than one schema');
    return this.of(literal!.node, !literal!.not);
  }

  #conditional(node: SchemaNode, schema: SchemaObject): Alternative[] {
    const part = (key: string) => this.document.child(node, schema[key] ?? true, key);
    if (schema.then === undefined && schema.else === undefined)
      return this.unconstrained(allTypes, node);
    const yes = this.conjunctions.all(this.of(part('if')), this.of(part('then')));
    const no = this.conjunctions.all(this.of(part('if'), true), this.of(part('else')));
    return [...this.alternatives(yes), ...this.alternatives(no)];
  }

  #local(node: SchemaNode, schema: SchemaObject): Alternative[] {
    checkFormat(node, schema);
    const types = typesOf(schema) ?? allTypes;
    return types.flatMap((type): Alternative[] => {
      switch (type) {
        case 'null':
          return [{ type }];
        case 'boolean':
          return [{ type, values: [true, false] }];
        case 'string': {
          const set = stringSet(node, schema);
          return set.least <= set.most ? [{ type, set }] : [];
        }
        case 'number':
        case 'integer': {
          const set = numberSet(schema, type);
          return set ? [{ type: 'number', set }] : [];
        }
        case 'array':
          return this.#array(node, schema);
        default:
          return expandObject(this, node, schema);
      }
    });
  }

  #array(node: SchemaNode, schema: SchemaObject): ArrayValue[] {
    const { items, minItems, maxItems, contains } = schema;
    const child = (value: unknown, ...path: (string | number)[]) =>
      this.of(this.document.child(node, value, ...path));
    const older = Array.isArray(items);
    const listKey = older ? 'items' : 'prefixItems';
    if (older && schema.prefixItems !== undefined)
      fault(
        node,
        'items',
        'an array of schemas is the older word for prefixItems; use one of them',
      );
    const prefix = ((schema[listKey] ?? []) as unknown[]).map((v, i) => child(v, listKey, i));
    const restKey = older ? 'additionalItems' : 'items';
    let rest = schema[restKey] === undefined ? undefined : child(schema[restKey], restKey);
    if (schema.unevaluatedItems !== undefined && schema.unevaluatedItems !== true) {
      if (contains !== undefined || inPlace.some((key) => schema[key] !== undefined))
        fault(node, 'unevaluatedItems', 'it cannot be enforced beside other schemas; use items');
      rest ??= child(schema.unevaluatedItems, 'unevaluatedItems');
    }
    const least = (schema.minContains ?? 1) as number;
    const most = (schema.maxContains ?? Infinity) as number;
    const isContained = contains !== undefined && (least > 0 || most < Infinity);
    if (isContained && least > most) return [];
    const value: ArrayValue = {
      type: 'array',
      prefix,
      rest: rest ?? this.conjunctions.anything,
      least: (minItems ?? 0) as number,
      most: (maxItems ?? Infinity) as number,
      contains: isContained ? [{ value: child(contains, 'contains'), least, most }] : [],
      unique: schema.uniqueItems === true,
      node,
    };
    return value.least > value.most ? [] : [value];
  }

  /** Every value of some types. */
  unconstrained(types: readonly TypeName[], node: SchemaNode): Alternative[] {
    return types.map((type): Alternative => {
      switch (type) {
        case 'null':
          return { type };
        case 'boolean':
          return { type, values: [true, false] };
        case 'string':
          return { type, set: anyString };
        case 'number':
        case 'integer':
          return { type: 'number', set: type === 'number' ? anyNumber : anyInteger };
        case 'array':
          return this.anyArray(node);
        default:
          return this.anyObject(node);
      }
    });
  }

  anyArray(node: SchemaNode): ArrayValue {
    const rest = this.conjunctions.anything;
    return {
      type: 'array',
      prefix: [],
      rest,
      least: 0,
      most: Infinity,
      contains: [],
      unique: false,
      node,
    };
  }

  anyObject(node: SchemaNode): ObjectValue {
    const open = [{ names: anyString, value: this.conjunctions.anything }];
    return { type: 'object', properties: new Map(), open, least: 0, most: Infinity, node };
  }

  constants(values: readonly unknown[], node: SchemaNode): Alternative[] {
    const out: Alternative[] = [];
    const strings = values.filter((v) => typeof v === 'string');
    if (strings.length > 0) out.push({ type: 'string', set: stringsOf(strings) });
    const numbers = values.filter((v) => typeof v === 'number');
    if (numbers.length > 0) out.push({ type: 'number', set: numbersOf(numbers) });
    const booleans = [...new Set(values.filter((v) => typeof v === 'boolean'))];
    if (booleans.length > 0) out.push({ type: 'boolean', values: booleans });
    if (values.includes(null)) out.push({ type: 'null' });
    const constant = (value: unknown) => this.of(this.document.constant(node, value));
    for (const value of values) {
      if (Array.isArray(value)) {
        const [prefix, rest] = [value.map(constant), this.conjunctions.nothing];
        const size = { least: value.length, most: value.length };
        out.push({ ...this.anyArray(node), prefix, rest, ...size });
      } else if (isObject(value)) {
        const properties = new Map(
          Object.entries(value).map(([name, part]) => [
            name,
            { value: constant(part), presence: 'required' as const },
          ]),
        );
        out.push({ ...this.anyObject(node), properties, open: [] });
      }
    }
    return out;
  }

  /** Surely no value fits; false where that cannot be told. */
  isEmpty(value: Conjunction): boolean {
    if (value.nothing) return true;
    if (value.literals.length === 0) return false;
    const known = this.#empty.get(value.id);
    if (known !== undefined) return known;
    if (this.#asked.has(value.id)) {
      // A value that needs itself inside has no end.
      this.#cuts++;
      return true;
    }
    if (++this.#questions > maxQuestions || this.#asked.size > maxNesting) return false;
    const cuts = this.#cuts;
    this.#asked.add(value.id);
    try {
      const empty = this.alternatives(value).every((part) => this.#isEmptyPart(part));
      if (!empty || cuts === this.#cuts || this.#asked.size === 1) this.#empty.set(value.id, empty);
      return empty;
    } catch (error) {
      if (error instanceof SchemaFault) return false;
      throw error;
    } finally {
      this.#asked.delete(value.id);
    }
  }

  #isEmptyPart(part: Alternative): boolean {
    if (part.type === 'string') return hasNoString(part.set);
    if (part.type === 'number') return hasNoNumber(part.set);
    if (part.type === 'array') {
      const length = Math.min(part.least, part.prefix.length + 1);
      for (let i = 0; i < length; i++) if (this.isEmpty(part.prefix[i] ?? part.rest)) return true;
      return part.contains.some((c) => c.least > 0 && this.isEmpty(c.value));
    }
    if (part.type === 'object') {
      const all = [...part.properties.values()];
      if (
        part.open.length === 0 &&
        all.filter((p) => p.presence !== 'forbidden').length < part.least
      )
        return true;
      const required = all.filter((p) => p.presence === 'required');
      return required.length > part.most || required.some((p) => this.isEmpty(p.value));
    }
    return false;
  }
}

const local = new Set(
  (
    'type nullable minLength maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf ' +
    'properties required additionalProperties patternProperties propertyNames minProperties maxProperties ' +
    'dependentRequired dependentSchemas dependencies unevaluatedProperties items prefixItems additionalItems ' +
    'contains minItems maxItems uniqueItems unevaluatedItems'
  ).split(' '),
);
