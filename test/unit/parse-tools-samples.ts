import type { ToolParserOptions } from '../../lib/parse/tools/index.js';
import { createToolParser, type ToolCallFrame, toolFormat } from '../../lib/parse/tools/index.js';
import type { MessageEvent, MessageParser, ToolParserName } from '../../lib/parse/types.js';

/** Neighbours of one kind joined: what does not depend on how the text was cut. */
export function joined(events: readonly MessageEvent[]): MessageEvent[] {
  const result: MessageEvent[] = [];
  for (const event of events) {
    const last = result.at(-1);
    const isSame =
      last?.type === event.type &&
      (last.type !== 'toolArguments' ||
        (event.type === 'toolArguments' && event.index === last.index));
    if (isSame && 'text' in last && 'text' in event) last.text += event.text;
    else result.push({ ...event });
  }
  return result;
}

export function parsed(parser: MessageParser, pieces: readonly string[]): MessageEvent[] {
  return joined([...pieces.flatMap((piece) => parser.push(piece)), ...parser.flush()]);
}

/** A parser whose ids are a, b, c, ... */
export function toolParser(name: ToolParserName, options: ToolParserOptions = {}): MessageParser {
  let ids = 0;
  const newId = () => String.fromCharCode(97 + ids++);
  return createToolParser(toolFormat(name), { newId, ...options });
}

export interface Call {
  id: string;
  name: string;
  arguments: string;
}

/** The API's view: content, null where there is none, and calls. */
export function messageOf(events: readonly MessageEvent[]) {
  let content: string | null = null;
  let reasoning: string | null = null;
  const calls: Call[] = [];
  for (const event of events) {
    if (event.type === 'content') content = (content ?? '') + event.text;
    else if (event.type === 'reasoning') reasoning = (reasoning ?? '') + event.text;
    else if (event.type === 'toolCall') {
      if (event.index !== calls.length)
        throw new Error(`call ${event.index} after ${calls.length}`);
      calls.push({ id: event.id, name: event.name, arguments: '' });
    } else {
      if (event.index !== calls.length - 1) throw new Error(`arguments of ${event.index}`);
      calls[event.index]!.arguments += event.text;
    }
  }
  return { content, reasoning, calls };
}

/** As short as tests like it: `['text', 'f({"a":1})']`. */
export function summary(
  name: ToolParserName,
  text: string,
  options: ToolParserOptions = {},
): string[] {
  const result: string[] = [];
  for (const event of parsed(toolParser(name, options), [text])) {
    if (event.type === 'toolCall') result.push(`${event.name}()`);
    else if (event.type === 'toolArguments')
      result[result.length - 1] = result.at(-1)!.replace(/\(\)$/, () => `(${event.text})`);
    else result.push(event.text);
  }
  return result;
}

export const weather = {
  name: 'get_weather',
  parameters: {
    type: 'object',
    properties: {
      city: { type: 'string' },
      days: { type: 'integer' },
      metric: { type: 'boolean' },
      options: { type: 'object' },
      tags: { type: 'array' },
    },
    required: ['city'],
  },
};

export const weatherArguments = {
  city: 'São "Paulo" \\ 🌧\n\n</x> {[',
  days: 3,
  metric: true,
  options: { a: [1, null, { b: '}' }] },
  tags: ['<b>', "it's"],
};

/** A step's calls as a frame says that the model writes them. */
export function written(
  frame: ToolCallFrame,
  calls: readonly { name: string; arguments: Record<string, unknown> }[],
): string {
  const inJson = (text: string) => JSON.stringify(text).slice(1, -1);
  const texts = calls.map((call, index) => {
    const { parameters, id } = frame;
    const name = frame.name === 'json' ? inJson(call.name) : call.name;
    const args = parameters
      ? Object.entries(call.arguments).map(
          ([key, value]) =>
            `${parameters.beforeName}${key}${parameters.afterName}${
              typeof value === 'string' ? value : JSON.stringify(value)
            }${parameters.afterValue}`,
        )
      : [JSON.stringify(call.arguments)];
    const number = id?.pattern === '[0-9]+' ? String(index) : `abcdefgh${index}`;
    const idText = id ? id.before + number : '';
    return `${frame.beforeName}${name}${idText}${frame.afterName}${args.join('')}${frame.afterArguments}`;
  });
  return frame.begin + texts.join(frame.separator) + frame.end;
}

