import { describe, expect, it } from 'vitest';
import { isText, parameterJson, parameterTypes } from '../../lib/parse/tools/parameter-values.js';

const typesOf = (schema: unknown, rest: object = {}) =>
  parameterTypes({ type: 'object', properties: { a: schema }, ...rest }, 'a');

describe('the types of a parameter', () => {
  it.each<[unknown, string[]]>([
    [{ type: 'string' }, ['string']],
    [{ type: 'integer' }, ['number']],
    [{ type: ['integer', 'null'] }, ['number', 'null']],
    [{ enum: ['a', 1, null] }, ['string', 'number', 'null']],
    [{ const: [] }, ['array']],
    [{ anyOf: [{ type: 'string' }, { type: 'null' }] }, ['string', 'null']],
    [{ oneOf: [{ const: true }, { type: 'object' }] }, ['boolean', 'object']],
    [{ allOf: [{ type: 'array' }, { minItems: 1 }] }, ['array']],
  ])('%j', (schema, expected) => {
    expect([...typesOf(schema)].sort()).toEqual(expected.sort());
  });

  it('follows local references, and ends where they do not', () => {
    const $defs = {
      Day: { type: 'integer' },
      'a/b': { type: 'boolean' },
      Loop: { anyOf: [{ $ref: '#/$defs/Loop' }, { type: 'null' }] },
    };
    expect([...typesOf({ $ref: '#/$defs/Day' }, { $defs })]).toEqual(['number']);
    expect([...typesOf({ $ref: '#/$defs/a~1b' }, { $defs })]).toEqual(['boolean']);
    expect([...typesOf({ $ref: '#/$defs/Loop' }, { $defs })]).toEqual(['null']);
    expect(typesOf({ $ref: '#/$defs/None' }, { $defs }).size).toBe(6);
    expect(typesOf({ $ref: 'https://example.com/schema' }).size).toBe(6);
  });

  it('a parameter that is not declared is text, one without a type anything', () => {
    expect(isText(parameterTypes(undefined, 'a'))).toBe(true);
    expect(isText(parameterTypes({ properties: { b: { type: 'integer' } } }, 'a'))).toBe(true);
    expect(isText(parameterTypes({ properties: {} }, '__proto__'))).toBe(true);
    expect(parameterTypes({ properties: { a: {} } }, 'a').size).toBe(6);
    const open = { additionalProperties: { type: 'integer' } };
    expect([...parameterTypes(open, 'a')]).toEqual(['number']);
    const parts = { anyOf: [{ properties: { b: {} } }, { properties: { a: { type: 'array' } } }] };
    expect([...parameterTypes(parts, 'a')]).toEqual(['array']);
  });
});

describe('the JSON of a value', () => {
  it.each<[unknown, string, string]>([
    [{ type: 'integer' }, ' 42 ', '42'],
    [{ type: 'integer' }, '12345678901234567890123', '12345678901234567890123'],
    [{ type: 'number' }, '-1.50e3', '-1.50e3'],
    [{ type: 'number' }, 'NaN', '"NaN"'],
    [{ type: 'integer' }, 'a few', '"a few"'],
    [{ type: 'boolean' }, 'True', 'true'],
    [{ type: 'boolean' }, 'false', 'false'],
    [{ type: ['boolean', 'null'] }, 'None', 'null'],
    [{ type: 'object' }, '{"a": [1, "x"]}', '{"a": [1, "x"]}'],
    [{ type: 'object' }, "{'a': 1}", `"{'a': 1}"`],
    [{ type: 'object' }, '[1]', '[1]'],
    [{ type: 'array' }, '', '""'],
    [{ type: ['string', 'integer'] }, '42', '42'],
    [{ type: ['string', 'integer'] }, '4 2', '"4 2"'],
    [{ type: ['string', 'null'] }, 'null', 'null'],
    [{ type: ['string', 'null'] }, '42', '"42"'],
    [{ type: ['string', 'null'] }, 'none', '"none"'],
    [{ type: ['string', 'null'] }, ' "q"\n', '" \\"q\\"\\n"'],
    [{}, '{"a": 1}', '{"a": 1}'],
    [{}, 'text', '"text"'],
    [{}, '"text"', '"\\"text\\""'],
  ])('%j: %j', (schema, text, expected) => {
    expect(parameterJson(text, typesOf(schema))).toBe(expected);
    JSON.parse(expected);
  });
});
