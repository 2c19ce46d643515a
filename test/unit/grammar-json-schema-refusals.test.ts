/** Schemas that are refused, and hostile ones. */
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { jsonSchemaExpression } from '../../lib/grammar/json-schema/index.js';
import { GrammarSource } from '../../lib/grammar/source.js';

function refusal(schema: unknown): EngineError {
  const source = new GrammarSource('json_schema');
  try {
    source.text(jsonSchemaExpression(source, schema as Record<string, unknown>, 'json_schema'));
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    expect(error).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      param: 'json_schema',
    });
    return error as EngineError;
  }
  throw new Error('not refused');
}

const inside = (schema: unknown) => ({ type: 'object', properties: { a: { items: schema } } });

describe('refused, with keyword and path', () => {
  const table: [string, unknown, RegExp][] = [
    [
      'an unknown keyword',
      inside({ requried: ['a'] }),
      /^json_schema: requried at #\/properties\/a\/items cannot be enforced: no keyword/,
    ],
    [
      'an unknown format',
      inside({ type: 'string', format: 'iri' }),
      /format at #\/properties\/a\/items .*"iri"/,
    ],
    [
      'a pattern with lookahead',
      { type: 'string', pattern: '^(?!a)' },
      /pattern at # .*lookaround \(\?!\.\.\.\).*position 1/,
    ],
    [
      'a broken pattern',
      { patternProperties: { '[': true } },
      /patternProperties at # .*a \[ without its \]/,
    ],
    ['$dynamicRef', { $dynamicRef: '#x' }, /\$dynamicRef at #/],
    [
      'a remote $ref',
      { $ref: 'https://example.com/x.json' },
      /\$ref at # .*outside of this schema/,
    ],
    ['a $ref to nothing', { $ref: '#/$defs/x' }, /\$ref at # .*nothing at \/\$defs\/x/],
    ['a $ref to no schema', { $defs: { x: 1 }, $ref: '#/$defs/x' }, /no schema at \/\$defs\/x/],
    ['an unknown anchor', { $ref: '#x' }, /nothing is called "#x"/],
    ['a $ref to itself', { $ref: '#' }, /leads back to itself/],
    [
      'a circle of $refs',
      {
        $defs: { a: { $ref: '#/$defs/b' }, b: { allOf: [{ $ref: '#/$defs/a' }] } },
        $ref: '#/$defs/a',
      },
      /leads back to itself/,
    ],
    [
      'unevaluatedProperties beside allOf',
      { allOf: [{ properties: { a: {} } }], unevaluatedProperties: false },
      /unevaluatedProperties at #/,
    ],
    [
      'oneOf that cannot be told apart',
      {
        oneOf: [
          { type: 'object', properties: { a: {} }, additionalProperties: false },
          { type: 'object', additionalProperties: { type: 'string' } },
        ],
      },
      /oneOf at # .*branches 0 and 1 may both hold/,
    ],
    [
      'not of what is somewhere',
      { not: { additionalProperties: { type: 'string' } } },
      /additionalProperties at #\/not/,
    ],
    ['uniqueItems of anything', { type: 'array', uniqueItems: true }, /uniqueItems at #/],
    [
      'uniqueItems of too many',
      { type: 'array', items: { type: 'integer', minimum: 1, maximum: 40 }, uniqueItems: true },
      /uniqueItems at # .*3000 ways/,
    ],
    [
      'minProperties of free names',
      { type: 'object', minProperties: 2 },
      /minProperties at # .*differ from each other/,
    ],
    [
      'two contains',
      { type: 'array', allOf: [{ contains: { const: 1 } }, { contains: { const: 2 } }] },
      /contains at #/,
    ],
    [
      'contains with large counts',
      { type: 'array', contains: { const: 1 }, minContains: 100, maxItems: 1000 },
      /contains at # .*too large/,
    ],
    ['a large multipleOf', { type: 'integer', multipleOf: 1234567 }, /multipleOf at # .*states/],
    [
      'a pattern with a long length',
      { type: 'string', pattern: '^(ab|c)*$', minLength: 50_000 },
      /pattern at # .*states/,
    ],
    [
      'wrong types',
      inside({ type: 'text' }),
      /type at #\/properties\/a\/items .*expected one or more of string/,
    ],
    ['a wrong count', { minItems: -1 }, /minItems at # .*an integer of at least 0, received -1/],
    [
      'a wrong bound',
      { exclusiveMinimum: true, minimum: 1 },
      /exclusiveMinimum at # .*expected a number, received true/,
    ],
    ['a wrong enum', { enum: 'a' }, /enum at #/],
    ['an empty anyOf', { anyOf: [] }, /anyOf at #/],
    ['a schema that is none', { items: 5 }, /items at # .*expected a schema/],
    ['a schema that is none, in a list', { anyOf: [null] }, /anyOf at # .*expected a schema/],
    ['nothing left', { type: 'string', minLength: 3, maxLength: 2 }, /schema at # .*no value fits/],
    [
      'nothing left by a pattern',
      { allOf: [{ type: 'string', pattern: '^a' }, { pattern: '^b' }] },
      /no value fits/,
    ],
    [
      'nothing left by types',
      { allOf: [{ type: 'string' }, { type: 'integer' }] },
      /no value fits/,
    ],
    [
      'nothing left inside',
      { type: 'object', properties: { a: false }, required: ['a'] },
      /no value fits/,
    ],
    [
      'no end',
      { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] },
      /no value fits/,
    ],
    ['false', false, /no value fits/],
    ['an enum that its type excludes', { type: 'integer', enum: ['a'] }, /no value fits/],
    ['no schema', 'x', /schema at # .*expected an object or a boolean/],
  ];
  it.each(table)('%s', (_, schema, message) => {
    expect(refusal(schema).message).toMatch(message);
  });
});

describe('hostile schemas are bounded', () => {
  const nested = (depth: number, wrap: (inner: unknown) => unknown): unknown => {
    let schema: unknown = { type: 'string' };
    for (let i = 0; i < depth; i++) schema = wrap(schema);
    return schema;
  };
  const many = (count: number, make: (i: number) => unknown) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, make(i)]));

  const table: [string, () => unknown, RegExp | null][] = [
    [
      'nesting',
      () => nested(5000, (items) => ({ type: 'array', items })),
      /nested deeper than 200/,
    ],
    ['nesting that is allowed', () => nested(150, (items) => ({ type: 'array', items })), null],
    [
      'a long chain of $refs',
      () => ({ $defs: many(3000, (i) => ({ $ref: `#/$defs/k${i + 1}` })), $ref: '#/$defs/k0' }),
      /deeper than 150/,
    ],
    [
      'a long chain of values',
      () => ({
        $defs: {
          ...many(3000, (i) => ({
            type: 'object',
            properties: { n: { $ref: `#/$defs/k${i + 1}` } },
          })),
          k3000: true,
        },
        $ref: '#/$defs/k0',
      }),
      null,
    ],
    [
      'products of anyOf',
      () => ({
        allOf: Array.from({ length: 12 }, () => ({
          anyOf: Array.from({ length: 4 }, (_, i) => ({
            type: 'object',
            properties: many(2, () => ({ minimum: i })),
          })),
        })),
      }),
      /more than 512 alternatives/,
    ],
    [
      'dependencies of everything',
      () => ({ type: 'object', dependentRequired: many(30, (i) => [`k${i + 1}`]) }),
      null,
    ],
    [
      'many ifs',
      () => ({
        type: 'object',
        allOf: Array.from({ length: 40 }, (_, i) => ({
          if: { properties: { [`p${i}`]: { const: 1 } } },
          // biome-ignore lint/suspicious/noThenProperty: the keyword
          then: { required: [`q${i}`] },
        })),
      }),
      /more than 512 alternatives/,
    ],
    [
      'a pattern that explodes',
      () => ({ type: 'string', pattern: '(a|b)*a(a|b){30}', maxLength: 100 }),
      /states/,
    ],
    [
      'a pattern of large counts',
      () => ({ type: 'string', pattern: '^(a{1,1000}){1,1000}$', minLength: 5 }),
      /states/,
    ],
    [
      'many properties',
      () => ({
        type: 'object',
        properties: many(2000, () => ({ type: 'string' })),
        additionalProperties: false,
      }),
      null,
    ],
    [
      'many properties, and others',
      () => ({ type: 'object', properties: many(500, () => ({ type: 'string' })) }),
      null,
    ],
    ['a large enum', () => ({ enum: Array.from({ length: 5000 }, (_, i) => `value ${i}`) }), null],
    [
      'a huge enum',
      () => ({ enum: Array.from({ length: 60 }, (_, i) => `${i}`.repeat(40_000)) }),
      /too large: it takes more than 2000000 characters/,
    ],
    [
      'large counts',
      () => ({
        type: 'array',
        items: { type: 'string', maxLength: 1_000_000 },
        maxItems: 1_000_000,
      }),
      null,
    ],
    [
      'counted properties',
      () => ({
        type: 'object',
        properties: many(400, () => true),
        additionalProperties: false,
        minProperties: 200,
      }),
      /counting its properties/,
    ],
    [
      'many unions in oneOf',
      () => ({ oneOf: Array.from({ length: 201 }, (_, i) => ({ const: i })) }),
      /more than 200 branches/,
    ],
    [
      'many patterns that explode',
      () => ({
        type: 'object',
        properties: many(3000, (i) => ({ pattern: `(a|b)*a(a|b){6}${i}`, maxLength: 30 })),
      }),
      /too much work|too large/,
    ],
    ['tiny multiples', () => ({ type: 'number', multipleOf: 1e-300 }), /states|too much work/],
    ['huge bounds', () => ({ type: 'number', minimum: -1e308, maximum: 1e308 }), null],
    ['tiny bounds', () => ({ type: 'number', exclusiveMinimum: 0, maximum: 5e-324 }), null],
  ];
  it.each(table)('%s', (_, make, message) => {
    const schema = make();
    const begin = performance.now();
    if (message) expect(refusal(schema).message).toMatch(message);
    else {
      const source = new GrammarSource('json_schema');
      const root = jsonSchemaExpression(source, schema as Record<string, unknown>, 'json_schema');
      expect(source.text(root).length).toBeLessThan(2_000_000);
    }
    expect(performance.now() - begin).toBeLessThan(10_000);
  });
});
