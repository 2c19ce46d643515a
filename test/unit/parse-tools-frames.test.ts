/** What a format is said to look like, and what templates of published models write, is read back. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { detectToolParser } from '../../lib/parse/detect.js';
import { createMessageParser, parserMarkers } from '../../lib/parse/index.js';
import { reasoningFormat } from '../../lib/parse/reasoning/index.js';
import { createToolParser, toolCallFrame, toolFormat } from '../../lib/parse/tools/index.js';
import { toolParserNames } from '../../lib/parse/types.js';
import { ChatTemplate, type ChatTemplateMessage } from '../../lib/text/template.js';
import { messageOf, parsed, weather, weatherArguments, written } from './parse-tools-samples.js';
import { hasShared, sharedFolder } from './text-fixtures.js';

const declaredTools = [weather];
const calls = [
  { name: 'get_weather', arguments: weatherArguments as Record<string, unknown> },
  { name: 'nothing', arguments: {} },
];

describe('frames', () => {
  const cases = [
    ...toolParserNames.map((name) => [name, ''] as const),
    ['mistral', '[ARGS]'] as const,
    ['mistral', '[CALL_ID][ARGS]'] as const,
  ];

  it.each(cases)('%s %s', (name, template) => {
    const format = toolFormat(name);
    const frame = toolCallFrame(format, template);
    for (const some of [calls, calls.slice(0, 1)].filter(
      ({ length }) => length <= (frame.maxCalls ?? Infinity),
    )) {
      const text = written(frame, some);
      if (frame.trigger) expect(text.startsWith(frame.trigger)).toBe(true);
      const before = name === 'gpt-oss' || name === 'llama3' ? '' : 'Wait.\n\n';
      const message = messageOf(
        parsed(createToolParser(format, { declaredTools }), [before + text]),
      );
      expect(message.content).toBe(before ? 'Wait.' : null);
      expect(
        message.calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) })),
      ).toEqual(some);
    }
  });

  it('their special texts are among the markers', () => {
    for (const name of toolParserNames) {
      const { markers } = toolFormat(name);
      const { begin, end, beforeName, afterName, afterArguments } = toolCallFrame(toolFormat(name));
      const text = [begin, end, beforeName, afterName, afterArguments].join(' ');
      for (const [special] of text.matchAll(/<[｜|/]?[\w▁]+[｜|]?>|\[[A-Z_]+\]/g))
        expect(markers, name).toContain(special);
    }
    expect(parserMarkers(reasoningFormat('qwen3'), toolFormat('hermes'))).toEqual([
      '<think>',
      '</think>',
      '<tool_call>',
      '</tool_call>',
    ]);
    expect(parserMarkers(null, null)).toEqual([]);
  });
});

describe('createMessageParser', () => {
  const call = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>';
  const reasoning = reasoningFormat('qwen3');
  const tools = toolFormat('hermes');
  const newId = () => 'id';

  it('takes calls out of what is not reasoning', () => {
    const text = `<think>I write ${call}</think>\n\nHi\n${call}`;
    const parser = createMessageParser({ reasoning, tools, newId });
    expect(parser.reasoningEnd).toBe(0);
    expect(messageOf(parsed(parser, [text]))).toEqual({
      reasoning: `I write ${call}`,
      content: '\n\nHi',
      calls: [{ id: 'id', name: 'f', arguments: '{"a": 1}' }],
    });
    expect(parser.reasoningEnd).toBe(text.indexOf('</think>') + '</think>'.length);
  });

  it('leaves what is not asked for as it is written', () => {
    const text = `<think>A</think>${call}`;
    const read = (options: object) =>
      messageOf(parsed(createMessageParser({ reasoning: null, tools: null, ...options }), [text]));
    expect(read({})).toEqual({ reasoning: null, content: text, calls: [] });
    expect(read({ reasoning })).toEqual({ reasoning: 'A', content: call, calls: [] });
    expect(read({ tools, newId })).toMatchObject({ reasoning: null, content: '<think>A</think>' });
    expect(read({ tools, newId }).calls).toHaveLength(1);
  });

  it('begins inside the reasoning, and gives it at once on request', () => {
    const parser = createMessageParser({
      reasoning,
      tools,
      newId,
      startsInReasoning: true,
      streamReasoning: false,
    });
    expect(parser.push('A')).toEqual([]);
    expect(parser.reasoningEnd).toBeNull();
    expect(parser.push(`B</think>${call}`)).toMatchObject([
      { type: 'reasoning', text: 'AB' },
      { type: 'toolCall', name: 'f' },
      { type: 'toolArguments', text: '{"a": 1}' },
    ]);
  });

  it('gpt-oss is one parser for both', () => {
    const parser = createMessageParser({
      reasoning: reasoningFormat('gpt-oss'),
      tools: toolFormat('gpt-oss'),
      harmonyPrefix: '<|start|>assistant',
      newId,
    });
    const text =
      '<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a":1}<|call|>';
    expect(messageOf(parsed(parser, [text]))).toEqual({
      reasoning: 'A',
      content: null,
      calls: [{ id: 'id', name: 'f', arguments: '{"a":1}' }],
    });
  });
});

/** Published templates, and where the model's text begins in what they print. */
interface Printed {
  /** The template takes no more. Default 2. */
  calls?: number;
  /** Before the model's text; default: the end of the question. */
  start?: string;
  /** What the template wants beside calls; others print a text. */
  content?: '' | null;
  /** It takes arguments as the API writes them only. */
  strings?: true;
}
const templates: Record<string, Printed> = {
  'Bielik-11B-v3.0-Instruct': {},
  'MiMo-VL': {},
  'Mistral-Small-3.2-24B-Instruct-2506': { content: '' },
  'NVIDIA-Nemotron-3-Nano-30B-A3B-BF16': {},
  'Qwen-QwQ-32B': {},
  'Qwen-Qwen2.5-7B-Instruct': {},
  'Qwen-Qwen3-0.6B': {},
  'Qwen3-Coder': {},
  'Qwen3.5-4B': {},
  'Reka-Edge': {},
  'StepFun3.5-Flash': {},
  'deepseek-ai-DeepSeek-R1-Distill-Llama-8B': { content: null, strings: true },
  'deepseek-ai-DeepSeek-R1-Distill-Qwen-32B': { content: '', strings: true },
  'deepseek-ai-DeepSeek-V3.1': {},
  'ibm-granite-granite-4.0': {},
  'ibm-granite-granite-4.1': {},
  'llama-cpp-deepseek-r1': { content: '' },
  'meta-llama-Llama-3.1-8B-Instruct': { calls: 1, start: '<|end_header_id|>\n\n', content: '' },
  'meta-llama-Llama-3.2-3B-Instruct': { calls: 1, start: '<|end_header_id|>\n\n', content: '' },
  'meta-llama-Llama-3.3-70B-Instruct': { calls: 1, start: '<|end_header_id|>\n\n', content: '' },
  'mistralai-Ministral-3-14B-Reasoning-2512': {},
  'mistralai-Mistral-Nemo-Instruct-2407': { content: '' },
  'moonshotai-Kimi-K2': {},
  'openai-gpt-oss-120b': { calls: 1, start: '<|end|>', content: '' },
  'unsloth-mistral-Devstral-Small-2507': { content: '' },
};

