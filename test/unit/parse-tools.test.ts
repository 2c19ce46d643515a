import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { createToolParser, toolFormat, toolParserName } from '../../lib/parse/tools/index.js';
import type { MessageEvent } from '../../lib/parse/types.js';
import { messageOf, parsed, summary, toolParser, weather } from './parse-tools-samples.js';

const declaredTools = [weather];

describe('calls stream', () => {
  it('the name as soon as it is known, then the arguments as they come', () => {
    const parser = toolParser('hermes');
    const steps: [string, MessageEvent[]][] = [
      ['Let me see.', [{ type: 'content', text: 'Let me see.' }]],
      ['\n\n<tool', []],
      ['_call>\n{"name": "get_', []],
      ['weather"', [{ type: 'toolCall', index: 0, id: 'a', name: 'get_weather' }]],
      [', "arguments": ', []],
      ['{"city": "Pa', [{ type: 'toolArguments', index: 0, text: '{"city": "Pa' }]],
      ['ris"}', [{ type: 'toolArguments', index: 0, text: 'ris"}' }]],
      [
        '}\n</tool_call>\n<tool_call>{"name": "x"',
        [{ type: 'toolCall', index: 1, id: 'b', name: 'x' }],
      ],
      ['}', [{ type: 'toolArguments', index: 1, text: '{}' }]],
      ['</tool_call>\n', []],
    ];
    for (const [piece, events] of steps) expect(parser.push(piece), piece).toEqual(events);
    expect(parser.flush()).toEqual([]);
    expect(parser.reasoningEnd).toBe(0);
  });

  it('strings of bare text in pieces, other values when they are complete', () => {
    const parser = toolParser('qwen3-coder', { declaredTools });
    const args = (piece: string) =>
      parser.push(piece).map((event) => ('text' in event ? event.text : event.type));
    expect(args('<tool_call>\n<function=get_weather>')).toEqual(['toolCall']);
    expect(args('\n<parameter=city>\nSan "F')).toEqual(['{"city": "San \\"F']);
    expect(args('ran\n')).toEqual(['ran']);
    expect(args('\n</para')).toEqual(['\\n']);
    expect(args('meter>\n<parameter=days>\n1')).toEqual(['", "days": ']);
    expect(args('2\n</parameter>')).toEqual(['12']);
    expect(args('\n</function>')).toEqual(['}']);
  });

  it('several calls in one step', () => {
    const events = toolParser('kimi_k2').push(
      '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a":1}<|tool_call_end|><|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>{"a":2}<|tool_call_end|><|tool_calls_section_end|>',
    );
    expect(messageOf(events)).toEqual({
      content: null,
      reasoning: null,
      calls: [
        { id: 'functions.f:0', name: 'f', arguments: '{"a":1}' },
        { id: 'functions.f:1', name: 'f', arguments: '{"a":2}' },
      ],
    });
  });

  it('takes no text after its end', () => {
    const parser = toolParser('hermes');
    expect(parser.push('a <tool')).toEqual([{ type: 'content', text: 'a' }]);
    expect(parser.flush()).toEqual([{ type: 'content', text: ' <tool' }]);
    expect(parser.flush()).toEqual([]);
    expect(() => parser.push('x')).toThrow('push after flush');
  });
});

describe('ids', () => {
  const call = '<tool_call>{"name": "f"}</tool_call>';
  const ids = (events: MessageEvent[]) =>
    events.flatMap((event) => (event.type === 'toolCall' ? [event.id] : []));

  it('are random, of 24 hexadecimal digits', () => {
    const found = ids(createToolParser(toolFormat('hermes')).push(call + call));
    expect(found).toEqual([
      expect.stringMatching(/^call_[0-9a-f]{24}$/),
      expect.stringMatching(/^call_[0-9a-f]{24}$/),
    ]);
    expect(found[0]).not.toBe(found[1]);
  });

  it('go on counting over the conversation for Kimi', () => {
    const text =
      '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>';
    expect(ids(toolParser('kimi_k2', { callsBefore: 3 }).push(text))).toEqual(['functions.f:3']);
  });

  it("are Mistral's own, or of the only form that its templates take", () => {
    const parser = createToolParser(toolFormat('mistral'));
    const found = ids(
      parser.push('[TOOL_CALLS]f[CALL_ID]Abcdefgh1[ARGS]{}[TOOL_CALLS]f[CALL_ID]x[ARGS]{}'),
    );
    expect(found).toEqual(['Abcdefgh1', expect.stringMatching(/^[a-z0-9]{9}$/)]);
  });
});

