/** The keywords of objects. */
import { fault, isObject, type SchemaNode, type SchemaObject } from './document.js';
import type { Expander } from './expand.js';
import { inPlace } from './keywords.js';
import { patternOf } from './scalars.js';
import { anyString, hasNoString, intersectStrings } from './strings.js';
import type { Alternative, ObjectValue, OpenKind, Property } from './values.js';

const maxPatterns = 8;

export function expandObject(
  expander: Expander,
  node: SchemaNode,
  schema: SchemaObject,
): Alternative[] {
  const { conjunctions, document } = expander;
  const properties = new Map<string, Property>();
  const open = openKinds(expander, node, schema);
  let object: ObjectValue = {
    ...expander.anyObject(node),
    open,
    least: (schema.minProperties ?? 0) as number,
    most: (schema.maxProperties ?? Infinity) as number,
  };
  const patterned = patternKinds(expander, node, schema);
  const isName = nameTest(expander, node, schema);
  for (const [name, value] of Object.entries((schema.properties ?? {}) as SchemaObject)) {
    const own = expander.of(document.child(node, value, 'properties', name));
    const all = conjunctions.all(own, patterned(name));
    const presence = isName(name) && !all.nothing ? 'optional' : 'forbidden';
    properties.set(name, { value: all, presence });
  }
  object = { ...object, properties };
  let found: readonly Alternative[] = object.least > object.most ? [] : [object];
  const required = (schema.required ?? []) as string[];
  if (required.length > 0) found = expander.both(found, [needing(expander, node, required)], node);
  for (const [name, names] of Object.entries(dependencies(schema, 'dependentRequired')))
    found = dependent(expander, node, found, name, [needing(expander, node, names as string[])]);
  for (const [name, value] of Object.entries(dependencies(schema, 'dependentSchemas'))) {
    const key = schema.dependentSchemas === undefined ? 'dependencies' : 'dependentSchemas';
    const then = expander.of(document.child(node, value, key, name));
    found = dependent(expander, node, found, name, expander.alternatives(then));
  }
  return [...found];
}

/** Draft 7 has one word for both kinds. */
export function dependencies(
  schema: SchemaObject,
  keyword: 'dependentRequired' | 'dependentSchemas',
): SchemaObject {
  const older = Object.entries((schema.dependencies ?? {}) as SchemaObject).filter(
    ([, value]) => Array.isArray(value) === (keyword === 'dependentRequired'),
  );
  return { ...Object.fromEntries(older), ...((schema[keyword] ?? {}) as SchemaObject) };
}

/** Any object with these properties. */
export function needing(
  expander: Expander,
  node: SchemaNode,
  names: readonly string[],
  presence: Property['presence'] = 'required',
): ObjectValue {
  const value = expander.conjunctions.anything;
  const properties = new Map(names.map((name) => [name, { value, presence }]));
  return { ...expander.anyObject(node), properties };
}

/** Without the property, or with it and with `then`. */
function dependent(
  expander: Expander,
  node: SchemaNode,
  found: readonly Alternative[],
  name: string,
  then: readonly Alternative[],
): readonly Alternative[] {
  const without = expander.both(found, [needing(expander, node, [name], 'forbidden')], node);
  const having = expander.both(found, [needing(expander, node, [name])], node);
  return [...without, ...expander.both(having, then, node)];
}

function patternKinds(expander: Expander, node: SchemaNode, schema: SchemaObject) {
  const { conjunctions, document } = expander;
  const list = Object.entries((schema.patternProperties ?? {}) as SchemaObject).map(
    ([pattern, value]) => ({
      names: { ...anyString, patterns: [patternOf(node, 'patternProperties', pattern)] },
      value: expander.of(document.child(node, value, 'patternProperties', pattern)),
    }),
  );
  return (name: string) =>
    conjunctions.all(
      ...list
        .filter(({ names }) => intersectStrings({ ...anyString, finite: [name] }, names) !== null)
        .map(({ value }) => value),
    );
}

/** What propertyNames allows, as sets of strings; null for every name. */
function allowedNames(expander: Expander, node: SchemaNode, schema: SchemaObject) {
  if (schema.propertyNames === undefined) return null;
  const value = expander.of(expander.document.child(node, schema.propertyNames, 'propertyNames'));
  return expander.alternatives(value).flatMap((part) => (part.type === 'string' ? [part.set] : []));
}

function nameTest(expander: Expander, node: SchemaNode, schema: SchemaObject) {
  const allowed = allowedNames(expander, node, schema);
  return (name: string) =>
    allowed === null ||
    allowed.some((set) => intersectStrings({ ...anyString, finite: [name] }, set) !== null);
}

/** Names by the patterns that they match. */
function openKinds(expander: Expander, node: SchemaNode, schema: SchemaObject): OpenKind[] {
  const { conjunctions, document } = expander;
  const patterns = Object.entries((schema.patternProperties ?? {}) as SchemaObject);
  if (patterns.length > maxPatterns)
    fault(node, 'patternProperties', `it has more than ${maxPatterns} patterns`);
  let kinds: (OpenKind & { matched: boolean })[] = [
    { names: anyString, value: conjunctions.anything, matched: false },
  ];
  for (const [pattern, value] of patterns) {
    const parsed = patternOf(node, 'patternProperties', pattern);
    const more = expander.of(document.child(node, value, 'patternProperties', pattern));
    kinds = kinds.flatMap((kind) =>
      [false, true].flatMap((matched) => {
        const names = intersectStrings(kind.names, {
          ...anyString,
          patterns: [{ ...parsed, not: !matched }],
        });
        if (names === null || hasNoString(names)) return [];
        const all = matched ? conjunctions.all(kind.value, more) : kind.value;
        return [{ names, value: all, matched: kind.matched || matched }];
      }),
    );
  }
  const rest = additional(expander, node, schema);
  const allowed = allowedNames(expander, node, schema) ?? [anyString];
  return kinds.flatMap(({ names, value, matched }) => {
    const all = matched ? value : conjunctions.all(value, rest);
    if (all.nothing) return [];
    return allowed.flatMap((set) => {
      const both = intersectStrings(names, set);
      return both && !hasNoString(both) ? [{ names: both, value: all }] : [];
    });
  });
}

function additional(expander: Expander, node: SchemaNode, schema: SchemaObject) {
  const { unevaluatedProperties: unevaluated, additionalProperties } = schema;
  if (unevaluated !== undefined && unevaluated !== true) {
    if (inPlace.some((key) => schema[key] !== undefined))
      fault(
        node,
        'unevaluatedProperties',
        'it cannot be enforced beside other schemas; use additionalProperties',
      );
    if (additionalProperties === undefined)
      return expander.of(expander.document.child(node, unevaluated, 'unevaluatedProperties'));
  }
  if (additionalProperties === undefined) return expander.conjunctions.anything;
  if (typeof additionalProperties !== 'boolean' && !isObject(additionalProperties))
    fault(node, 'additionalProperties', 'expected a schema, an object or a boolean');
  return expander.of(expander.document.child(node, additionalProperties, 'additionalProperties'));
}
