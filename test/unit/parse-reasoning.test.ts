import { describe, expect, it } from 'vitest';
import {
  createReasoningParser,
  reasoningFormat,
  reasoningParserName,
  startsInReasoning,
  TagReasoningParser,
} from '../../lib/parse/reasoning/index.js';
import { type ReasoningParserName, reasoningParserNames } from '../../lib/parse/types.js';
import { parse } from './parse-reasoning-helpers.js';

const parserOf = (name: ReasoningParserName, startsInside: boolean, streamReasoning?: boolean) =>
  createReasoningParser(reasoningFormat(name), {
    startsInReasoning: startsInside,
    streamReasoning,
  });
const split = (name: ReasoningParserName, inside: boolean, ...chunks: string[]) => {
  const { reasoning, content } = parse(parserOf(name, inside), chunks);
  return [reasoning, content];
};

describe('whole texts', () => {
  it.each([true, false])('keeps white space around the tags, inside %s', (inside) => {
    const text = '<think>\nA\n</think>\n\nB';
    expect(split('qwen3', inside, text)).toEqual(['\nA\n', '\n\nB']);
  });

  it.each<[ReasoningParserName, boolean, string, string, string]>([
    ['qwen3', true, 'A</think>B', 'A', 'B'],
    ['qwen3', false, 'A</think>B', '', 'A</think>B'],
    ['qwen3', true, 'plain', 'plain', ''],
    ['qwen3', false, 'plain', '', 'plain'],
    ['deepseek-r1', true, '<think>A</think>B</think>C', 'A', 'B</think>C'],
    ['qwen3', true, '<think><think>A</think>B', 'A', 'B'],
    ['qwen3', false, '<think><think>A</think>B', 'A', 'B'],
    ['qwen3', false, '<think>\n<think>A</think>B', '\nA', 'B'],
    // What comes before the tag is no reasoning, unless the prompt has opened the block.
    ['qwen3', false, 'pre <think>A</think>B', 'A', 'pre B'],
    ['qwen3', true, 'pre <think>A</think>B', 'pre <think>A', 'B'],
    ['qwen3', true, '\n<think>A</think>B', '\nA', 'B'],
    ['qwen3', true, '<think>A<tool_call>{"a":1}', 'A', '<tool_call>{"a":1}'],
    ['qwen3', true, '<think>A <tool_call> x</think>B', 'A <tool_call> x', 'B'],
    ['qwen3', true, 'A<tool_call>x<tool_call>y', 'A', '<tool_call>x<tool_call>y'],
    ['qwen3-thinking', true, 'A<tool_call>{}', 'A', '<tool_call>{}'],
    ['deepseek-r1', true, 'A<tool_call>{}', 'A<tool_call>{}', ''],
    // Special tokens are never spoken of: they end the block at once.
    ['deepseek-r1', true, 'A<｜tool▁calls▁begin｜>x', 'A', '<｜tool▁calls▁begin｜>x'],
    [
      'deepseek-v3',
      true,
      'A<tool_call> B<｜tool▁calls▁begin｜>x</think>',
      'A<tool_call> B',
      '<｜tool▁calls▁begin｜>x</think>',
    ],
    [
      'kimi_k2',
      true,
      '<think>A<|tool_calls_section_begin|>x</think>',
      'A',
      '<|tool_calls_section_begin|>x</think>',
    ],
    ['kimi', false, '◁think▷A◁/think▷B', 'A', 'B'],
    ['kimi', false, 'A◁/think▷B', '', 'A◁/think▷B'],
    ['kimi', false, '<think>A</think>B', '', '<think>A</think>B'],
    ['qwen3', false, '<think>A</think>B<think>C</think>D', 'A', 'B<think>C</think>D'],
    ['qwen3', true, '', '', ''],
    ['qwen3', false, '<think></think>', '', ''],
    ['qwen3', true, '</think>B', '', 'B'],
    ['qwen3', true, 'a < b </thin', 'a < b </thin', ''],
    ['qwen3', false, 'a < b <thin', '', 'a < b <thin'],
  ])('%s, inside %s: %j', (name, inside, text, reasoning, content) => {
    expect(split(name, inside, text)).toEqual([reasoning, content]);
  });
});

