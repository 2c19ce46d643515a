/** Which words a schema may have, and of what form. */
import { fault, isNote, isObject, type SchemaNode, type SchemaObject } from './document.js';

const enforced = new Set(
  (
    'type nullable enum const allOf anyOf oneOf not if then else $ref properties required additionalProperties ' +
    'patternProperties propertyNames minProperties maxProperties dependentRequired dependentSchemas dependencies ' +
    'items prefixItems additionalItems contains minContains maxContains minItems maxItems uniqueItems minLength ' +
    'maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf unevaluatedProperties ' +
    'unevaluatedItems'
  ).split(' '),
);

const refused: Readonly<Record<string, string>> = {
  $dynamicRef: 'references are resolved once and for all here; use $ref',
  $recursiveRef: 'references are resolved once and for all here; use $ref',
};

const typeNames = ['string', 'number', 'integer', 'boolean', 'object', 'array', 'null'] as const;
export type TypeName = (typeof typeNames)[number];

const checked = new WeakSet<SchemaObject>();

/** The schema of a node that is no boolean, once its keywords are known to be well formed. */
export function checkedSchema(node: SchemaNode): SchemaObject {
  const schema = node.schema as SchemaObject;
  if (checked.has(schema)) return schema;
  for (const [key, value] of Object.entries(schema)) {
    if (isNote(key)) continue;
    if (Object.hasOwn(refused, key)) fault(node, key, refused[key]!);
    if (!enforced.has(key))
      fault(
        node,
        key,
        'no keyword of that name is known here, so that it cannot be enforced; leave it out, or begin its ' +
          'name with x- if it is only a note',
      );
    const problem = forms[key]?.(value);
    if (problem) fault(node, key, `expected ${problem}, received ${shown(value)}`);
  }
  checked.add(schema);
  return schema;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

type Check = (value: unknown) => string | false;
const count: Check = (value) =>
  !(Number.isSafeInteger(value) && (value as number) >= 0) && 'an integer of at least 0';
const number: Check = (value) => !Number.isFinite(value) && 'a number';
const boolean: Check = (value) => typeof value !== 'boolean' && 'true or false';
const text: Check = (value) => typeof value !== 'string' && 'a string';
const object: Check = (value) => !isObject(value) && 'an object';
const isTexts = (value: unknown) =>
  Array.isArray(value) && value.every((v) => typeof v === 'string');
const texts: Check = (value) => !isTexts(value) && 'an array of strings';
const schemas: Check = (value) =>
  !(Array.isArray(value) && value.length > 0) && 'an array of at least one schema';

const forms: Readonly<Record<string, Check>> = {
  type: (value) => {
    const list = Array.isArray(value) ? value : [value];
    const isKnown = (name: unknown) => typeNames.includes(name as TypeName);
    return !(list.length > 0 && list.every(isKnown)) && `one or more of ${typeNames.join(', ')}`;
  },
  nullable: boolean,
  enum: (value) => !(Array.isArray(value) && value.length > 0) && 'an array of at least one value',
  allOf: schemas,
  anyOf: schemas,
  oneOf: schemas,
  $ref: text,
  properties: object,
  required: texts,
  patternProperties: object,
  minProperties: count,
  maxProperties: count,
  dependentRequired: (value) =>
    !(isObject(value) && Object.values(value).every(isTexts)) && 'an object of arrays of strings',
  dependentSchemas: object,
  dependencies: object,
  prefixItems: schemas,
  minContains: count,
  maxContains: count,
  minItems: count,
  maxItems: count,
  uniqueItems: boolean,
  minLength: count,
  maxLength: count,
  pattern: text,
  format: text,
  minimum: number,
  maximum: number,
  exclusiveMinimum: number,
  exclusiveMaximum: number,
  multipleOf: (value) => !(Number.isFinite(value) && (value as number) > 0) && 'a number above 0',
};

/** The types that `type` and `nullable` leave; null where they say nothing. */
export function typesOf(schema: SchemaObject): TypeName[] | null {
  const { type, nullable } = schema;
  if (type === undefined) return null;
  const list = [...new Set(Array.isArray(type) ? type : [type])] as TypeName[];
  if (nullable === true && !list.includes('null')) list.push('null');
  return list.includes('number') ? list.filter((name) => name !== 'integer') : list;
}

/** Words that a schema applies in the same place: what they look at counts as evaluated. */
export const inPlace = [
  '$ref',
  'allOf',
  'anyOf',
  'oneOf',
  'if',
  'dependentSchemas',
  'dependencies',
];
