/** Forms of JSON answers, each with a judge of its own that shares nothing with lib/grammar. */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import type { ConstraintRequest } from '../../lib/index.js';
import type { SchemaCase } from '../unit/grammar-schema-cases.js';
import { arrayCases, combinedCases, objectCases } from '../unit/grammar-schemas-parts.js';
import {
  formatCases,
  numberCases,
  stringCases,
  typeCases,
} from '../unit/grammar-schemas-values.js';

export interface Language {
  name: string;
  /** Fields of a request. */
  body: ConstraintRequest;
  /** Why a text is none of its, or null. Throwing says so too. */
  fault(text: string): string | null;
}

const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 9 });
addFormats.default(ajv);

/** Of a JSON text. */
export function schemaFault(schema: object | boolean): Language['fault'] {
  const validate = ajv.compile(schema);
  return (text) => {
    const value: unknown = JSON.parse(text);
    return validate(value) ? null : said(validate.errors);
  };
}

/** Numbers that are other ones as doubles, so that ajv judges another text: 774279982368858.97. */
export function hasLongNumbers(text: string): boolean {
  const numbers = text.replace(/"(?:[^"\\]|\\.)*"/g, '').match(/\d+(?:\.\d+)?/g) ?? [];
  return numbers.some((number) => number.replace(/^[0.]+|\./g, '').length > 15);
}

function said(errors: ErrorObject[] | null | undefined): string {
  return errors?.map(({ instancePath, message }) => `${instancePath} ${message}`).join(', ') ?? '?';
}

export const jsonObjects: Language[] = [
  {
    name: 'json_object',
    body: { response_format: { type: 'json_object' } },
    fault: schemaFault({ type: 'object' }),
  },
];

/** The tables of the unit tests, less what ajv does not know. */
export const keywords: Language[] = [
  ...typeCases,
  ...stringCases,
  ...formatCases,
  ...numberCases,
  ...arrayCases,
  ...objectCases,
  ...combinedCases,
]
  .filter(({ noAjv }) => !noAjv)
  .map(({ name, schema }: SchemaCase) => ({
    name,
    body: { json_schema: JSON.stringify(schema) },
    fault: schemaFault(schema),
  }));

const word = { type: 'string', pattern: '^[a-z]{1,6}$' };
const documents: Record<string, Record<string, unknown>> = {
  order: {
    type: 'object',
    properties: {
      id: { type: 'string', format: 'uuid' },
      placed: { type: 'string', format: 'date-time' },
      status: { enum: ['open', 'paid', 'sent', null] },
      lines: {
        type: 'array',
        minItems: 1,
        maxItems: 3,
        items: {
          type: 'object',
          properties: {
            sku: { type: 'string', pattern: '^[A-Z]{2}-\\d{3}$' },
            count: { type: 'integer', minimum: 1, maximum: 99 },
            price: { type: 'number', minimum: 0, maximum: 1000, multipleOf: 0.01 },
          },
          required: ['sku', 'count'],
          additionalProperties: false,
        },
      },
    },
    required: ['id', 'status', 'lines'],
    additionalProperties: false,
  },
  shapes: {
    type: 'array',
    minItems: 1,
    maxItems: 3,
    items: {
      oneOf: ['circle', 'square', 'line'].map((kind, i) => ({
        type: 'object',
        properties: { kind: { const: kind }, [`size${i}`]: { type: 'integer', minimum: 0 } },
        required: ['kind', `size${i}`],
        additionalProperties: false,
      })),
    },
  },
  tree: {
    $defs: {
      node: {
        type: 'object',
        properties: {
          name: word,
          children: { type: 'array', items: { $ref: '#/$defs/node' }, maxItems: 2 },
        },
        required: ['name'],
        additionalProperties: false,
      },
    },
    $ref: '#/$defs/node',
  },
  payment: {
    type: 'object',
    properties: {
      method: { enum: ['card', 'bank'] },
      number: { type: 'string', pattern: '^\\d{4}( \\d{4}){3}$' },
      iban: { type: 'string', pattern: '^[A-Z]{2}\\d{2}[A-Z0-9]{4,12}$' },
    },
    required: ['method'],
    additionalProperties: false,
    if: { properties: { method: { const: 'card' } } },
    // biome-ignore lint/suspicious/noThenProperty: the keyword
    then: { required: ['number'] },
    else: { required: ['iban'] },
  },
  settings: {
    type: 'object',
    patternProperties: { '^on_[a-z]{1,4}$': { type: 'boolean' } },
    properties: {
      level: { type: 'integer', minimum: -12, maximum: 12 },
      host: { type: 'string', format: 'ipv4' },
    },
    required: ['level'],
    maxProperties: 4,
    additionalProperties: false,
    dependentRequired: { host: ['level'] },
  },
  'any strings': {
    type: 'object',
    properties: {
      title: { type: 'string', minLength: 1, maxLength: 12 },
      tags: { type: 'array', items: { type: 'string', maxLength: 4 }, maxItems: 3 },
    },
    required: ['title', 'tags'],
    additionalProperties: false,
  },
  'a tuple with one of a kind': {
    type: 'array',
    prefixItems: [{ enum: ['a', 'b'] }, { type: 'integer' }],
    items: { enum: ['x', 'y', 'z'] },
    contains: { const: 'y' },
    minItems: 3,
    maxItems: 6,
  },
};

export const schemas: Language[] = Object.entries(documents).map(([name, schema]) => ({
  name,
  body: { response_format: { type: 'json_schema', json_schema: { name: 'it', schema } } },
  fault: schemaFault(schema),
}));