describe('pieces', () => {
  it.each<[boolean, string[], string, string]>([
    [true, ['<think>', 'A', 'B', '</think>', 'C'], 'AB', 'C'],
    [true, ['<th', 'ink>A', '</th', 'ink>B'], 'A', 'B'],
    [true, [...'<think>A</think>B'], 'A', 'B'],
    [true, ['<think>A </th', 'ink>B'], 'A ', 'B'],
    [false, ['Hi <', 'think>A</think>B'], 'A', 'Hi B'],
    [true, ['x', '<'], 'x<', ''],
    [false, ['x', '<'], '', 'x<'],
    [false, ['<think>A</think>B<thi', 'nk>C</think>D'], 'A', 'B<think>C</think>D'],
    [true, ['A</think', '', '>', '', 'B'], 'A', 'B'],
    [true, ['A</th', '</think>B'], 'A</th', 'B'],
  ])('inside %s: %j', (inside, chunks, reasoning, content) => {
    expect(split('qwen3', inside, ...chunks)).toEqual([reasoning, content]);
  });

  it('gives what is decided at once, and holds back no more than a tag could need', () => {
    const parser = parserOf('qwen3', true);
    expect(parser.push('one <')).toEqual([{ type: 'reasoning', text: 'one ' }]);
    expect(parser.push('b> two</')).toEqual([{ type: 'reasoning', text: '<b> two' }]);
    expect(parser.push('think>\n\nB <')).toEqual([{ type: 'content', text: '\n\nB <' }]);
    expect(parser.flush()).toEqual([]);
  });

  it('gives the end of the reasoning and the beginning of the answer from one piece', () => {
    expect(parserOf('qwen3', true).push('A</think>B')).toEqual([
      { type: 'reasoning', text: 'A' },
      { type: 'content', text: 'B' },
    ]);
  });

  it('waits after a tool tag for the end tag, and for the end of the text', () => {
    const parser = parserOf('qwen3', true);
    expect(parser.push('A<tool_call>{"name"')).toEqual([{ type: 'reasoning', text: 'A' }]);
    expect(parser.push(': "f"}</')).toEqual([]);
    expect(parser.reasoningEnd).toBeNull();
    expect(parser.flush()).toEqual([{ type: 'content', text: '<tool_call>{"name": "f"}</' }]);
    expect(parser.reasoningEnd).toBe(1);
  });

  it('does not wait after a special token that begins calls', () => {
    const parser = parserOf('kimi_k2', true);
    expect(parser.push('A<|tool_calls_section_begin|>x')).toEqual([
      { type: 'reasoning', text: 'A' },
      { type: 'content', text: '<|tool_calls_section_begin|>x' },
    ]);
    expect(parser.push('y')).toEqual([{ type: 'content', text: 'y' }]);
  });
});

describe('reasoning that is not streamed', () => {
  it('comes as one event when the block closes, before the answer', () => {
    const parser = parserOf('qwen3', true, false);
    expect(parser.push('A')).toEqual([]);
    expect(parser.push('B</think>C')).toEqual([
      { type: 'reasoning', text: 'AB' },
      { type: 'content', text: 'C' },
    ]);
  });

  it('comes at the end where the block never closes', () => {
    const parser = parserOf('qwen3', true, false);
    expect(parser.push('A')).toEqual([]);
    expect(parser.push('B</')).toEqual([]);
    expect(parser.flush()).toEqual([{ type: 'reasoning', text: 'AB</' }]);
  });

  it('comes before a tool call that ends it, and not at all where it is empty', () => {
    const called = parse(parserOf('qwen3', true, false), ['A', '<tool_call>', 'x']);
    expect(called.events).toEqual([
      { type: 'reasoning', text: 'A' },
      { type: 'content', text: '<tool_call>x' },
    ]);
    expect(parse(parserOf('qwen3', false, false), ['<think></think>B']).events).toEqual([
      { type: 'content', text: 'B' },
    ]);
  });
});

describe('reasoningEnd', () => {
  it.each<[boolean, string, number | null]>([
    [true, 'A</think>B', 9],
    [false, '<think>A</think>B', 16],
    [false, 'pre <think>A</think>B', 20],
    [false, '<think>\n <think>A</think>B', 25],
    [false, 'plain', 0],
    [true, 'never', null],
    [false, '<think>never', null],
    [true, 'A<tool_call>x', 1],
    [true, 'A<tool_call>x</think>B', 21],
  ])('inside %s, %j: %j', (inside, text, end) => {
    const { tags } = reasoningFormat('qwen3');
    const parser = new TagReasoningParser(tags!, { startsInReasoning: inside });
    expect(parser.reasoningEnd).toBe(inside ? null : 0);
    expect(parse(parser, [...text]).reasoningEnd).toBe(end);
  });

  it('follows the text', () => {
    const parser = parserOf('qwen3', false);
    parser.push('<think');
    expect(parser.reasoningEnd).toBe(0);
    parser.push('>');
    expect(parser.reasoningEnd).toBeNull();
    parser.push('A</think');
    expect(parser.reasoningEnd).toBeNull();
    parser.push('>B');
    expect(parser.reasoningEnd).toBe(16);
  });
});

