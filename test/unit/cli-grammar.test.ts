/** hotpath grammar check, with the reference recogniser in native code's place. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundledModel } from '../../lib/cli/model.js';
import { run, TestContext } from './cli-context.js';
import { fakeEngine } from './fake-engine.js';
import { Recogniser } from './grammar-recogniser.js';

/** What stands for the list of what could have come. */
const expected = ['"x"', '[0-9]'];

/** @param terminal stdin is one */
async function check(args: string[], { stdin = '', terminal = false, more = expected } = {}) {
  const context = new TestContext();
  const { engine, native } = await fakeEngine();
  native.compileGrammar = async (source) => ({
    check: (text) => {
      const { read, complete } = new Recogniser(source).run(text);
      const before = [...text].slice(0, read).join('');
      const failedAt = Buffer.byteLength(before);
      return { accepted: before === text, complete, failedAt, expected: more };
    },
  });
  context.engine = async () => engine;
  context.input.isTTY = terminal;
  const code = await run(context, ['grammar', 'check', ...args], stdin);
  return { code, out: context.out.text, err: context.err.text, loaded: context.loaded, native };
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hotpath-grammar-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the command line', () => {
  const one = /^error: Expected one of --schema, .* received /;
  test.each<[string[], RegExp]>([
    [['--text', 'a'], /received none\.\n$/],
    [['--text', 'a', '--regex', 'a', '--ebnf', 'root ::= "a"'], /received --regex and --ebnf\.\n$/],
    [['--text', 'a', '--response-format', '{}', '--schema', '{}'], one],
    [['m', 'a', '--text', 'a', '--regex', 'a'], /The text is given twice/],
    [['--text', 'a', '--schema', '{'], /--schema.*expected JSON or @file/],
    [['--text', 'a', '--schema', '@/no/such/file'], /cannot read '\/no\/such\/file'/],
    [
      ['--text', 'a', '--regex', 'a', '--tool-choice', 'required'],
      /say something of --tools alone/,
    ],
    [['--text', 'a', '--regx', 'a'], /unknown option '--regx' \(Did you mean --regex/],
    [['m', 'a', 'b', '--regex', 'a'], /too many arguments/],
    [['--text', 'a', '--regex', 'a', '--device', 'gpu'], /--device: device must be/],
  ])('%j is at fault: 2, one line, nothing loaded', async (args, message) => {
    const { code, out, err, loaded } = await check(args);
    expect(code).toBe(2);
    expect(err).toMatch(message);
    expect(err.trimEnd()).not.toContain('\n');
    expect(out).toBe('');
    expect(loaded).toEqual([]);
  });

  test('no text at a terminal', async () => {
    const { code, err } = await check(['--regex', 'a'], { terminal: true });
    expect(code).toBe(2);
    expect(err).toMatch(/There is no text/);
  });

  test('no or an unknown command behind grammar', async () => {
    for (const args of [['grammar'], ['grammar', 'chek']]) {
      const context = new TestContext();
      expect(await run(context, args)).toBe(2);
      expect(context.err.text).toMatch(/Usage: hotpath grammar|Did you mean check/);
      expect(context.out.text).toBe('');
    }
  });

  test.each([[['grammar']], [['grammar', 'check']]])('--help of %j', async (command) => {
    const context = new TestContext();
    expect(await run(context, [...command, '--help'])).toBe(0);
    expect(context.out.text).toMatch(/^Usage: hotpath grammar/);
    expect(context.err.text).toBe('');
  });

  test('the bundled model or another; flags in either spelling', async () => {
    const { loaded } = await check(['--regex', 'a', '--text', 'a']);
    expect(loaded[0]!.model).toBe(bundledModel);
    const other = await check(['m', 'a', '--regex', 'a', '--jsonWhitespace', 'any']);
    expect(other.loaded[0]).toMatchObject({ model: 'm', options: { jsonWhitespace: 'any' } });
    const camel = ['--responseFormat', '{"type":"json_object"}', '--text', '{}'];
    expect((await check(camel)).code).toBe(0);
  });
});

describe('the text', () => {
  test.each([
    ['a', 0],
    ['a\n', 0],
    ['a\r\n', 0],
    ['a\n\n', 1],
    ['', 1],
  ])('from stdin, less one line end: %j', async (stdin, code) => {
    expect((await check(['--regex', 'a'], { stdin })).code).toBe(code);
  });

  test('as an argument or a flag to the letter', async () => {
    expect((await check(['m', 'a\n', '--regex', 'a'])).code).toBe(1);
    expect((await check(['--text', 'a\n', '--regex', 'a'])).code).toBe(1);
    expect((await check(['--text', '', '--regex', 'a?'])).code).toBe(0);
  });
});

