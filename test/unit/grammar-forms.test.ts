/** EBNF, free text up to triggers, and structural tags. */
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { type GrammarContext, grammarOf } from '../../lib/grammar/index.js';
import { GrammarSource } from '../../lib/grammar/source.js';
import { textUntil } from '../../lib/grammar/text-until.js';
import type { Constraint } from '../../lib/request/constraint.js';
import { type Piece, Recogniser, randomNumbers } from './grammar-recogniser.js';

const plain: GrammarContext = { toolFrame: null, specialTokens: new Map(), startAfter: null };

function recogniserOf(constraint: Constraint, context: Partial<GrammarContext> = {}): Recogniser {
  return new Recogniser(grammarOf(constraint, { ...plain, ...context }).source);
}

function check(grammar: Recogniser, yes: (string | Piece[])[], no: (string | Piece[])[]): void {
  for (const text of yes) expect([text, grammar.accepts(text)]).toEqual([text, true]);
  for (const text of no) expect([text, grammar.accepts(text)]).toEqual([text, false]);
}

function refusal(constraint: Constraint, context: Partial<GrammarContext> = {}): EngineError {
  try {
    grammarOf(constraint, { ...plain, ...context });
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    expect(error).toMatchObject({ status: 400, type: 'invalid_request_error' });
    return error as EngineError;
  }
  throw new Error('not refused');
}

