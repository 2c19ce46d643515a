/** Constraints that cannot be, and what checkConstraint says of texts. */
import { afterAll, beforeAll, expect } from 'vitest';
import type { ChatCompletionRequest, ConstraintRequest, Engine } from '../../lib/index.js';
import { describe, test } from '../device.js';
import { collect, loadPocket, settled, user } from './pocket.js';

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket();
});
afterAll(async () => {
  expect((await settled(engine)).failure).toBeNull();
  await engine.close();
});

const person = {
  type: 'object',
  properties: {
    name: { type: 'string', pattern: '^[A-Z][a-z]{2,8}$' },
    age: { type: 'integer', maximum: 99 },
  },
  required: ['name', 'age'],
  additionalProperties: false,
};

const rules = (count: number) =>
  `root ::= r0\n${Array.from({ length: count }, (_, i) => `r${i} ::= "a" r${i + 1}`).join('\n')}\nr${count} ::= "b"`;
const wide = {
  type: 'object',
  properties: Object.fromEntries(
    Array.from({ length: 60_000 }, (_, i) => [`property_${i}`, { enum: [`v${i}`, i] }]),
  ),
};

describe('what cannot be is refused before anything is generated', () => {
  const schema = (value: unknown) => ({ json_schema: value as Record<string, unknown> });
  test.each<[string, Partial<ConstraintRequest>, param: string, message: RegExp]>([
    ['a schema that is no JSON', schema('{"type":'), 'json_schema', /does not parse/],
    ['a type that is none', schema({ type: 'hat' }), 'json_schema', /hat/],
    [
      'a pattern that is none',
      schema({ pattern: '(a' }),
      'json_schema',
      /pattern at #.*position 0/,
    ],
    [
      'a keyword deep inside',
      schema({ properties: { a: { items: { pattern: '(?=a)' } } } }),
      'json_schema',
      /pattern at #\/properties\/a\/items/,
    ],
    ['no value', schema({ enum: [] }), 'json_schema', /enum|no value/],
    [
      'contradictions',
      schema({ type: 'string', minLength: 5, maxLength: 2 }),
      'json_schema',
      /at # cannot be enforced: no value fits/,
    ],
    ['a $ref to nowhere', schema({ $ref: '#/$defs/x' }), 'json_schema', /\$ref at #.*\$defs\/x/],
    [
      'a $ref in a circle',
      schema({ $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/a' } } }),
      'json_schema',
      /leads back to itself/,
    ],
    ['60,000 properties', schema(wide), 'json_schema', /too large|too many|more than/],
    ['a regex that is none', { regex: 'ab(c' }, 'regex', /position 2/],
    ['a range out of order', { regex: '[z-a]' }, 'regex', /position \d/],
    ['a backreference', { regex: '(a)\\1' }, 'regex', /position \d/],
    ['a long regex', { regex: 'ab?'.repeat(10_000) }, 'regex', /more than 20000/],
    ['deep groups', { regex: `${'('.repeat(5000)}a${')'.repeat(5000)}` }, 'regex', /deep/],
    ['a grammar that is none', { ebnf: 'root ::= "a"\nb ::= (' }, 'ebnf', /line 2, column \d/],
    ['no root', { ebnf: 'start ::= "a"' }, 'ebnf', /root/],
    ['an unknown rule', { ebnf: 'root ::= "a" b' }, 'ebnf', /line 1, column 14.*rule b/],
    ['only recursion', { ebnf: 'root ::= root' }, 'ebnf', /unsatisfiable/],
    [
      'left recursion without an end',
      { ebnf: 'root ::= root "a" | root' },
      'ebnf',
      /unsatisfiable/,
    ],
    ['a huge grammar', { ebnf: rules(60_000) }, 'ebnf', /more than|too large|too many/],
    ['a megabyte', { ebnf: `root ::= "${'a'.repeat(1_100_000)}"` }, 'ebnf', /more than 1000000/],
    [
      'a format that nobody has',
      { response_format: { type: 'yaml' } as never },
      'response_format',
      /must be one of .*json_schema.*yaml/,
    ],
    [
      'a format of tags that nobody has',
      { response_format: { type: 'structural_tag', format: { type: 'hat' } } },
      'response_format.format.type',
      /received "hat"/,
    ],
    ['two forms', { regex: 'a', ebnf: 'root ::= "a"' }, 'ebnf', /Only one of/],
    [
      'two forms, one of them a format',
      { regex: 'a', response_format: { type: 'json_object' } },
      'response_format',
      /Only one of/,
    ],
  ])('%s', async (_, more, param, message) => {
    const before = engine.stats().generatedTokens;
    const expected = {
      name: 'EngineError',
      status: 400,
      type: 'invalid_request_error',
      param: expect.stringMatching(new RegExp(`^${param.replaceAll('.', '\\.')}`)),
      message: expect.stringMatching(message),
    };
    const body = { prompt: 'x', ...more };
    const started = process.cpuUsage();
    await expect(engine.completions(body)).rejects.toMatchObject(expected);
    const stream = collect(engine.completions({ ...body, stream: true }));
    await expect(stream).rejects.toMatchObject(expected);
    await expect(engine.checkConstraint(more, 'a')).rejects.toMatchObject(expected);
    // For all three, in microseconds: time by the clock would be that of other programs too.
    const { user: own, system } = process.cpuUsage(started);
    expect(own + system).toBeLessThan(15e6);
    expect(engine.stats().generatedTokens).toBe(before);
  });

  test('chat: tools and a form, and a tool that is not there', async () => {
    const tool = { type: 'function' as const, function: { name: 'f' } };
    const asked: Omit<ChatCompletionRequest, 'stream'> = {
      messages: user('x'),
      tools: [tool],
      tool_choice: 'required',
      regex: 'a',
    };
    await expect(engine.chatCompletions(asked)).rejects.toMatchObject({
      status: 400,
      param: 'regex',
    });
    const other = { type: 'function' as const, function: { name: 'g' } };
    await expect(
      engine.chatCompletions({ ...asked, regex: null, tool_choice: other }),
    ).rejects.toMatchObject({
      status: 400,
      param: expect.stringMatching(/^tool_choice/),
    });
  });

  test('hostile forms that can be met are met', async () => {
    for (const body of [
      { regex: '(a{1000}){1000}' },
      { regex: '((a{0,300}){0,300}){0,300}' },
      { regex: '(a|aa|aaa)*(a*)*b?' },
      { ebnf: 'root ::= root root | "a" | ""' },
      { ebnf: 'root ::= root "a" | "a"' },
      { ebnf: rules(10_000) },
    ] satisfies ConstraintRequest[]) {
      const { choices } = await engine.completions({ prompt: 'x', ...body, max_tokens: 12 });
      expect(choices[0]!.text).toMatch(/^a*b?$/);
      const check = await engine.checkConstraint(body, 'a'.repeat(100));
      expect(check).toMatchObject({ accepted: true, failedAt: 100 });
    }
  });
});

describe('checkConstraint', () => {
  const regex = 'aé(b|ü)c?';
  test.each<
    [ConstraintRequest, string, [accepted: boolean, complete: boolean, failedAt: number], string[]]
  >([
    [{ regex }, '', [true, false, 0], ['"aé"']],
    [{ regex }, 'aéb', [true, true, 4], ['"c"', 'end of text']],
    [{ regex }, 'aéüc', [true, true, 6], ['end of text']],
    [{ regex }, 'aébcc', [false, false, 5], ['end of text']],
    [{ regex }, 'aéüx', [false, false, 5], ['"c"', 'end of text']],
    [{ regex }, 'aè', [false, false, 2], []],
    [{ regex: 'a*' }, '', [true, true, 0], ['"a"', 'end of text']],
    [{ regex: '[b-d]x' }, 'a', [false, false, 0], ['[b-d]']],
    [{ ebnf: 'root ::= root "," [0-9]+ | "x"' }, 'x,12,', [true, false, 5], ['[0-9]']],
    [{ response_format: { type: 'json_object' } }, '{"a": tru}', [false, false, 9], ['"e"']],
    [{ response_format: { type: 'json_object' } }, ' {}', [false, false, 0], ['"{"']],
    [{ json_schema: person }, '{"name": "Ada", "age": 100', [false, false, 25], ['"}"']],
    [{ json_schema: person }, '{"age"', [false, false, 2], ['"name\\":"']],
  ])('%j of %j', async (body, text, [accepted, complete, failedAt], expected) => {
    const check = await engine.checkConstraint(body, text);
    expect(check).toMatchObject({ accepted, complete, failedAt });
    expect(check.expected).toEqual(expect.arrayContaining(expected));
  });

  test('tools, in the form that the model writes calls', async () => {
    const tools: ConstraintRequest['tools'] = [
      { type: 'function', function: { name: 'f', parameters: person, strict: true } },
    ];
    const body: ConstraintRequest = { tools, tool_choice: 'required' };
    const call = '<tool_call>\n{"name": "f", "arguments": {"name": "Ada", "age": 3}}\n</tool_call>';
    expect(await engine.checkConstraint(body, call)).toMatchObject({ complete: true });
    expect(await engine.checkConstraint(body, 'Hi')).toMatchObject({
      accepted: false,
      failedAt: 0,
    });
    const free = { ...body, tool_choice: 'auto' as const };
    expect(await engine.checkConstraint(free, 'Hi')).toMatchObject({ complete: true });
    const wrong = await engine.checkConstraint(free, call.replace('3', '"3"'));
    expect(wrong).toMatchObject({ accepted: false, failedAt: call.indexOf('3') });
  });

  test('what is no constraint or no text', async () => {
    const check = (body: unknown, text: unknown) =>
      engine.checkConstraint(body as ConstraintRequest, text as string);
    const refused = { status: 400, type: 'invalid_request_error' };
    for (const body of [
      {},
      { response_format: { type: 'text' } },
      { tools: [] },
      null,
      'a',
      { n: 1 },
    ])
      await expect(check(body, 'a')).rejects.toMatchObject(refused);
    for (const text of [undefined, null, 5, ['a']])
      await expect(check({ regex: 'a' }, text)).rejects.toMatchObject({
        ...refused,
        param: 'text',
      });
    const closed = await loadPocket();
    await closed.close();
    await expect(closed.checkConstraint({ regex: 'a' }, 'a')).rejects.toMatchObject({
      code: 'engine_closed',
    });
  });

  test('a long text', async () => {
    const text = `[${Array.from({ length: 20_000 }, (_, i) => i).join(', ')}]`;
    const body: ConstraintRequest = { json_schema: { type: 'array', items: { type: 'integer' } } };
    expect(await engine.checkConstraint(body, text)).toMatchObject({ complete: true });
    const broken = `${text.slice(0, -1)}, x]`;
    const { failedAt } = await engine.checkConstraint(body, broken);
    expect(failedAt).toBe(broken.length - 2);
  });
});
