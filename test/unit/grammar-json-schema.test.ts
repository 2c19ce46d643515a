/** JSON Schema as grammars, against tables and against ajv. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { jsonSchemaExpression } from '../../lib/grammar/json-schema/index.js';
import { GrammarSource } from '../../lib/grammar/source.js';
import { Recogniser, randomNumbers } from './grammar-recogniser.js';
import type { SchemaCase } from './grammar-schema-cases.js';
import { arrayCases, combinedCases, objectCases } from './grammar-schemas-parts.js';
import { formatCases, numberCases, stringCases, typeCases } from './grammar-schemas-values.js';

const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 9 });
addFormats.default(ajv);

function grammarOfSchema(schema: SchemaCase['schema'], anyWhitespace = false): Recogniser {
  const source = new GrammarSource('json_schema');
  const root = jsonSchemaExpression(source, schema, 'json_schema', { anyWhitespace });
  return new Recogniser(source.text(root));
}

/** As models write it in one line. */
function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${spaced(v)}`);
  return `{${members.join(', ')}}`;
}

const groups: [string, SchemaCase[]][] = [
  ['types and values', typeCases],
  ['strings', stringCases],
  ['formats', formatCases],
  ['numbers', numberCases],
  ['arrays', arrayCases],
  ['objects', objectCases],
  ['combinations', combinedCases],
];

for (const [group, cases] of groups)
  describe(group, () => {
    for (const { name, schema, valid, invalid, noAjv } of cases) {
      const validate = noAjv ? null : ajv.compile(schema);
      it(name, () => {
        const grammar = grammarOfSchema(schema);
        for (const value of valid) {
          if (validate) expect([value, validate(value)]).toEqual([value, true]);
          expect([value, grammar.accepts(JSON.stringify(value))]).toEqual([value, true]);
          expect([value, grammar.accepts(spaced(value))]).toEqual([value, true]);
        }
        for (const value of invalid) {
          if (validate) expect([value, validate(value)]).toEqual([value, false]);
          expect([value, grammar.accepts(JSON.stringify(value))]).toEqual([value, false]);
        }
      });
      it(`${name}: what the grammar makes is valid`, () => {
        const grammar = grammarOfSchema(schema);
        const random = randomNumbers(name.length);
        for (let i = 0; i < 40; i++) {
          const text = grammar.sample(random, 30);
          const value: unknown = JSON.parse(text);
          if (validate) expect([text, validate(value)]).toEqual([text, true]);
        }
      });
    }
  });

describe('whitespace', () => {
  const schema = {
    type: 'object',
    properties: { a: { type: 'array', items: { type: 'integer' } } },
  };
  const pretty = JSON.stringify({ a: [1, 2], b: { c: [] } }, null, 2);

  it('is a space behind commas and colons, or none', () => {
    const grammar = grammarOfSchema(schema);
    expect(grammar.accepts('{"a": [1,2],"b":{}}')).toBe(true);
    for (const text of [pretty, '{ "a":[]}', '{"a":  []}', '{"a":[1 ,2]}', ' {}', '{} '])
      expect([text, grammar.accepts(text)]).toEqual([text, false]);
  });

  it('is free by option, but not without end', () => {
    const grammar = grammarOfSchema(schema, true);
    expect(grammar.accepts(pretty)).toBe(true);
    expect(grammar.accepts('{\t"a" : [ 1 ,\r\n2 ] }')).toBe(true);
    expect(grammar.accepts(`{${' '.repeat(65)}}`)).toBe(false);
  });
});

describe('spelling', () => {
  it('is that of JSON.stringify', () => {
    const grammar = grammarOfSchema({ type: 'string' });
    for (const text of ['"\\n\\u001f\\""', '"é\u2028\u007f"'])
      expect([text, grammar.accepts(text)]).toEqual([text, true]);
    for (const text of ['"\\u0041"', '"\\/"', '"\n"', '"\\u001F"', '"\\a"', '"\\ud800"'])
      expect([text, grammar.accepts(text)]).toEqual([text, false]);
  });

  it('has no -0, no leading zero and no fraction in an integer', () => {
    const grammar = grammarOfSchema({ type: 'integer' });
    for (const text of ['-0', '01', '1.0', '1e3', '+1', '-', ''])
      expect([text, grammar.accepts(text)]).toEqual([text, false]);
    const ranged = grammarOfSchema({ type: 'number', minimum: -2, maximum: 2 });
    for (const text of ['1.50', '0.0', '-1.0', '2.000'])
      expect([text, ranged.accepts(text)]).toEqual([text, true]);
    for (const text of ['-0', '-0.0', '00', '1.', '.5', '1e0', '2.001'])
      expect([text, ranged.accepts(text)]).toEqual([text, false]);
  });
});

describe('ranges', () => {
  it('are exact for random bounds', () => {
    const random = randomNumbers(11);
    const number = (digits: number) =>
      Number(((random() - 0.5) * 10 ** Math.floor(random() * 5)).toFixed(digits));
    for (let i = 0; i < 60; i++) {
      const digits = i % 3;
      const [a, b] = [number(digits), number(digits)];
      const type = digits === 0 ? 'integer' : 'number';
      const low = random() < 0.5 ? 'minimum' : 'exclusiveMinimum';
      const high = random() < 0.5 ? 'maximum' : 'exclusiveMaximum';
      const schema = { type, [low]: Math.min(a, b) - 1, [high]: Math.max(a, b) + 1 };
      const validate = ajv.compile(schema);
      const grammar = grammarOfSchema(schema);
      const near = [a, b, a - 1, b - 1, a + 1, b + 1, 0, 1, -1, 10, -10, 100];
      for (let k = 0; k < 20; k++)
        near.push(number(digits), number(digits + (type === 'number' ? 1 : 0)));
      for (const value of near) {
        const text = JSON.stringify(Number(value.toFixed(6)));
        const expected = validate(JSON.parse(text));
        expect([schema, text, grammar.accepts(text)]).toEqual([
          schema,
          text,
          text === '-0' ? false : expected,
        ]);
      }
    }
  });
});