describe('text around calls', () => {
  const call = '<tool_call>{"name": "f"}</tool_call>';

  it.each([
    [`Hi \n\n${call}`, ['Hi', 'f({})']],
    [`\n${call}\n`, ['f({})']],
    [`${call}\n\n${call}\n`, ['f({})', 'f({})']],
    [`a ${call}\nb\n${call} c \n`, ['a', 'f({})', '\nb', 'f({})', ' c \n']],
    ['  plain \n', ['  plain \n']],
    ['', []],
  ])('%j', (text, expected) => {
    expect(summary('hermes', text)).toEqual(expected);
  });

  it('one call only: what follows stays text', () => {
    const two = `a ${call}\n${call}\n`;
    expect(summary('hermes', two, { parallel: false })).toEqual(['a', 'f({})', `\n${call}\n`]);
    expect(summary('hermes', `${call}\n`, { parallel: false })).toEqual(['f({})']);
    const list = '[TOOL_CALLS] [{"name": "f"}, {"name": "g"}]';
    expect(summary('mistral', list, { parallel: false })).toEqual(['f({})', ', {"name": "g"}]']);
    expect(summary('mistral', '[TOOL_CALLS] [{"name": "f"}]', { parallel: false })).toEqual([
      'f({})',
    ]);
    const bare = '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}';
    expect(summary('llama3', bare, { parallel: false })).toEqual([
      'f({})',
      '; {"name": "g", "parameters": {}}',
    ]);
    const coder = '<function=f></function>\n<function=g></function>';
    expect(summary('qwen3-coder', coder, { parallel: false })).toEqual([
      'f({})',
      '\n<function=g></function>',
    ]);
    const kimi =
      '<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>';
    const rest =
      '<|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>';
    expect(summary('kimi_k2', kimi + rest, { parallel: false })).toEqual(['f({})', rest]);
  });
});

describe('hermes', () => {
  it.each([
    // Arguments.
    ['{"arguments": {"a": 1}, "name": "f"}', ['f({"a": 1})']],
    ['{"name": "f", "parameters": {"a": 1}}', ['f({"a": 1})']],
    ['{"id": 1, "name": "f", "x": {"y": [2]}, "arguments": {}}', ['f({})']],
    ['{"name": "f", "arguments": "{\\"a\\": \\"\\\\n\\\\u00e9\\"}"}', ['f({"a": "\\n\\u00e9"})']],
    ['{"name": "f", "arguments": ""}', ['f({})']],
    ['{"name": "f", "arguments": "no \\"object\\""}', ['f("no \\"object\\"")']],
    ['{"name": "f", "arguments": null}', ['f(null)']],
    ['{"name": "f", "arguments": {"a": "</tool_call>"}}', ['f({"a": "</tool_call>"})']],
    ['{"name": "f", "arguments": {"a": "\\"}"}}', ['f({"a": "\\"}"})']],
    ['{"name": "f", "arguments": {"a": "\\\\"}}', ['f({"a": "\\\\"})']],
    ['{"name": "f", "arguments": {"a": "1\n2\t"}}', ['f({"a": "1\\n2\\t"})']],
    ['{"name": "not a \\u0066unction", "arguments": {}}', ['not a function({})']],
    ['{"name": "f"}\n{"name": "g"}', ['f({})', 'g({})']],
    // Broken, after the call began.
    ['{"name": "f", "arguments": {"a": 1}', ['f({"a": 1})']],
    ['{"name": "f", "arguments": {"a": {"b": 1}', ['f({"a": {"b": 1})']],
    ['{"name": "f", }', ['f({})']],
    ['{"name": "f" "arguments": {}}', ['f({})', '"arguments": {}}</tool_call>']],
  ])('%s', (inside, expected) => {
    expect(summary('hermes', `<tool_call>${inside}</tool_call>`)).toEqual(expected);
  });

  it.each([
    '<tool_call>text</tool_call>',
    '<tool_call>\n</tool_call>',
    '<tool_call> {} </tool_call>',
    '<tool_call>{"nome": "f", "arguments": {}}</tool_call>',
    '<tool_call>{"name": 1, "arguments": {}}</tool_call>',
    '<tool_call>{"name": "", "arguments": {}}</tool_call>',
    '<tool_call>{"arguments": {"a": 1}, "name"}</tool_call>',
    '<tool_call>{name: "f"}</tool_call>',
    ' <tool_call> {"arguments": {"a',
    '<tool_call>{"name": "f',
    'no </tool_call> <tool_cal',
  ])('%s is no call: every character stays', (text) => {
    expect(summary('hermes', text)).toEqual([text]);
  });

  it('finds a call after one that is none', () => {
    expect(summary('hermes', '<tool_call>\n<tool_call>{"name": "f"}</tool_call>')).toEqual([
      '<tool_call>',
      'f({})',
    ]);
  });

  it.each([
    ['{"name": "f"', 'f()'],
    ['{"name": "f", "argu', 'f()'],
    ['{"name": "f", "arguments": {"a": "b', 'f({"a": "b)'],
    ['{"name": "f", "arguments": "{\\"a\\": \\"b\\', 'f({"a": "b)'],
    ['{"name": "f", "arguments": {}', 'f({})'],
  ])('cut: %s', (text, expected) => {
    expect(summary('hermes', `<tool_call>${text}`)).toEqual([expected]);
  });
});

