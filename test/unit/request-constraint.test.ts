/** Fields that say what form the answer must have: read into plain data, checked, and compiled. */
import { beforeAll, describe, expect, test } from 'vitest';
import { planConstraint } from '../../lib/request/constraint.js';
import { schemaFault } from '../../lib/request/json-schema.js';
import { type Fake, fakeEngine } from './fake-engine.js';
import { asking, cases } from './request-refused.js';

let fake: Fake;
beforeAll(async () => {
  fake = await fakeEngine();
});
const { chat, complete } = asking(() => fake);

const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
const tool = (name: string, more: object = {}) => ({
  type: 'function' as const,
  function: { name, parameters: schema, ...more },
});

describe('what is planned', () => {
  test('nothing', () => {
    expect(planConstraint({})).toBe(null);
    expect(planConstraint({ response_format: { type: 'text' } })).toBe(null);
    expect(planConstraint({ tools: [tool('f')] })).toBe(null);
    expect(planConstraint({ tools: [tool('f', { strict: true })], tool_choice: 'none' })).toBe(
      null,
    );
  });

  test('forms of response_format', () => {
    const planned = (response_format: Record<string, unknown>) =>
      planConstraint({ response_format });
    expect(planned({ type: 'json_object' })).toEqual({ kind: 'json_object' });
    expect(planned({ type: 'json_schema', json_schema: { name: 'x', schema } })).toEqual({
      kind: 'json_schema',
      schema,
      name: 'x',
    });
    expect(planned({ type: 'json_schema', schema })).toEqual({
      kind: 'json_schema',
      schema,
      name: null,
    });
    const old = { structures: [{ begin: '<a>', schema, end: '</a>' }], triggers: ['<a'] };
    expect(planned({ type: 'structural_tag', ...old })).toEqual({
      kind: 'structural_tag',
      tag: old,
    });
    const format = { type: 'const_string', value: 'x' };
    expect(planned({ type: 'structural_tag', format })).toEqual({
      kind: 'structural_tag',
      tag: { format },
    });
  });

  test('regex, ebnf and json_schema', () => {
    expect(planConstraint({ regex: 'a+' })).toEqual({ kind: 'regex', pattern: 'a+' });
    expect(planConstraint({ ebnf: 'root ::= "a"' })).toEqual({
      kind: 'ebnf',
      grammar: 'root ::= "a"',
    });
    const planned = { kind: 'json_schema', schema, name: null };
    expect(planConstraint({ json_schema: JSON.stringify(schema) })).toEqual(planned);
    expect(planConstraint({ json_schema: schema })).toEqual(planned);
    expect(planConstraint({ json_schema: '$$ANY$$' })).toEqual({ ...planned, schema: true });
    expect(planConstraint({ json_schema: { type: 'object' } })).toMatchObject({
      schema: { type: 'object' },
    });
  });

  test('tools', () => {
    const tools = [tool('f'), { type: 'function' as const, function: { name: 'g', strict: true } }];
    const f = { name: 'f', parameters: schema, strict: false };
    const g = { name: 'g', parameters: true, strict: true };
    const both = { kind: 'tools', tools: [f, g], parallel: true };
    expect(planConstraint({ tools })).toEqual({ ...both, mode: 'auto' });
    expect(planConstraint({ tools, tool_choice: 'required' })).toEqual({
      ...both,
      mode: 'required',
    });
    expect(
      planConstraint({
        tools,
        tool_choice: { type: 'function', function: { name: 'g' } },
        parallel_tool_calls: false,
      }),
    ).toEqual({ kind: 'tools', mode: 'named', tools: [g], parallel: false });
  });
});

describe('what is refused on both endpoints', () => {
  const rows: Parameters<typeof cases>[0] = [
    [{ regex: '' }, 'regex', 'invalid_value', /must not be empty/],
    [{ json_schema: '{' }, 'json_schema', 'invalid_value', /does not parse/],
    [
      { json_schema: { type: 'x' } },
      'json_schema',
      'invalid_value',
      /json_schema is invalid: type/,
    ],
    [{ json_schema: 5 }, 'json_schema', 'invalid_type', /as an object or as JSON text/],
    [
      { regex: 'a', ebnf: 'root ::= "a"' },
      'ebnf',
      'invalid_value',
      /^Only one of regex, json_schema, ebnf or response_format can be set, got regex and ebnf/,
    ],
    [
      { regex: 'a', response_format: { type: 'json_object' } },
      'response_format',
      'invalid_value',
      /Only one of/,
    ],
    [{ response_format: {} }, 'response_format', 'missing_required_parameter', /format\.type/],
    [
      { response_format: { type: 'xml' } },
      'response_format',
      'invalid_value',
      /type must be one of text, json_object, json_schema, structural_tag, got 'xml'/,
    ],
    [{ response_format: 'json' }, 'response_format', 'invalid_type', /an object with a type/],
    [
      { response_format: { type: 'json_schema' } },
      'response_format.json_schema.schema',
      'missing_required_parameter',
      /^schema_ is required for json_schema response format request/,
    ],
    [
      { response_format: { type: 'json_schema', json_schema: { schema: 'INVALID' } } },
      'response_format.json_schema.schema',
      'invalid_value',
      /expected a JSON Schema \(an object\), but got a string/,
    ],
    [
      { response_format: { type: 'json_schema', json_schema: { name: 5, schema } } },
      'response_format.json_schema.name',
      'invalid_type',
      /expected a string/,
    ],
    [
      { response_format: { type: 'structural_tag' } },
      'response_format.structures',
      'missing_required_parameter',
      /at least one structure/,
    ],
    [
      {
        response_format: {
          type: 'structural_tag',
          structures: [{ begin: 'a', end: 1 }],
          triggers: ['a'],
        },
      },
      'response_format.structures[0].end',
      'invalid_type',
      /expected a string/,
    ],
  ];
  describe('chat', () => cases(rows, chat));
  describe('completions', () => cases(rows, complete));
});

