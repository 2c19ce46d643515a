/**
 * Values that a model writes as bare text, such as `<parameter=days>3</parameter>`: what JSON they are is
 * said by the tool's schema.
 */
import { escapeJson } from './json.js';

type JsonType = 'string' | 'number' | 'boolean' | 'null' | 'object' | 'array';
/** JSON Schema's types; `integer` is a number here. */
const typeNames: Record<string, JsonType> = {
  string: 'string',
  number: 'number',
  integer: 'number',
  boolean: 'boolean',
  null: 'null',
  object: 'object',
  array: 'array',
};
const everyType = new Set(Object.values(typeNames));
/** References and combinations that are followed; deeper ones say nothing. */
const deepest = 16;

type Schema = Record<string, unknown>;

/** What one parameter may be. */
export type ParameterTypes = ReadonlySet<JsonType>;

/** True where the text is the value, so that it can be passed on as it comes. */
export function isText(types: ParameterTypes): boolean {
  return types.size === 1 && types.has('string');
}

/**
 * The types that a tool's schema allows for a parameter. A parameter that the schema does not declare is
 * text; one that is declared without a type may be anything.
 */
export function parameterTypes(parameters: unknown, name: string): ParameterTypes {
  if (!isObject(parameters)) return new Set(['string']);
  const schema = property(parameters, name, parameters, 0);
  if (schema === undefined) return new Set(['string']);
  const types = typesOf(schema, parameters, 0);
  return types.size > 0 ? types : everyType;
}

/**
 * A parameter's text as JSON. What is not JSON of a type that the parameter may have becomes a string if
 * it may be one; else what is JSON stays as it is written, so that big numbers keep their digits, Python's
 * True, False and None are translated, and the rest is a string: nothing is lost or made up.
 */
export function parameterJson(text: string, types: ParameterTypes): string {
  const written = text.trim();
  const asString = `"${escapeJson(text)}"`;
  const literal = pythonLiterals.get(written);
  if (literal && types.has(literal === 'null' ? 'null' : 'boolean')) return literal;
  const type = jsonType(written);
  if (types.has('string')) return type && type !== 'string' && types.has(type) ? written : asString;
  if (type) return written;
  return literal ?? asString;
}

const pythonLiterals = new Map([
  ['True', 'true'],
  ['False', 'false'],
  ['None', 'null'],
]);

function jsonType(text: string): JsonType | null {
  try {
    return typeOf(JSON.parse(text));
  } catch {
    return null;
  }
}

function typeOf(value: unknown): JsonType {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value as JsonType;
}

function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function property(schema: Schema, name: string, root: Schema, depth: number): unknown {
  const { properties, additionalProperties } = schema;
  if (isObject(properties) && Object.hasOwn(properties, name)) return properties[name];
  for (const part of parts(schema, root, depth)) {
    const found = property(part, name, root, depth + 1);
    if (found !== undefined) return found;
  }
  return isObject(additionalProperties) ? additionalProperties : undefined;
}

/** Empty where the schema says nothing of types. */
function typesOf(schema: unknown, root: Schema, depth: number): Set<JsonType> {
  const types = new Set<JsonType>();
  if (!isObject(schema)) return types;
  const add = (names: Iterable<unknown>): void => {
    for (const name of names) {
      const type = typeof name === 'string' ? typeNames[name] : undefined;
      if (type) types.add(type);
    }
  };
  add(Array.isArray(schema.type) ? schema.type : [schema.type]);
  if (types.size > 0) return types;
  if ('const' in schema) return types.add(typeOf(schema.const));
  if (Array.isArray(schema.enum)) return new Set(schema.enum.map(typeOf));
  for (const part of parts(schema, root, depth)) {
    const found = typesOf(part, root, depth + 1);
    for (const type of found) types.add(type);
  }
  return types;
}

/** The schemas that a schema is put together from. */
function parts(schema: Schema, root: Schema, depth: number): Schema[] {
  if (depth >= deepest) return [];
  const found: unknown[] = [];
  for (const keyword of ['allOf', 'anyOf', 'oneOf']) {
    const list = schema[keyword];
    if (Array.isArray(list)) found.push(...list);
  }
  if (typeof schema.$ref === 'string') found.push(referred(schema.$ref, root));
  return found.filter(isObject);
}

/** The target of a local reference such as `#/$defs/Place`. */
function referred(reference: string, root: Schema): unknown {
  if (!reference.startsWith('#')) return undefined;
  let target: unknown = root;
  for (const part of reference.slice(1).split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof target !== 'object' || target === null || !Object.hasOwn(target, key))
      return undefined;
    target = (target as Schema)[key];
  }
  return target;
}