describe('qwen3-coder', () => {
  const call = (inside: string) => `<tool_call>\n<function=${inside}\n</function>\n</tool_call>`;
  const parameter = (key: string, value: string) => `<parameter=${key}>\n${value}\n</parameter>`;

  it.each([
    [call('f>'), ['f({})']],
    [call(`f>\n${parameter('a', '1')}`), ['f({"a": "1"})']],
    [call(`get_weather>\n${parameter('days', '1')}`), ['get_weather({"days": 1})']],
    [call(`get_weather>\n${parameter('city', '')}`), ['get_weather({"city": ""})']],
    [call(`get_weather>${parameter('city', '\n a\n')}`), ['get_weather({"city": "\\n a\\n"})']],
    [call('f><parameter=a>1</parameter><parameter=b>2</parameter>'), ['f({"a": "1", "b": "2"})']],
    ['<function=f>\n</function>', ['f({})']],
    ['<tool_call><function=f></function><function=g></function></tool_call>', ['f({})', 'g({})']],
    ['<tool_call><function=f><parameter=a>1</parameter></tool_call>x', ['f({"a": "1"})', 'x']],
    [
      '<tool_call><function=f>what</function></tool_call>',
      ['f({})', 'what</function></tool_call>'],
    ],
    ['<function=f><parameter=\n></function>', ['f({})', '<parameter=\n></function>']],
    ['<tool_call><function=f><parameter=a>b', ['f({"a": "b)']],
    ['<tool_call><function=get_weather><parameter=days>\n4', ['get_weather({"days": 4)']],
    ['<tool_call>{"name": "f"}</tool_call>', ['<tool_call>{"name": "f"}</tool_call>']],
    ['<function=> a <function=\n>', ['<function=> a <function=\n>']],
  ])('%j', (text, expected) => {
    expect(summary('qwen3-coder', text, { declaredTools })).toEqual(expected);
  });
});

describe('llama3', () => {
  it.each([
    ['{"name": "f", "parameters": {"a": 1}}', ['f({"a": 1})']],
    ['\n\n {"type": "function", "name": "f", "parameters": {}}\n', ['f({})']],
    ['{"parameters": {"a": 1}, "name": "f"}', ['f({"a": 1})']],
    ['{"name": "f", "parameters": {}};{"name": "g", "parameters": {}} ;', ['f({})', 'g({})']],
    ['<|python_tag|>{"name": "f"}', ['f({})']],
    ['So:\n<|python_tag|>{"name": "f", "parameters": {}}', ['So:', 'f({})']],
    ['{"name": "f", "parameters": {}} and so on', ['f({})', ' and so on']],
    // JSON that is the answer itself, and Python.
    ['{"name": "Bob", "age": 3}', ['{"name": "Bob", "age": 3}']],
    ['{"name": "Bob"}', ['{"name": "Bob"}']],
    ['{"a": {"name": "f", "parameters": {}}}', ['{"a": {"name": "f", "parameters": {}}}']],
    ['x {"name": "f", "parameters": {}}', ['x {"name": "f", "parameters": {}}']],
    ['<|python_tag|>search.call(query="x")', ['<|python_tag|>search.call(query="x")']],
  ])('%j', (text, expected) => {
    expect(summary('llama3', text)).toEqual(expected);
  });

  it('gives JSON that is no call as soon as that is sure', () => {
    expect(toolParser('llama3').push('{"age": ')).toEqual([{ type: 'content', text: '{"age":' }]);
  });
});

