/** What a schema does not allow: each keyword broken by itself. */
import { compare, decimalOf } from './decimal.js';
import { fault, type SchemaNode, type SchemaObject } from './document.js';
import { allTypes, type Expander } from './expand.js';
import { checkedSchema, typesOf } from './keywords.js';
import { anyNumber, intersectNumbers, type NumberSet } from './numbers.js';
import { dependencies, needing } from './object-value.js';
import { formatPattern, patternOf } from './scalars.js';
import { anyString, type StringSet, stringsExcept } from './strings.js';
import type { Alternative, ArrayValue, Conjunction, ObjectValue } from './values.js';

/** Keywords whose negation is "some part, somewhere", which a grammar cannot count on. */
const unbreakable = [
  'additionalProperties',
  'patternProperties',
  'propertyNames',
  'unevaluatedProperties',
  'unevaluatedItems',
  'additionalItems',
];

/** @throws SchemaFault where what is left cannot be said */
export function negatedAlternatives(expander: Expander, node: SchemaNode): Alternative[] {
  const schema = checkedSchema(node);
  for (const key of unbreakable)
    if (schema[key] !== undefined && schema[key] !== true)
      fault(
        node,
        key,
        'what does not keep to it cannot be enforced (it stands under not, oneOf or if)',
      );
  return [
    ...otherTypes(expander, node, schema),
    ...otherConstants(expander, node, schema),
    ...strings(node, schema),
    ...numbers(schema),
    ...objects(expander, node, schema),
    ...arrays(expander, node, schema),
    ...applied(expander, node, schema),
  ];
}

function otherTypes(expander: Expander, node: SchemaNode, schema: SchemaObject): Alternative[] {
  const types = typesOf(schema);
  if (types === null) return [];
  const left = allTypes.filter((type) => !types.includes(type));
  const out = expander.unconstrained(
    left.filter((type) => type !== 'number' || !types.includes('integer')),
    node,
  );
  if (types.includes('integer'))
    out.push({ type: 'number', set: { ...anyNumber, kind: 'fraction' } });
  return out;
}

function otherConstants(expander: Expander, node: SchemaNode, schema: SchemaObject): Alternative[] {
  const lists: [string, readonly unknown[]][] = [];
  if (schema.const !== undefined) lists.push(['const', [schema.const]]);
  if (schema.enum !== undefined) lists.push(['enum', schema.enum as unknown[]]);
  return lists.flatMap(([key, values]) => {
    if (values.some((value) => typeof value === 'object' && value !== null))
      fault(node, key, 'values other than an array or an object cannot be enforced');
    const texts = values.filter((v) => typeof v === 'string');
    const out: Alternative[] = [
      { type: 'string', set: texts.length > 0 ? stringsExcept(texts) : anyString },
      ...between(values.filter((v) => typeof v === 'number')),
      expander.anyObject(node),
      expander.anyArray(node),
    ];
    const booleans = [true, false].filter((v) => !values.includes(v));
    if (booleans.length > 0) out.push({ type: 'boolean', values: booleans });
    if (!values.includes(null)) out.push({ type: 'null' });
    return out;
  });
}

/** Every number but these. */
function between(values: readonly number[]): Alternative[] {
  const points = [...new Set(values)].map(decimalOf).sort(compare);
  const bounds = points.map((value) => ({ value, exclusive: true }));
  const sets = Array.from(
    { length: points.length + 1 },
    (_, i): NumberSet => ({
      ...anyNumber,
      low: bounds[i - 1] ?? null,
      high: bounds[i] ?? null,
    }),
  );
  return sets.flatMap((set): Alternative[] =>
    intersectNumbers(set, anyNumber) ? [{ type: 'number', set }] : [],
  );
}

function strings(node: SchemaNode, schema: SchemaObject): Alternative[] {
  const out: Partial<StringSet>[] = [];
  const { minLength, maxLength, pattern } = schema as Record<string, number | undefined>;
  if (minLength) out.push({ most: minLength - 1 });
  if (maxLength !== undefined) out.push({ least: maxLength + 1 });
  if (pattern !== undefined)
    out.push({ patterns: [{ ...patternOf(node, 'pattern', String(pattern)), not: true }] });
  const format = formatPattern(schema);
  if (format) out.push({ patterns: [{ ...format, not: true }] });
  else if (schema.format !== undefined)
    fault(node, 'format', 'numbers that are not of a format cannot be enforced');
  return out.map((set) => ({ type: 'string', set: { ...anyString, ...set } }));
}

function numbers(schema: SchemaObject): Alternative[] {
  const out: Partial<NumberSet>[] = [];
  const bound = (value: unknown, exclusive: boolean) => ({
    value: decimalOf(value as number),
    exclusive,
  });
  if (schema.minimum !== undefined) out.push({ high: bound(schema.minimum, true) });
  if (schema.exclusiveMinimum !== undefined)
    out.push({ high: bound(schema.exclusiveMinimum, false) });
  if (schema.maximum !== undefined) out.push({ low: bound(schema.maximum, true) });
  if (schema.exclusiveMaximum !== undefined)
    out.push({ low: bound(schema.exclusiveMaximum, false) });
  if (schema.multipleOf !== undefined)
    out.push({ multiples: [{ of: decimalOf(schema.multipleOf as number), not: true }] });
  return out.map((set) => ({ type: 'number', set: { ...anyNumber, ...set } }));
}