describe('tools that force', () => {
  cases(
    [
      [
        { tools: [tool('f')], tool_choice: 'required' },
        'tool_choice',
        'invalid_value',
        /^tool_choice: how this model writes tool calls is not known/,
      ],
      [
        { tools: [tool('f', { strict: true })] },
        'tools',
        'invalid_value',
        /^tools: how this model writes tool calls is not known/,
      ],
      [
        { tools: [tool('f')], tool_choice: 'required', regex: 'a' },
        'regex',
        'invalid_value',
        /cannot be combined with a tool_choice that forces a call/,
      ],
    ],
    chat,
  );
});

describe('schemas as objects', () => {
  test('one that holds itself is refused', () => {
    const cyclic: Record<string, unknown> = { type: 'object' };
    cyclic.properties = Object.fromEntries([...'abcdef'].map((name) => [name, cyclic]));
    expect(schemaFault(cyclic)).toBe(
      'at properties.a: the schema holds itself, which JSON cannot say',
    );
  });

  test('one that is used in many places is looked at once', () => {
    let shared: Record<string, unknown> = { type: 'string' };
    for (let i = 0; i < 60; i++) shared = { anyOf: [shared, shared] };
    expect(schemaFault(shared)).toBe(null);
    for (let i = 0; i < 10; i++) shared = { not: shared };
    expect(schemaFault(shared)).toMatch(/nested deeper/);
  });

  test('every word that holds schemas is looked into', () => {
    const bad = { type: 'no' };
    for (const schema of [
      { items: bad },
      { items: [{}, bad] },
      { additionalProperties: bad },
      { $defs: { x: bad } },
      { prefixItems: [bad] },
      { if: bad },
    ])
      expect(schemaFault(schema)).toMatch(/type must be one of/);
    expect(schemaFault({ additionalProperties: false, items: true })).toBe(null);
    expect(schemaFault({ enum: 5 })).toMatch(/enum must be an array/);
    expect(schemaFault({ properties: [] })).toMatch(/properties must be an object/);
    expect(schemaFault({ anyOf: {} })).toMatch(/anyOf must be an array/);
  });
});

test('nothing refused reached native code', () => {
  expect(fake.native.submitted).toEqual([]);
  expect(fake.native.grammars).toEqual([]);
});

describe('what reaches native code', () => {
  const messages = [{ role: 'user' as const, content: 'hi' }];
  const format = { type: 'json_object' as const };

  test('one compiled grammar for all samples, from the first token on', async () => {
    const { engine, native } = await fakeEngine();
    native.answer({ tokens: [65], finish: 'length' });
    await engine.chatCompletions({ messages, response_format: format, n: 3 });
    expect(native.grammars).toHaveLength(1);
    const [first, ...others] = native.submitted.map(({ params }) => params);
    expect(first).toMatchObject({ grammar: expect.any(Object), grammarStart: '' });
    for (const params of others) expect(params.grammar).toBe(first!.grammar);
    await engine.completions({ prompt: 'a', regex: '[0-9]+' });
    expect(native.grammars[1]).toMatch(/root ::=/);
  });

  test('behind the reasoning, where the answer begins with some', async () => {
    const { engine, native } = await fakeEngine(
      {},
      { text: { reasoningParser: 'deepseek-r1', toolParser: 'hermes' } },
    );
    native.answer({ tokens: [65], finish: 'length' });
    await engine.chatCompletions({ messages, response_format: format });
    expect(native.submitted[0]!.params.grammarStart).toBe('</think>');
    await engine.chatCompletions({ messages });
    expect(native.submitted[1]!.params).toMatchObject({ grammar: null, grammarStart: '' });
  });

  test("what native code cannot compile is the field's fault", async () => {
    const { engine, native } = await fakeEngine();
    const refusal = Object.assign(new Error('no text matches'), { code: 'invalid_request' });
    native.refuse = Object.assign(refusal, { position: 7 });
    await expect(
      engine.completions({ prompt: 'a', ebnf: 'root ::= "a" root' }),
    ).rejects.toMatchObject({
      status: 400,
      param: 'ebnf',
      message:
        'ebnf: it cannot be enforced: no text matches (at byte 7 of the grammar that it becomes)',
    });
  });
});
