/** Forced and strict tool calls in every format: what the grammar allows, the parser reads. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { type GrammarContext, grammarOf } from '../../lib/grammar/index.js';
import { createMessageParser } from '../../lib/parse/index.js';
import { reasoningFormat } from '../../lib/parse/reasoning/index.js';
import { toolCallFrame, toolFormat } from '../../lib/parse/tools/formats.js';
import { type ToolParserName, toolParserNames } from '../../lib/parse/types.js';
import type { ConstrainedTool, Constraint } from '../../lib/request/constraint.js';
import { Recogniser, randomNumbers } from './grammar-recogniser.js';

const weather: ConstrainedTool = {
  name: 'get_weather',
  strict: true,
  parameters: {
    type: 'object',
    properties: {
      city: { type: 'string' },
      days: { type: 'integer', minimum: 1, maximum: 14 },
      unit: { enum: ['c', 'f'] },
    },
    required: ['city'],
    additionalProperties: false,
  },
};
const search: ConstrainedTool = {
  name: 'search',
  strict: true,
  parameters: {
    type: 'object',
    properties: {
      query: { type: ['string', 'null'], maxLength: 12 },
      tags: { type: 'array', items: { enum: ['a', 'b'] } },
      deep: { anyOf: [{ type: 'boolean' }, { type: 'string', pattern: '^[a-z]+$' }] },
    },
    required: ['query', 'tags'],
    additionalProperties: false,
  },
};
const tools = [weather, search];
const ajv = new Ajv2020({ strict: false });

type Mode = 'auto' | 'required' | 'named';
const constraintOf = (mode: Mode, parallel = true, list = tools): Constraint => ({
  kind: 'tools',
  mode,
  tools: list,
  parallel,
});

function grammarFor(name: ToolParserName, constraint: Constraint, template = ''): Recogniser {
  const context: GrammarContext = {
    toolFrame: toolCallFrame(toolFormat(name), template),
    specialTokens: new Map(),
    startAfter: null,
    ...(name === 'gpt-oss' ? { harmonyPrefix: '<|start|>assistant' } : {}),
  };
  return new Recogniser(grammarOf(constraint, context).source);
}

interface Parsed {
  content: string;
  calls: { name: string; arguments: unknown }[];
}

function parsed(name: ToolParserName, text: string): Parsed {
  const parser = createMessageParser({
    reasoning: name === 'gpt-oss' ? reasoningFormat('gpt-oss') : null,
    tools: toolFormat(name),
    declaredTools: tools,
    ...(name === 'gpt-oss' ? { harmonyPrefix: '<|start|>assistant' } : {}),
  });
  let content = '';
  const calls: { name: string; text: string }[] = [];
  for (const event of [...parser.push(text), ...parser.flush()]) {
    if (event.type === 'content') content += event.text;
    if (event.type === 'toolCall') calls[event.index] = { name: event.name, text: '' };
    if (event.type === 'toolArguments') calls[event.index]!.text += event.text;
  }
  return {
    content,
    calls: calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.text) as unknown })),
  };
}

const forms: [ToolParserName, string][] = [
  ...toolParserNames.map((name): [ToolParserName, string] => [name, '']),
  ['mistral', 'with [ARGS]'],
  ['mistral', 'with [CALL_ID] and [ARGS]'],
];

describe.each(forms)('%s %s', (name, template) => {
  const valid = (call: Parsed['calls'][number]) => {
    const tool = tools.find((t) => t.name === call.name)!;
    return ajv.validate(tool.parameters, call.arguments);
  };

  it('makes calls that the parser reads and that fit their schemas', () => {
    const random = randomNumbers(5);
    for (const parallel of [true, false]) {
      const grammar = grammarFor(name, constraintOf('required', parallel), template);
      let most = 0;
      for (let i = 0; i < 60; i++) {
        const text = grammar.sample(random, 40);
        const { calls, content } = parsed(name, text);
        // gpt-oss may speak to the user first.
        const rest = name === 'gpt-oss' ? '' : content.trim();
        expect([text, calls.length > 0, rest]).toEqual([text, true, '']);
        for (const call of calls) expect([text, call, valid(call)]).toEqual([text, call, true]);
        most = Math.max(most, calls.length);
      }
      expect(most > 1).toBe(parallel && name !== 'gpt-oss');
    }
  });

  it('makes calls of the named tool only', () => {
    const random = randomNumbers(6);
    const grammar = grammarFor(name, constraintOf('named', false, [search]), template);
    for (let i = 0; i < 20; i++) {
      const { calls } = parsed(name, grammar.sample(random, 40));
      expect(calls.map((call) => call.name)).toEqual(['search']);
    }
  });

  it('leaves the choice to the model, but not what a call says', () => {
    const grammar = grammarFor(name, constraintOf('auto'), template);
    const open = name === 'gpt-oss' ? '<|channel|>final<|message|>' : '';
    for (const text of ['', 'Hello <b>there</b>\n', 'no [call] here'])
      expect([text, grammar.accepts(open + text)]).toEqual([text, true]);
    const frame = toolCallFrame(toolFormat(name), template);
    const begun = frame.begin + frame.beforeName;
    if (name !== 'llama3') expect(grammar.run(`${begun}nothing_like_it`).read).toBe(begun.length);
    const random = randomNumbers(8);
    let calls = 0;
    for (let i = 0; i < 150; i++) {
      const text = grammar.sample(random, 60);
      const found = parsed(name, text);
      calls += found.calls.length;
      for (const call of found.calls) expect([text, call, valid(call)]).toEqual([text, call, true]);
    }
    if (frame.trigger === '') expect(calls).toBeGreaterThan(0);
  });
});

describe('tools', () => {
  it('may say something before a call, and between', () => {
    const call =
      '<tool_call>\n{"name": "search", "arguments": {"query": null, "tags": []}}\n</tool_call>';
    const auto = grammarFor('hermes', constraintOf('auto'));
    expect(auto.accepts(`Let me see.\n${call}\n${call} and so`)).toBe(true);
    expect(auto.accepts(`${call.replace('null', '5')}`)).toBe(false);
    const one = grammarFor('hermes', constraintOf('auto', false));
    expect(one.accepts(`Let me see.\n${call} done`)).toBe(true);
    expect(one.accepts(`${call}${call}`)).toBe(false);
    const forced = grammarFor('hermes', constraintOf('required'));
    expect(forced.accepts(`${call}\n${call}`)).toBe(true);
    expect(forced.accepts(`Hm. ${call}`)).toBe(false);
  });

  it('lets tools that are not strict have any object', () => {
    const loose = { ...weather, strict: false };
    const grammar = grammarFor('hermes', constraintOf('required', true, [loose]));
    const call = (args: string) =>
      `<tool_call>\n{"name": "get_weather", "arguments": ${args}}\n</tool_call>`;
    expect(grammar.accepts(call('{"x": [1]}'))).toBe(true);
    expect(grammar.accepts(call('[1]'))).toBe(false);
    const parameters = grammarFor('qwen3-coder', constraintOf('required', true, [loose]));
    expect(
      parameters.accepts(
        '<tool_call>\n<function=get_weather>\n<parameter=x>\nany <thing>\n</parameter>\n</function>\n</tool_call>',
      ),
    ).toBe(true);
  });

  it('keeps the tag that closes a value out of values', () => {
    const of = (parameters: Record<string, unknown>, strict: boolean) => {
      const tool = { name: 'f', strict, parameters };
      const grammar = grammarFor('qwen3-coder', constraintOf('required', true, [tool]));
      return (value: string) =>
        grammar.accepts(
          `<tool_call>\n<function=f>\n<parameter=x>\n${value}\n</parameter>\n</function>\n</tool_call>`,
        );
    };
    const one = (x: unknown) => ({ type: 'object', properties: { x }, required: ['x'] });
    const texts = [
      of({}, false),
      of(one({ type: 'string' }), true),
      of(one({ type: 'string', maxLength: 40 }), true),
    ];
    for (const accepts of texts) {
      expect(accepts('a </parameter or <parameter>\n')).toBe(true);
      expect(accepts('a</parameter>b')).toBe(false);
      expect(accepts('a\n</parameter>b')).toBe(false);
    }
    for (const schema of [{ type: 'array', items: { type: 'string' } }, { type: 'array' }]) {
      const accepts = of(one(schema), true);
      expect(accepts('["a </parameter", "b"]')).toBe(true);
      expect(accepts('["a</parameter>"]')).toBe(false);
    }
    const object = of(one({ type: 'object', additionalProperties: { type: 'null' } }), true);
    expect(object('{"a": null}')).toBe(true);
    expect(object('{"</parameter>": null}')).toBe(false);
  });

  it('takes special tokens for what they are', () => {
    const specialTokens = new Map([
      ['<tool_call>', 3],
      ['</tool_call>', 4],
    ]);
    const context: GrammarContext = {
      toolFrame: toolCallFrame(toolFormat('hermes')),
      specialTokens,
      startAfter: null,
    };
    const grammar = new Recogniser(grammarOf(constraintOf('auto'), context).source);
    const body = '\n{"name": "search", "arguments": {"query": "x", "tags": ["a"]}}\n';
    expect(grammar.accepts(['Hm', 3, body, 4, 'so'])).toBe(true);
    expect(grammar.accepts([3, '\n{"name": "x'])).toBe(false);
    expect(grammar.accepts([4])).toBe(false);
  });

  it('refuses models whose format is not known, and schemas that cannot be enforced', () => {
    const context: GrammarContext = { toolFrame: null, specialTokens: new Map(), startAfter: null };
    expect(() => grammarOf(constraintOf('required'), context)).toThrow(/toolParser/);
    const bad = { ...weather, parameters: { type: 'object', properties: { a: { format: 'x' } } } };
    for (const name of ['hermes', 'qwen3-coder'] as const)
      expect(() => grammarFor(name, constraintOf('required', true, [bad]))).toThrow(
        /tools: the parameters of get_weather: format at #\/properties\/a/,
      );
    expect(() => grammarFor('hermes', constraintOf('required', true, []))).toThrow(EngineError);
  });
});

describe('gpt-oss', () => {
  const context: GrammarContext = {
    toolFrame: toolCallFrame(toolFormat('gpt-oss')),
    specialTokens: new Map([['<|call|>', 9]]),
    startAfter: null,
    stopTexts: ['<|call|>'],
    harmonyPrefix: '<|start|>assistant',
  };
  const recogniser = (constraint: Constraint, more: Partial<GrammarContext> = {}) => {
    const grammar = grammarOf(constraint, { ...context, ...more });
    expect(grammar.startAfter).toBeNull();
    return new Recogniser(grammar.source);
  };
  const thought = '<|channel|>analysis<|message|>Hm {"b"<|end|><|start|>assistant';

  it('reasons first, then keeps to the form in its final message', () => {
    const grammar = recogniser({ kind: 'json_object' });
    for (const before of ['', thought, thought + thought]) {
      expect(grammar.accepts(`${before}<|channel|>final<|message|>{"a":1}`)).toBe(true);
      expect(grammar.accepts(`${before}<|channel|>final <|constrain|>json<|message|>{}`)).toBe(
        true,
      );
      expect(grammar.accepts(`${before}<|channel|>final<|message|>text`)).toBe(false);
    }
    expect(grammar.accepts(thought)).toBe(false);
    const preamble = '<|channel|>commentary<|message|>So:<|end|><|start|>assistant';
    expect(grammar.accepts(`${preamble}<|channel|>final<|message|>{}`)).toBe(false);
  });

  it('goes on with the message that the prompt has begun', () => {
    const final = recogniser(
      { kind: 'json_object' },
      { harmonyPrefix: '<|start|>assistant<|channel|>final<|message|>' },
    );
    expect(final.accepts('{}')).toBe(true);
    const inside = recogniser(
      { kind: 'json_object' },
      { harmonyPrefix: '<|start|>assistant<|channel|>analysis<|message|>' },
    );
    expect(inside.accepts('hm<|end|><|start|>assistant<|channel|>final<|message|>{}')).toBe(true);
  });

  it('ends with the call, and leaves its token to the end of generation', () => {
    const grammar = recogniser(constraintOf('required'));
    const call =
      '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "x"}';
    expect(grammar.accepts(thought + call)).toBe(true);
    expect(grammar.accepts([call, 9])).toBe(false);
    expect(grammar.accepts('<|channel|>final<|message|>x')).toBe(false);
  });
});