describe('ebnf', () => {
  const table: [string, string[], string[]][] = [
    ['root ::= "yes" | "no"', ['yes', 'no'], ['', 'yesno', 'y']],
    [
      'root ::= (expr "=" term "\\n")+\nexpr ::= term ([-+*/] term)*\nterm ::= num | "(" expr ")"\nnum ::= [0-9]+',
      ['1+2=3\n', '(1*2)-3=4\n5=6\n'],
      ['1+=2\n', '1=2'],
    ],
    [
      'root ::= "a"{2,3} "b"{2} "c"{1,} "d"? # end',
      ['aabbc', 'aaabbccd'],
      ['abbc', 'aabbb', 'aabb'],
    ],
    ['root ::= a-b.c_1\na-b.c_1 ::= "x" |', ['x', ''], ['xx']],
    ['root ::= [^"\\\\\\x00-\\x1F]+', ['aé😀', ' '], ['"', '\\', '\n', '']],
    ['root ::= "\\x41\\u0042\\U0001F600\\u{43}\\n\\"\\\\"', ['AB😀C\n"\\'], ['AB']],
    ["root ::= 'it' \"'s\"", ["it's"], ['its']],
    ['root ::= . .', ['ab', '\n😀'], ['a', 'abc']],
    ['root ::= [\\d\\s] [\\-\\]^]', ['1-', ' ]', '5^'], ['a-']],
    ['root ::= [a-]', ['a', '-'], ['b']],
    ['root ::= root "a" | ""', ['', 'a', 'aaa'], ['b']],
    ['root ::= () "a" ("b" | )', ['a', 'ab'], ['b']],
    ['root ::= token\ntoken ::= "t"', ['t'], ['']],
    ['# only\r\nroot\n::=\n"a"\n|\n"b"\n', ['a', 'b'], ['ab']],
    ['root ::= ("a" | "b"*){2}?', ['', 'a', 'ab', 'aa', 'bbba'], ['aaa']],
    ['root ::= ["\'] "é"+', ['"éé', "'é"], ['é']],
  ];
  for (const [grammar, yes, no] of table)
    it(grammar.split('\n')[0]!, () => check(recogniserOf({ kind: 'ebnf', grammar }), yes, no));

  const refused: [string, RegExp][] = [
    ['', /line 1, column 1: it is empty/],
    ['# nothing', /it is empty/],
    ['a ::= "x"', /there is no rule root/],
    ['root ::= a', /line 1, column 10: the rule a is used but not defined/],
    ['root ::= "a"\nroot ::= "b"', /line 2, column 1: the rule root is defined twice/],
    ['root = "a"', /line 1, column 6: expected ::= behind the rule name root/],
    ['root ::= "a', /column 10: a literal that does not end/],
    ['root ::= [a', /a class \[ that does not end/],
    ['root ::= []', /an empty class/],
    ['root ::= [z-a]', /end comes before its start/],
    ['root ::= ("a"', /expected \) for this \(/],
    ['root ::= "a")', /expected an expression or the next rule, received "\)"/],
    ['root ::= "a"{3,1}', /the smaller/],
    ['root ::= "a"{x}', /expected \{n\}, \{n,\} or \{n,m\}/],
    ['root ::= "a"{1 2}', /expected \{n\}, \{n,\} or \{n,m\}/],
    ['root ::= "a"{1,9999999}', /repetition count above/],
    ['root ::= "\\q"', /unknown escape \\q/],
    ['root ::= "a" (= "b")', /lookahead/],
    ['root ::= TagDispatch("a", b)', /TagDispatch\(\.\.\.\) is not supported/],
    ['root ::= "\\ud800"', /half of a surrogate pair/],
    [`root ::= ${'('.repeat(20_000)}`, /nested deeper than 100/],
    [`root ::= "${'a'.repeat(1_000_001)}"`, /more than 1000000 characters/],
    ['1root ::= "a"', /expected a rule/],
  ];
  for (const [grammar, message] of refused)
    it(`refuses ${JSON.stringify(grammar.slice(0, 40))}`, () => {
      const error = refusal({ kind: 'ebnf', grammar });
      expect(error.message).toMatch(message);
      expect(error.param).toBe('ebnf');
    });
});

describe('textUntil', () => {
  function until(triggers: string[], mayEnd: boolean, special = new Map<string, number>()) {
    const source = new GrammarSource('x', special);
    const next = triggers.map((text, i) => ({ text, next: source.bytes(`${i}`) }));
    return new Recogniser(source.text(textUntil(source, next, mayEnd)));
  }

  it('ends at the first trigger, as indexOf has it', () => {
    const random = randomNumbers(3);
    const letters = (most: number) =>
      Array.from(
        { length: 1 + Math.floor(random() * most) },
        () => 'ab'[Math.floor(random() * 2)],
      ).join('');
    for (let i = 0; i < 80; i++) {
      const triggers = Array.from({ length: 1 + (i % 3) }, () => letters(4));
      const [closed, open] = [until(triggers, false), until(triggers, true)];
      for (let k = 0; k < 15; k++) {
        const text = letters(9);
        const ends = triggers.flatMap((t, n) => {
          const at = text.indexOf(t);
          return at < 0 ? [] : [{ end: at + t.length, n }];
        });
        const first = ends.sort((a, b) => a.end - b.end)[0];
        expect([triggers, text, open.accepts(text)]).toEqual([triggers, text, first === undefined]);
        expect(closed.accepts(text)).toBe(false);
        if (first?.end !== text.length) continue;
        const ofFirst = ends.filter((e) => e.end === first.end).map((e) => e.n);
        const accepted = triggers.map((_, n) => n).filter((n) => closed.accepts(text + n));
        expect(accepted.length).toBe(1);
        expect(ofFirst).toContain(accepted[0]);
      }
    }
  });

  it('takes special tokens as tokens, and no others', () => {
    const special = new Map([
      ['<|call|>', 7],
      ['<|end|>', 8],
    ]);
    const grammar = until(['<|call|>x'], true, special);
    check(grammar, ['abc', '<|call|>x', ['ab', 7, 'x0']], [[7], [7, 'y'], ['a', 8], [7, 'x']]);
  });
});

describe('structural tags', () => {
  const schema = {
    type: 'object',
    properties: { a: { type: 'integer' } },
    required: ['a'],
    additionalProperties: false,
  };
  const tagged = (tag: Record<string, unknown>, context: Partial<GrammarContext> = {}) =>
    recogniserOf({ kind: 'structural_tag', tag }, context);

  it('has the older shape', () => {
    const grammar = tagged({
      structures: [
        { begin: '<function=f>', schema, end: '</function>' },
        { begin: '<function=g>', schema: { type: 'null' }, end: '</function>' },
        { begin: '<any>', end: '</any>' },
      ],
      triggers: ['<function=', '<any'],
    });
    check(
      grammar,
      [
        '',
        'text < <fun',
        '<function=f>{"a":1}</function>',
        'x <function=g>null</function> y <any>[1]</any>',
      ],
      ['<function=h>', '<function=f>{}</function>', '<function=f>{"a":1}', '<any>x</any>'],
    );
  });

  const f = (value: string) => ({ type: 'const_string', value });
  const tag = (begin: string, content: unknown, end: string | string[]) => ({
    type: 'tag',
    begin,
    content,
    end,
  });
  const json = { type: 'json_schema', json_schema: schema };
  const table: [string, unknown, string[], string[]][] = [
    ['const_string', f('a"\n'), ['a"\n'], ['a']],
    ['json_schema', json, ['{"a": 1}'], ['{}']],
    ['json_schema true', { type: 'json_schema', json_schema: true }, ['[null]'], ['x']],
    ['regex', { type: 'regex', pattern: '[a-c]+' }, ['abc'], ['d', '']],
    ['grammar', { type: 'grammar', grammar: 'root ::= "x" y\ny ::= "z"' }, ['xz'], ['x']],
    ['any_text', { type: 'any_text' }, ['', 'any\n"text'], []],
    ['any_text that excludes', { type: 'any_text', excludes: ['ab'] }, ['', 'a b'], ['xab']],
    ['sequence', { type: 'sequence', elements: [f('a'), f('b')] }, ['ab'], ['a', 'b']],
    ['or', { type: 'or', elements: [f('a'), f('b')] }, ['a', 'b'], ['ab', '']],
    ['optional', { type: 'optional', content: f('a') }, ['', 'a'], ['aa']],
    ['star', { type: 'star', content: f('ab') }, ['', 'ab', 'abab'], ['a']],
    ['plus', { type: 'plus', content: f('ab') }, ['ab', 'abab'], ['']],
    ['tag', tag('<', json, '>'), ['<{"a":1}>'], ['<>']],
    [
      'tag of free text',
      tag('<t>', { type: 'any_text' }, '</t>'),
      ['<t></t>', '<t>a < b</t>'],
      ['<t>', '<t></t>x', '<t></t></t>'],
    ],
    ['tag with several ends', tag('<', f('a'), ['>', '/']), ['<a>', '<a/'], ['<a']],
    [
      'triggered_tags',
      {
        type: 'triggered_tags',
        triggers: ['<'],
        tags: [tag('<a>', f('x'), ';'), tag('<b>', f('y'), ';')],
      },
      ['', 'text', 't<a>x;u<b>y;v'],
      ['<', '<a>y;', '<c>'],
    ],
    [
      'triggered_tags, at least one',
      {
        type: 'triggered_tags',
        triggers: ['<'],
        tags: [tag('<a>', f('x'), ';')],
        at_least_one: true,
      },
      ['<a>x;', 't<a>x;u<a>x;'],
      ['', 't'],
    ],
    [
      'triggered_tags, once',
      {
        type: 'triggered_tags',
        triggers: ['<'],
        tags: [tag('<a>', f('x'), ';')],
        stop_after_first: true,
      },
      ['', 't<a>x;'],
      ['<a>x;u', '<a>x;<a>x;'],
    ],
    [
      'tags_with_separator',
      {
        type: 'tags_with_separator',
        tags: [tag('<a>', f('x'), ';'), tag('<b>', f('y'), ';')],
        separator: ',',
      },
      ['', '<a>x;', '<a>x;,<b>y;,<a>x;'],
      ['<a>x;<a>x;', ',', '<a>x;,'],
    ],
    [
      'tags_with_separator, one',
      {
        type: 'tags_with_separator',
        tags: [tag('<a>', f('x'), ';')],
        separator: ',',
        at_least_one: true,
        stop_after_first: true,
      },
      ['<a>x;'],
      ['', '<a>x;,<a>x;'],
    ],
    [
      'put together',
      {
        type: 'sequence',
        elements: [
          tag('<think>', { type: 'any_text' }, '</think>'),
          { type: 'or', elements: [json, f('none')] },
        ],
      },
      ['<think>hm</think>none', '<think></think>{"a":2}'],
      ['none', '<think>none'],
    ],
  ];
  for (const [name, format, yes, no] of table) it(name, () => check(tagged({ format }), yes, no));

  it('begins with special tokens, cut by the trigger or not', () => {
    const specialTokens = new Map([['<tool_call>', 5]]);
    const format = {
      type: 'triggered_tags',
      triggers: ['<tool'],
      tags: [tag('<tool_call>{', f('x'), '}'), tag('<tools>', f('y'), ';')],
    };
    const grammar = tagged({ format }, { specialTokens });
    check(grammar, [['a', 5, '{x}b'], '<tools>y;'], [[5], '<tool_call>{x}', '<toolbox']);
  });

  const refused: [string, unknown, RegExp][] = [
    ['an unknown type', { type: 'x' }, /response_format\.format\.type: expected const_string/],
    ['a missing type', {}, /received nothing/],
    [
      'an unknown field',
      { type: 'regex', pattern: 'a', flags: 'i' },
      /format\.flags: no such field/,
    ],
    ['a wrong value', { type: 'const_string', value: 1 }, /format\.value: expected a string/],
    [
      'a wrong schema',
      { type: 'json_schema', json_schema: 1 },
      /json_schema: expected a JSON Schema/,
    ],
    [
      'a schema inside',
      { type: 'or', elements: [{ type: 'json_schema', json_schema: { foo: 1 } }] },
      /elements\[0\]\.json_schema: foo at #/,
    ],
    [
      'a regex inside',
      { type: 'regex', pattern: '(' },
      /format\.pattern must be a regular expression/,
    ],
    ['a grammar inside', { type: 'grammar', grammar: 'x' }, /format\.grammar is not a grammar/],
    [
      'a tag without trigger',
      { type: 'triggered_tags', triggers: ['['], tags: [tag('<a>', f('x'), ';')] },
      /begins with none of the triggers/,
    ],
    [
      'a trigger without tag',
      { type: 'triggered_tags', triggers: ['<', '['], tags: [tag('<a>', f('x'), ';')] },
      /no tag begins with "\["/,
    ],
    ['no tags', { type: 'tags_with_separator', tags: [], separator: ',' }, /at least one tag/],
    [
      'an empty trigger',
      { type: 'triggered_tags', triggers: [''], tags: [tag('<a>', f('x'), ';')] },
      /not empty/,
    ],
  ];
  for (const [name, format, message] of refused)
    it(`refuses ${name}`, () => {
      expect(refusal({ kind: 'structural_tag', tag: { format } }).message).toMatch(message);
    });

  it('refuses formats without end', () => {
    let format: unknown = f('x');
    for (let i = 0; i < 3000; i++) format = { type: 'optional', content: format };
    expect(refusal({ kind: 'structural_tag', tag: { format } }).message).toMatch(/nested deeper/);
  });
});

describe('grammarOf', () => {
  it('has any object for json_object, and any JSON for the schema true', () => {
    check(
      recogniserOf({ kind: 'json_object' }),
      ['{}', '{"a": [1, {"b": null}]}'],
      ['[]', '1', ''],
    );
    check(recogniserOf({ kind: 'json_schema', schema: true, name: null }), ['[]', '1'], ['']);
  });

  it('waits for the end of reasoning, behind which JSON may have line ends', () => {
    const grammar = grammarOf({ kind: 'json_object' }, { ...plain, startAfter: '</think>' });
    expect(grammar.startAfter).toBe('</think>');
    check(new Recogniser(grammar.source), ['{}', '\n\n{}'], ['\n\n\n{}', ' {}']);
    const regex = grammarOf({ kind: 'regex', pattern: 'a' }, { ...plain, startAfter: '</think>' });
    check(new Recogniser(regex.source), ['a'], ['\na']);
  });

  it('lets a model think first that may do so or not', () => {
    const mayThink = { start: '<think>', end: '</think>' };
    const json = recogniserOf({ kind: 'json_object' }, { mayThink });
    check(
      json,
      ['{}', '<think>{ x</think>\n\n{}', '<think></think>{}'],
      ['<think>', '\n{}', '<think></think>x'],
    );
    const regex = recogniserOf({ kind: 'regex', pattern: 'a+' }, { mayThink });
    check(regex, ['aa', '<think>b</think>a'], ['b', '<think>b</think>\na']);
    const specialTokens = new Map([
      ['<think>', 1],
      ['</think>', 2],
    ]);
    const tokens = recogniserOf({ kind: 'json_object' }, { mayThink, specialTokens });
    check(tokens, ['{}', [1, 'x', 2, '\n{}']], ['<think></think>{}', [1, 'x', 2]]);
  });

  it('keeps special tokens out of JSON, patterns and grammars', () => {
    const specialTokens = new Map([['<s>', 1]]);
    const texts: Constraint[] = [
      { kind: 'json_schema', schema: { const: '<s>' }, name: null },
      { kind: 'regex', pattern: '"<s>"' },
      { kind: 'ebnf', grammar: 'root ::= "\\"<s>\\""' },
    ];
    for (const constraint of texts)
      check(recogniserOf(constraint, { specialTokens }), ['"<s>"'], [['"', 1, '"']]);
  });

  it('names the field', () => {
    const schema = { type: 'string', pattern: '(' };
    const constraint: Constraint = { kind: 'json_schema', schema, name: null };
    expect(refusal(constraint).param).toBe('response_format.json_schema.schema');
    expect(refusal(constraint, { param: 'json_schema' }).message).toMatch(
      /^json_schema: pattern at # /,
    );
  });
});