describe('the forms', () => {
  const schema = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}';
  const tools = JSON.stringify([
    { type: 'function', function: { name: 'f', parameters: JSON.parse(schema), strict: true } },
    { type: 'function', function: { name: 'g', parameters: JSON.parse(schema) } },
  ]);

  test('a schema, as text or in a file', async () => {
    const file = join(folder, 'schema.json');
    writeFileSync(file, schema);
    for (const value of [schema, `@${file}`]) {
      expect((await check(['--schema', value, '--text', '{"a": 1}'])).code).toBe(0);
      expect((await check(['--schema', value, '--text', '{"a": 1.5}'])).code).toBe(1);
    }
    expect((await check(['--schema', 'true', '--text', '[null]'])).code).toBe(0);
  });

  test('a regex that begins with @ is none of a file', async () => {
    expect((await check(['--regex', '@[a-z]+', '--text', '@ab'])).code).toBe(0);
  });

  test('a grammar, as text or in a file', async () => {
    const file = join(folder, 'list.ebnf');
    writeFileSync(file, 'root ::= item ("," item)*\nitem ::= [a-z]+\n');
    expect((await check(['--ebnf', `@${file}`, '--text', 'ab,c'])).code).toBe(0);
    expect((await check(['--ebnf', 'root ::= "a"', '--text', 'b'])).code).toBe(1);
  });

  test('a response_format', async () => {
    const format = { type: 'structural_tag', format: { type: 'const_string', value: 'so' } };
    const args = ['--response-format', JSON.stringify(format)];
    expect((await check([...args, '--text', 'so'])).code).toBe(0);
    expect((await check([...args, '--text', 'not so'])).code).toBe(1);
  });

  test('tools need a format of the model', async () => {
    const { code, err } = await check(['--tools', tools, '--tool-choice', 'g', '--text', 'a']);
    expect(code).toBe(1);
    expect(err).toMatch(/how this model writes tool calls is not known/);
    const unknown = await check(['--tools', tools, '--tool-choice', 'h', '--text', 'a']);
    expect(unknown.err).toMatch(/error: .*'h'|error: .*"h"/);
  });

  test.each<[string[], RegExp]>([
    [['--schema', '{"type":"hat"}'], /error: json_schema .*hat/],
    [['--schema', '{"enum":[]}'], /error: json_schema/],
    [['--regex', '(a'], /error: regex .*position 0/],
    [['--ebnf', 'root ::= ('], /error: ebnf .*line 1/],
    [['--response-format', '{"type":"yaml"}'], /error: response_format\.type must be one of/],
    [['--response-format', '{"type":"text"}'], /received nothing that constrains/],
    [['--tools', '[]'], /received nothing that constrains/],
    [['--tools', '{}'], /error: .*tools/],
  ])('%j cannot be: 1 and why', async (args, message) => {
    const { code, out, err, native } = await check([...args, '--text', 'a', '--quiet']);
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err).toMatch(message);
    expect(native.closed).toBe(true);
  });
});

describe('what is printed', () => {
  test('complete', async () => {
    const end = await check(['--regex', 'a', '--text', 'a'], { more: ['end of text'] });
    expect(end).toMatchObject({ code: 0, out: 'complete\n' });
    const more = await check(['--regex', 'ab?', '--text', 'a'], { more: ['"b"', 'end of text'] });
    expect(more).toMatchObject({ code: 0, out: 'complete\nIt could go on with:\n  "b"\n' });
    expect(more.native.closed).toBe(true);
  });

  test('accepted', async () => {
    const { code, out } = await check(['--regex', 'ab', '--text', 'a']);
    expect(code).toBe(1);
    expect(out).toBe('accepted, but not complete\nIt has to go on with:\n  "x"\n  [0-9]\n');
  });

  test.each<[regex: string, text: string, lines: string[]]>([
    ['ab', 'xb', ['not allowed at byte 0 (line 1, column 1): "x"', '  xb', '  ^']],
    ['ab', 'ab\n', ['not allowed at byte 2 (line 1, column 3): "\\n"', '  ab', '    ^']],
    ['é\\n€+', 'é\n€€ü', ['not allowed at byte 9 (line 2, column 3): "ü"', '  €€ü', '    ^']],
    ['\\t😀b', '\t😀c', ['not allowed at byte 5 (line 1, column 3): "c"', '  ·😀c', '     ^']],
    [
      'a*',
      `${'a'.repeat(99)}b${'c'.repeat(99)}`,
      [
        'not allowed at byte 99 (line 1, column 100): "b"',
        `  ${'a'.repeat(40)}b${'c'.repeat(19)}`,
        `  ${' '.repeat(40)}^`,
      ],
    ],
  ])('where it is not allowed: %j of %j', async (regex, text, lines) => {
    const { code, out } = await check(['--regex', regex, '--text', text]);
    expect(code).toBe(1);
    expect(out).toBe([...lines, 'Expected:', '  "x"', '  [0-9]', ''].join('\n'));
  });

  test('nothing can follow', async () => {
    const { out } = await check(['--regex', 'a', '--text', 'b'], { more: [] });
    expect(out).toMatch(/\nExpected nothing: no text can follow\.\n$/);
  });

  test('--json is what checkConstraint gives', async () => {
    const args = ['--regex', 'éb', '--json'];
    const whole = await check([...args, '--text', 'éb']);
    expect([whole.code, JSON.parse(whole.out)]).toEqual([
      0,
      { accepted: true, complete: true, failedAt: 3, expected },
    ]);
    const wrong = await check([...args, '--text', 'éc']);
    expect([wrong.code, JSON.parse(wrong.out)]).toEqual([
      1,
      { accepted: false, complete: false, failedAt: 2, expected },
    ]);
  });

  test('special tokens as their text, bytes as the characters that they are', async () => {
    const more = [
      'token(257)',
      '"token(257)"',
      '"\\xc3\\xa9\\xf0\\x9f\\x98\\x80x"',
      '"\\xa9c"',
      '"\\\\xc3\\\\xa9"',
    ];
    const { out } = await check(['--regex', 'a', '--text', 'b', '--json'], { more });
    expect(JSON.parse(out).expected).toEqual([
      '"<|im_start|>"',
      '"token(257)"',
      '"é😀x"',
      '"\\xa9c"',
      '"\\\\xc3\\\\xa9"',
    ]);
  });
});