describe('names and formats', () => {
  it('are found in any case', () => {
    expect(reasoningParserName('DeepSeek-R1', 'reasoningParser')).toBe('deepseek-r1');
    expect(reasoningParserName('KIMI_K2', 'reasoningParser')).toBe('kimi_k2');
  });

  it.each(['qwen4', '', 'constructor'])('refuses %j', (name) => {
    expect(() => reasoningParserName(name, 'reasoningParser')).toThrow(
      expect.objectContaining({
        status: 400,
        param: 'reasoningParser',
        code: 'unsupported_value',
        message: expect.stringContaining(`qwen3-thinking, kimi, kimi_k2, gpt-oss, received`),
      }),
    );
  });

  it.each(reasoningParserNames)('%s: closeText closes the block', (name) => {
    const format = reasoningFormat(name);
    const opened = format.tags?.start ?? '<|channel|>analysis<|message|>';
    const result = parse(createReasoningParser(format, { startsInReasoning: false }), [
      `${opened}thought${format.closeText}answer`,
    ]);
    expect(result.reasoning.trimEnd()).toBe('thought');
    expect(result.content.trimStart()).toBe('answer');
    for (const tag of [format.tags?.start, format.tags?.end])
      if (tag) expect(format.markers).toContain(tag);
  });
});

describe('startsInReasoning', () => {
  const starts = (name: ReasoningParserName, state: Parameters<typeof startsInReasoning>[1]) =>
    startsInReasoning(reasoningFormat(name), state);
  const neutral = '<|im_start|>assistant\n';

  it.each(['qwen3', 'qwen3-thinking', 'deepseek-r1', 'deepseek-v3', 'kimi_k2'] as const)(
    '%s believes the end of the prompt first',
    (name) => {
      const kwargs = { enable_thinking: false, thinking: false };
      expect(starts(name, { prompt: `${neutral}<think>`, kwargs })).toBe(true);
      expect(starts(name, { prompt: `${neutral}<think>\n`, kwargs })).toBe(true);
      expect(starts(name, { prompt: `${neutral}<think>\n\n</think>\n\n` })).toBe(false);
      expect(starts(name, { prompt: '<think>x</think>' })).toBe(false);
    },
  );

  it.each<[ReasoningParserName, Record<string, unknown>, boolean]>([
    ['deepseek-r1', {}, true],
    ['deepseek-r1', { enable_thinking: false, thinking: false }, true],
    ['qwen3-thinking', { enable_thinking: false }, true],
    ['deepseek-v3', {}, false],
    ['deepseek-v3', { thinking: true }, true],
    ['deepseek-v3', { enable_thinking: true }, false],
    ['qwen3', {}, true],
    ['qwen3', { enable_thinking: true }, true],
    ['qwen3', { enable_thinking: false }, false],
    ['kimi', { thinking: true }, false],
    ['kimi_k2', {}, true],
    ['kimi_k2', { thinking: false }, false],
    ['gpt-oss', {}, false],
  ])('%s by its own rule, with %j', (name, kwargs, expected) => {
    expect(starts(name, { prompt: neutral, kwargs })).toBe(expected);
  });

  it('asks the chat template before the parser', () => {
    const off = { kind: 'toggle', params: ['enable_thinking'], default: false } as const;
    const both = {
      kind: 'toggle',
      params: ['thinking', 'enable_thinking'],
      default: true,
    } as const;
    const at = { prompt: neutral };
    expect(starts('qwen3', { ...at, thinking: off })).toBe(false);
    expect(starts('qwen3', { ...at, thinking: off, kwargs: { enable_thinking: true } })).toBe(true);
    expect(starts('deepseek-v3', { ...at, thinking: both })).toBe(true);
    const kwargs = { enable_thinking: false };
    expect(starts('deepseek-v3', { ...at, thinking: both, kwargs })).toBe(false);
    expect(starts('qwen3', { ...at, thinking: { kind: 'model' } })).toBe(false);
    expect(starts('deepseek-v3', { ...at, thinking: { kind: 'always' } })).toBe(true);
    // These two are what they are, whatever is asked.
    expect(starts('deepseek-r1', { ...at, thinking: off })).toBe(true);
    expect(starts('kimi', { ...at, thinking: { kind: 'always' } })).toBe(false);
  });

  it('looks into a message that is continued; an end tag wins', () => {
    const continued = (text: string, before = neutral) =>
      starts('qwen3', { prompt: before + text, continued: text });
    expect(continued('<think>So far')).toBe(true);
    expect(continued('<think>So</think>The answer is')).toBe(false);
    expect(continued('So</think>The answer', `${neutral}<think>\n`)).toBe(false);
    // Without tags of its own it stands where the prompt before it stands.
    expect(continued('So far ', `${neutral}<think>\n`)).toBe(true);
    expect(continued('The answer ', `${neutral}<think>\n\n</think>\n\n`)).toBe(false);
    expect(starts('kimi', { prompt: 'a◁think▷b', continued: '◁think▷b' })).toBe(true);
  });
});
