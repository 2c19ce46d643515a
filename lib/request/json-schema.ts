/** Whether a value can be a JSON Schema: only its shape, as far as the vocabulary's common words go. */
import { describe, isObject, show } from './validate.js';

const types = ['string', 'number', 'integer', 'boolean', 'object', 'array', 'null'];
const maxDepth = 64;

const oneSchema = [
  'items',
  'additionalProperties',
  'contains',
  'not',
  'propertyNames',
  'if',
  'then',
  'else',
];
const manySchemas = ['anyOf', 'oneOf', 'allOf', 'prefixItems'];
const namedSchemas = ['properties', 'patternProperties', '$defs', 'definitions'];

/** What is wrong, as the end of a sentence that begins with the schema's name; null when nothing is. */
export function schemaFault(schema: unknown): string | null {
  return faultAt(schema, '', { open: new Set(), checked: new Set() });
}

interface Walk {
  /** Schemas that the place is inside of: an object of this process may hold itself. */
  open: Set<unknown>;
  /** Schemas without a fault: one that is used in many places is looked at once. */
  checked: Set<unknown>;
}

function faultAt(schema: unknown, path: string, walk: Walk): string | null {
  if (typeof schema === 'boolean' && path !== '') return null;
  if (!isObject(schema))
    return `${at(path)}expected a JSON Schema (an object), but got ${describe(schema)}`;
  const { open, checked } = walk;
  if (checked.has(schema)) return null;
  if (open.has(schema)) return `${at(path)}the schema holds itself, which JSON cannot say`;
  if (open.size > maxDepth) return `${at(path)}the schema is nested deeper than ${maxDepth}`;
  open.add(schema);
  const fault = wordsFault(schema, path, walk);
  open.delete(schema);
  checked.add(schema);
  return fault;
}

function wordsFault(schema: Record<string, unknown>, path: string, walk: Walk): string | null {
  const below = (value: unknown, key: string) =>
    faultAt(value, path === '' ? key : `${path}.${key}`, walk);
  const { type, required, enum: values } = schema;
  for (const name of Array.isArray(type) ? type : type === undefined ? [] : [type]) {
    if (!types.includes(name as string))
      return `${at(path)}type must be one of ${types.join(', ')}, got ${show(name)}`;
  }
  if (required !== undefined && !isStrings(required))
    return `${at(path)}required must be an array of strings, got ${describe(required)}`;
  if (values !== undefined && !Array.isArray(values))
    return `${at(path)}enum must be an array, got ${describe(values)}`;
  for (const key of namedSchemas) {
    const group = schema[key];
    if (group === undefined) continue;
    if (!isObject(group)) return `${at(path)}${key} must be an object, got ${describe(group)}`;
    for (const [name, value] of Object.entries(group)) {
      const fault = below(value, `${key}.${name}`);
      if (fault) return fault;
    }
  }
  for (const key of manySchemas) {
    const list = schema[key];
    if (list === undefined) continue;
    if (!Array.isArray(list)) return `${at(path)}${key} must be an array, got ${describe(list)}`;
    for (const [i, value] of list.entries()) {
      const fault = below(value, `${key}[${i}]`);
      if (fault) return fault;
    }
  }
  for (const key of oneSchema) {
    const value = schema[key];
    // The older form of `items`: one schema per place.
    const fault =
      key === 'items' && Array.isArray(value)
        ? (value.map((v, i) => below(v, `items[${i}]`)).find((f) => f !== null) ?? null)
        : value === undefined
          ? null
          : below(value, key);
    if (fault) return fault;
  }
  return null;
}

function at(path: string): string {
  return path === '' ? '' : `at ${path}: `;
}

function isStrings(value: unknown): boolean {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string');
}