describe('mistral', () => {
  it.each([
    ['[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', ['f({"a": 1})']],
    [
      '[TOOL_CALLS][{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}, "id": "x"}]',
      ['f({})', 'g({})'],
    ],
    [
      'Hi [TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}',
      ['Hi', 'f({"a": 1})', 'g({})'],
    ],
    ['[TOOL_CALLS]f{"a": [1]} bye', ['f({"a": [1]})', ' bye']],
    ['[TOOL_CALLS]f[ARGS]', ['f()']],
    ['[TOOL_CALLS] []', ['[TOOL_CALLS] []']],
    ['[TOOL_CALLS] I would use {', ['[TOOL_CALLS] I would use {']],
    ['[TOOL_CALLS]f', ['[TOOL_CALLS]f']],
  ])('%j', (text, expected) => {
    expect(summary('mistral', text)).toEqual(expected);
  });
});

describe('deepseek', () => {
  const tokens = (text: string) =>
    text.replace(/<(\w+)>/g, (_, name: string) => `<｜tool▁${name.replaceAll('_', '▁')}｜>`);
  const v3 = (name: string, args: string) =>
    tokens(`<call_begin>function<sep>${name}\n\`\`\`json\n${args}\n\`\`\`<call_end>`);

  it.each([
    [`<calls_begin>${v3('f', '{"a": 1}')}\n${v3('g', '{}')}<calls_end>`, ['f({"a": 1})', 'g({})']],
    [`Hi\n<calls_begin>${v3('f', '{"a": "```"}')}<calls_end>\nx`, ['Hi', 'f({"a": "```"})', '\nx']],
    ['<calls_begin><call_begin>function<sep>f\n{"a": 1}<call_end><calls_end>', ['f({"a": 1})']],
    ['<calls_begin><call_begin>function<sep>f\n```json\n{"a": 1}\n```', ['f({"a": 1})']],
    ['<calls_begin><call_begin>function<sep>f', ['<calls_begin><call_begin>function<sep>f']],
    ['<calls_begin><calls_end>', ['<calls_begin><calls_end>']],
  ])('v3: %j', (text, expected) => {
    expect(summary('deepseek-v3', tokens(text))).toEqual(expected.map(tokens));
  });

  it.each([
    [
      'Hi<calls_begin><call_begin>f<sep>{"a": 1}<call_end><call_begin>g<sep>{}<call_end><calls_end>',
      ['Hi', 'f({"a": 1})', 'g({})'],
    ],
    ['<calls_begin><call_begin>f<sep><call_end><calls_end>', ['f({})']],
    ['<calls_begin><call_begin>f<sep>{"a": [1<call_end><calls_end>', ['f({"a": [1)']],
    ['<calls_begin>x<calls_end>', ['<calls_begin>x<calls_end>']],
  ])('v3.1: %j', (text, expected) => {
    expect(summary('deepseek-v3.1', tokens(text))).toEqual(expected.map(tokens));
  });
});

describe('names of formats', () => {
  it.each([
    ['hermes', 'hermes'],
    ['Qwen', 'hermes'],
    ['qwen25', 'hermes'],
    ['QWEN3_CODER', 'qwen3-coder'],
    ['llama3', 'llama3'],
    ['deepseekv3', 'deepseek-v3'],
    ['DeepSeek-V3.1', 'deepseek-v3.1'],
    ['kimi-k2', 'kimi_k2'],
    ['gpt-oss', 'gpt-oss'],
  ])('%s', (name, expected) => {
    expect(toolParserName(name, 'toolCallParser')).toBe(expected);
  });

  it.each(['', 'hermes2', 'toString', 'auto'])('%j is refused', (name) => {
    let error: unknown;
    try {
      toolParserName(name, 'toolCallParser');
    } catch (caught) {
      error = caught;
    }
    expect(EngineError.is(error) && error).toMatchObject({
      status: 400,
      param: 'toolCallParser',
      code: 'unsupported_value',
      message: expect.stringContaining(JSON.stringify(name)),
    });
  });
});

it('gpt-oss: calls without reasoning leave the rest as it is written', () => {
  const text =
    '<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a":1}<|call|>';
  const { content, calls } = messageOf(parsed(toolParser('gpt-oss'), [text]));
  expect(content).toContain('<|channel|>analysis<|message|>A');
  expect(calls).toEqual([{ id: 'a', name: 'f', arguments: '{"a":1}' }]);
});