function objects(expander: Expander, node: SchemaNode, schema: SchemaObject): Alternative[] {
  const out: Partial<ObjectValue>[] = [];
  const { minProperties, maxProperties } = schema as Record<string, number | undefined>;
  if (minProperties) out.push({ most: minProperties - 1 });
  if (maxProperties !== undefined) out.push({ least: maxProperties + 1 });
  for (const name of (schema.required ?? []) as string[])
    out.push(needing(expander, node, [name], 'forbidden'));
  for (const [name, part] of Object.entries((schema.properties ?? {}) as SchemaObject)) {
    const value = expander.of(expander.document.child(node, part, 'properties', name), true);
    if (value.nothing) continue;
    out.push({ properties: new Map([[name, { value, presence: 'required' }]]) });
  }
  const has = (name: string) => needing(expander, node, [name]);
  const dependent: Alternative[] = [];
  for (const [name, names] of Object.entries(dependencies(schema, 'dependentRequired')))
    for (const other of names as string[])
      dependent.push(
        ...expander.both([has(name)], [needing(expander, node, [other], 'forbidden')], node),
      );
  for (const [name, part] of Object.entries(dependencies(schema, 'dependentSchemas'))) {
    const value = expander.of(expander.document.child(node, part, 'dependentSchemas', name), true);
    dependent.push(...expander.both([has(name)], expander.alternatives(value), node));
  }
  return [...out.map((part) => ({ ...expander.anyObject(node), ...part })), ...dependent];
}

function arrays(expander: Expander, node: SchemaNode, schema: SchemaObject): Alternative[] {
  const { conjunctions, document } = expander;
  const out: Partial<ArrayValue>[] = [];
  const { minItems, maxItems } = schema as Record<string, number | undefined>;
  if (minItems) out.push({ most: minItems - 1 });
  if (maxItems !== undefined) out.push({ least: maxItems + 1 });
  if (schema.uniqueItems === true)
    fault(node, 'uniqueItems', 'arrays with equal items cannot be asked for');
  const negated = (value: unknown, ...path: (string | number)[]): Conjunction =>
    expander.of(document.child(node, value, ...path), true);
  const older = Array.isArray(schema.items);
  const prefix = ((older ? schema.items : schema.prefixItems) ?? []) as unknown[];
  for (const [i, part] of prefix.entries()) {
    const value = negated(part, older ? 'items' : 'prefixItems', i);
    if (value.nothing) continue;
    const before = Array.from({ length: i }, () => conjunctions.anything);
    out.push({ prefix: [...before, value], least: i + 1 });
  }
  if (schema.items !== undefined && !older) {
    const value = negated(schema.items, 'items');
    if (!value.nothing && prefix.length > 0)
      fault(node, 'items', 'items behind prefixItems that do not fit cannot be asked for');
    if (!value.nothing) out.push({ contains: [{ value, least: 1, most: Infinity }] });
  }
  if (schema.contains !== undefined) {
    const value = expander.of(document.child(node, schema.contains, 'contains'));
    const least = (schema.minContains ?? 1) as number;
    const most = schema.maxContains as number | undefined;
    if (least > 0) out.push({ contains: [{ value, least: 0, most: least - 1 }] });
    if (most !== undefined) out.push({ contains: [{ value, least: most + 1, most: Infinity }] });
  }
  return out.map((part) => ({ ...expander.anyArray(node), ...part }));
}

function applied(expander: Expander, node: SchemaNode, schema: SchemaObject): Alternative[] {
  const { conjunctions, document } = expander;
  const part = (value: unknown, not: boolean, ...path: (string | number)[]) =>
    expander.of(document.child(node, value, ...path), not);
  const list = (key: string) =>
    ((schema[key] ?? []) as unknown[]).map((value, i) => part(value, true, key, i));
  const out: Alternative[] = list('allOf').flatMap((value) => expander.alternatives(value));
  if (schema.anyOf !== undefined)
    out.push(...expander.alternatives(conjunctions.all(...list('anyOf'))));
  if (schema.oneOf !== undefined)
    fault(node, 'oneOf', 'what does not fit exactly one branch cannot be enforced');
  if (schema.not !== undefined) out.push(...expander.alternatives(part(schema.not, false, 'not')));
  if (schema.$ref !== undefined) {
    const target = document.resolve(node, '$ref', schema.$ref);
    out.push(...expander.alternatives(expander.of(target, true)));
  }
  if (schema.if !== undefined)
    for (const [key, not] of [
      ['then', false],
      ['else', true],
    ] as const) {
      if (schema[key] === undefined) continue;
      const both = conjunctions.all(part(schema.if, not, 'if'), part(schema[key], true, key));
      out.push(...expander.alternatives(both));
    }
  return out;
}