/** Templates that use what @huggingface/jinja lacks: see text-template-corpus.test.ts. */
const notRendered: Record<string, RegExp> = {
  'Kimi-K2-Instruct': /Cannot call something that is not a function/,
  'Kimi-K2-Thinking': /Cannot call something that is not a function/,
  'NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use':
    /Cannot access property with non-string: got UndefinedValue/,
  'NousResearch-Hermes-3-Llama-3.1-8B-tool_use':
    /Cannot access property with non-string: got UndefinedValue/,
};

describe.runIf(hasShared)('calls that a published template writes', () => {
  const folder = join(sharedFolder, 'data/chat-templates');
  const sourceOf = (name: string) => readFileSync(join(folder, `${name}.jinja`), 'utf8');
  const render = (name: string, printed: Printed) => {
    const { calls: most = 2, content = 'I look it up.', strings } = printed;
    const template = new ChatTemplate(sourceOf(name), { bosToken: '<s>', eosToken: '</s>' });
    const tool_calls = calls.slice(0, most).map((call, index) => ({
      id: `abcdefgh${index}`,
      type: 'function',
      function: strings ? { ...call, arguments: JSON.stringify(call.arguments) } : call,
    }));
    const messages: ChatTemplateMessage[] = [
      { role: 'user', content: 'A question' },
      { role: 'assistant', content, tool_calls },
    ];
    return template.render(messages, {
      addGenerationPrompt: false,
      tools: [{ type: 'function', function: { description: 'Weather', ...weather } }],
    });
  };

  it('every template whose format is known is here', () => {
    const known = readdirSync(folder)
      .map((file) => file.replace(/\.jinja$/, ''))
      .filter((name) => detectToolParser(sourceOf(name)));
    expect([...Object.keys(templates), ...Object.keys(notRendered)].sort()).toEqual(known.sort());
  });

  it.each(Object.entries(notRendered))('%s does not render them', (name, message) => {
    expect(() => render(name, {})).toThrow(message);
  });

  it.each(Object.entries(templates))('%s', (name, printed) => {
    const { calls: most = 2, start, content = 'I look it up.' } = printed;
    const text = render(name, printed);
    const question = text.lastIndexOf('A question') + 'A question'.length;
    const from = start ? text.lastIndexOf(start) + start.length : question;
    expect(from).toBeGreaterThanOrEqual(question);

    const format = toolFormat(detectToolParser(sourceOf(name))!);
    const message = messageOf(
      parsed(createToolParser(format, { declaredTools }), [text.slice(from)]),
    );
    expect(
      message.calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) })),
    ).toEqual(calls.slice(0, most));
    // What is around the calls is the template's; nothing of a call is left in it.
    if (content) expect(message.content).toContain(content);
    expect(message.content ?? '').not.toMatch(/get_weather|nothing|tool|TOOL|arguments/);
  });
});