const deepSeek = (text: string) =>
  text.replace(/<(\w+)>/g, (_, name: string) => `<｜tool▁${name.replaceAll('_', '▁')}｜>`);

/** Texts of every format, good and bad: for tests that cut them. */
export const samples: Record<Exclude<ToolParserName, 'gpt-oss'>, readonly string[]> = {
  hermes: [
    'Hi. \n\n<tool_call>\n{"name": "f", "arguments": {"a": "x\\"}<\\\\"}}\n</tool_call>\n<tool_call>\n{"arguments": {"b": [1]}, "name": "g"}\n</tool_call>\n',
    '<tool_call>{"name": "f", "arguments": "{\\"a\\": \\"\\u00e9\\"}"}</tool_call> and < so on <tool_cal',
    '<tool_call>no</tool_call> <tool_call>{"nam": 1}</tool_call><tool_call>{"name":"f","x":1}{"name":"g"}</tool_call>',
    '<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>b<tool_call>{"name":"g","arguments":{"c":"\n',
  ],
  'qwen3-coder': [
    'Well\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nA\n</b>\n\n</parameter>\n<parameter=days>\n12\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=f>\n</function>\n</tool_call>',
    '<function=get_weather><parameter=options>{"a": 1}</parameter><parameter=city>"q"</parameter></function></tool_call>x',
    '<tool_call>\n<function=f>\n<parameter=a>\nb\n</parameter>\n<parame',
    'a <function=\n> <tool_call>x<function=f>oops<function=g><parameter=c>\n\n</param',
  ],
  llama3: [
    '\n{"name": "f", "parameters": {"a": {"b": "}"}}}; {"name": "g", "parameters": {}}',
    '{"type": "function", "parameters": {"a": 1}, "name": "f"}\n{"name": "no"}',
    'Text {"name": "f"} <|python_tag|>{"name": "f", "parameters": {}};<|python_tag|>{"name": "g", "parameters": [1, 2]} ; ',
    '<|python_tag|>x.call(1) <|python_tag|>{"name": "f", "parameters": {"a',
  ],
  mistral: [
    'a\n[TOOL_CALLS] [{"name": "f", "arguments": {"a": "]"}}, {"name": "g", "arguments": {}, "id": "abcdefghi"}]',
    '[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"a": [1, [2]]}[TOOL_CALLS]g[ARGS]{"b": "[TOOL_CALLS]"} [TOOL_CALLS]h{"c": 3}',
    '[TOOL_CALLS]not a call {} [TOOL_CALLS] [] [TOOL[TOOL_CALLS]{"name": "f", "arguments": {}}',
    '[TOOL_CALLS][{"name": "f", "arguments": {"a": [1[TOOL_CALLS]g[ARGS]{"a',
  ],
  'deepseek-v3': [
    deepSeek(
      'So.\n<calls_begin><call_begin>function<sep>f\n```json\n{"a": "```"}\n```<call_end>\n<call_begin>function<sep>g\n```json\n{}\n```<call_end><calls_end>',
    ),
    deepSeek(
      '<calls_begin><call_begin>function<sep>f\n{"a": 1}<call_end><calls_end>ok<calls_begin>',
    ),
    deepSeek(
      '<calls_begin>no<calls_end> <calls_begin><call_begin>function<sep>f\n```json\n{"a"\n```',
    ),
  ],
  'deepseek-v3.1': [
    deepSeek(
      'So. <calls_begin><call_begin>f<sep>{"a": "\u00e9"}<call_end><call_begin>g<sep><call_end><calls_end>',
    ),
    deepSeek('<calls_begin><call_begin>f<sep>{"a": [1}<call_end>x<calls_end>'),
    deepSeek('<calls_begin><call_begin>f\n<sep>{} <calls_begin><call_begin>f<sep>{"a'),
  ],
  kimi_k2: [
    'z <|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|><|tool_call_begin|>functions.g.h:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>',
    '<|tool_calls_section_begin|> <|tool_call_begin|> f <|tool_call_argument_begin|> {"a": "<|"} <|tool_call_end|>x',
    '<|tool_calls_section_begin|><|tool_calls_section_end|><|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1',
  ],
};
