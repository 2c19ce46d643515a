import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HarmonyParser, type HarmonyTools, harmonyPrefix } from '../../lib/parse/harmony.js';
import { harmonyMarkers } from '../../lib/parse/reasoning/index.js';
import { ChatTemplate } from '../../lib/text/template.js';
import { allCuts, expectSame, parse, pick, random, someCuts } from './parse-reasoning-helpers.js';
import { hasShared, sharedFolder } from './text-fixtures.js';

const tools: HarmonyTools = { names: ['f', 'get_weather'], callId: (_, index) => `id${index}` };
type Options = Partial<ConstructorParameters<typeof HarmonyParser>[0]>;
const run = (text: string, options: Options = {}) =>
  parse(new HarmonyParser({ tools, ...options }), [text]);

const analysis = '<|channel|>analysis<|message|>';
const final = '<|channel|>final<|message|>';
const next = '<|end|><|start|>assistant';
const call = (index: number, name: string, text: string) => [
  { type: 'toolCall', index, id: `id${index}`, name },
  { type: 'toolArguments', index, text },
];

describe('channels', () => {
  it('separates analysis, preamble and answer', () => {
    const text = `${analysis}I think.${next}<|channel|>commentary<|message|>Let me see. ${next}${final}Yes.<|return|>`;
    expect(run(text).events).toEqual([
      { type: 'reasoning', text: 'I think.' },
      { type: 'content', text: 'Let me see. Yes.' },
    ]);
  });

  it.each([
    ['no marker at all', 'Hello <|there', '', 'Hello <|there'],
    ['a word that could begin a header', ' to be', '', ' to be'],
    ['analysis that is cut off', `${analysis}I th`, 'I th', ''],
    ['an answer without its end', `${final}Yes`, '', 'Yes'],
    ['no channel', '<|start|>assistant<|message|>Yes<|end|>', '', 'Yes'],
    ['an unknown channel', '<|channel|>confidence<|message|>0.9<|return|>', '', '0.9'],
    ['the end of a message forgotten', `${analysis}A<|start|>assistant${final}B`, 'A', 'B'],
    ['end and role forgotten', `${analysis}A${final}B`, 'A', 'B'],
    ['two analysis messages', `${analysis}A${next}${analysis}B${next}${final}C`, 'AB', 'C'],
    ['text between messages', `${analysis}A<|end|> so ${final}B`, 'A', ' so B'],
    ['white space that is the text', `${final} \n<|return|>`, '', ' \n'],
    ['a header cut off', `${analysis}A${next}<|channel|>fin`, 'A', ''],
    ['half a marker at the end', `${final}B<|en`, '', 'B<|en'],
    ['half a marker in a header', '<|channel|>final<|mess', '', '<|mess'],
    [
      'a marker that means nothing there',
      `${final}a<|message|>b<|constrain|>c`,
      '',
      'a<|message|>b<|constrain|>c',
    ],
    [
      'a header that is none',
      '<|channel|>final and here some words',
      '',
      '<|channel|>final and here some words',
    ],
    ['a message without text', `<|channel|>analysis${next}${final}B`, '', 'B'],
    ['ends without a message', `<|end|><|return|>${final}B`, '', 'B'],
  ])('%s', (_, text, reasoning, content) => {
    const parsed = run(text);
    expect([parsed.reasoning, parsed.content]).toEqual([reasoning, content]);
  });

  it('does not wait for ever for the end of a header', () => {
    const parser = new HarmonyParser({ tools });
    const endless = `<|channel|>${'x'.repeat(300)}`;
    expect(parser.push(endless)).toEqual([{ type: 'content', text: endless }]);
  });

  it('streams every channel, and holds back only what could be a marker', () => {
    const parser = new HarmonyParser({ tools });
    expect(parser.push(`${analysis}A <`)).toEqual([{ type: 'reasoning', text: 'A ' }]);
    expect(parser.push('b> B<|')).toEqual([{ type: 'reasoning', text: '<b> B' }]);
    expect(parser.push('end|><|start|>assistant<|channel|>comm')).toEqual([]);
    expect(parser.push('entary<|message|>C')).toEqual([{ type: 'content', text: 'C' }]);
    expect(parser.push('D')).toEqual([{ type: 'content', text: 'D' }]);
  });

  it('gives reasoning that is not streamed as one event for each message', () => {
    const parser = new HarmonyParser({ tools, streamReasoning: false });
    expect(parser.push(`${analysis}A`)).toEqual([]);
    expect(parser.push('B')).toEqual([]);
    expect(parser.push(`${next}${analysis}C`)).toEqual([{ type: 'reasoning', text: 'AB' }]);
    expect(parser.flush()).toEqual([{ type: 'reasoning', text: 'C' }]);
  });

  it('counts up to the end of the last analysis', () => {
    const thought = `${analysis}A<|end|>`;
    expect(run(`${thought}<|start|>assistant${final}B`).reasoningEnd).toBe(thought.length);
    expect(run(`${thought}<|start|>assistant${thought}${final}B`).reasoningEnd).toBe(
      thought.length * 2 + '<|start|>assistant'.length,
    );
    // The marker of the next message is not part of it.
    expect(run(`${analysis}A${final}B`).reasoningEnd).toBe(analysis.length + 1);
    expect(run(`${analysis}A`).reasoningEnd).toBeNull();
    expect(run(`${final}A`).reasoningEnd).toBe(0);
    expect(run('plain').reasoningEnd).toBe(0);
  });
});

describe('calls', () => {
  const args = '{"city": "Z<ü>rich"}';

  it.each([
    [
      'in the channel',
      '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>',
    ],
    ['in the role', ' to=functions.get_weather<|channel|>commentary json<|message|>'],
    [
      'with a role',
      '<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>',
    ],
    ['without a type', '<|channel|>commentary to=functions.get_weather<|message|>'],
    ['without a channel', ' to=functions.get_weather<|message|>'],
    ['in the channel analysis', '<|channel|>analysis to=functions.get_weather code<|message|>'],
    ['of a declared tool, without "functions."', '<|channel|>commentary to=get_weather<|message|>'],
  ])('are found %s', (_, header) => {
    for (const end of ['<|call|>', '<|end|>', '', '<|return|>']) {
      const parsed = run(`${header}${args}${end}`);
      expect(parsed.events).toEqual(call(0, 'get_weather', args));
      expect(parsed.reasoningEnd).toBe(0);
    }
  });

  it('come after reasoning and a preamble, several in one text', () => {
    const text = [
      `${analysis}A${next}<|channel|>commentary<|message|>B${next}`,
      ` to=functions.f<|channel|>commentary json<|message|>{"a":1}<|call|>`,
      `<|start|>assistant<|channel|>commentary to=functions.g <|constrain|>json<|message|>{}<|call|>`,
    ].join('');
    expect(run(text).events).toEqual([
      { type: 'reasoning', text: 'A' },
      { type: 'content', text: 'B' },
      ...call(0, 'f', '{"a":1}'),
      ...call(1, 'g', '{}'),
    ]);
  });

  it('give the name at once and the arguments as they come', () => {
    const parser = new HarmonyParser({ tools });
    expect(parser.push(' to=functions.f<|channel|>commentary json<|message|>')).toEqual([
      { type: 'toolCall', index: 0, id: 'id0', name: 'f' },
    ]);
    expect(parser.push(' \n')).toEqual([]);
    expect(parser.push('{"a": ')).toEqual([{ type: 'toolArguments', index: 0, text: '{"a": ' }]);
    expect(parser.push('"<|')).toEqual([{ type: 'toolArguments', index: 0, text: '"' }]);
    expect(parser.push('"}<|call|>')).toEqual([{ type: 'toolArguments', index: 0, text: '<|"}' }]);
  });

  it('have valid arguments where the model gave none', () => {
    for (const nothing of ['', ' ', '\n\n'])
      expect(run(` to=functions.f<|message|>${nothing}<|call|>`).events).toEqual(
        call(0, 'f', '{}'),
      );
    expect(run(' to=functions.f<|message|>').events).toEqual(call(0, 'f', '{}'));
  });

  it.each([
    ['no tools', ' to=functions.f<|message|>{}<|call|>', { tools: null }],
    ['no function', '<|channel|>analysis to=python code<|message|>print(1)<|call|>', {}],
    ['no name', ' to=functions.<|message|>{}<|call|>', {}],
  ])('stay as they are written: %s', (_, text, options) => {
    expect(run(text, options).events).toEqual([{ type: 'content', text }]);
    expect(run(`${analysis}A<|end|>${text}`, options).reasoning).toBe('A');
  });

  it('to a tool that takes JSON are calls without "functions."', () => {
    const text =
      '<|channel|>commentary to=browser.search <|constrain|>json<|message|>{"q":1}<|call|>';
    expect(run(text).events).toEqual(call(0, 'browser.search', '{"q":1}'));
  });

  it('to people are messages', () => {
    expect(run('<|channel|>commentary to=user json<|message|>{}<|end|>').content).toBe('{}');
  });

  it('beyond the first stay as they are written where they may not be parallel', () => {
    const second =
      '<|start|>assistant to=functions.g<|channel|>commentary json<|message|>{}<|call|>';
    const first = ' to=functions.f<|channel|>commentary json<|message|>{}<|call|>';
    const parsed = run(`${first}${second}`, { tools: { ...tools, parallel: false } });
    expect(parsed.events).toEqual([...call(0, 'f', '{}'), { type: 'content', text: second }]);
  });
});

describe('reasoning that is not separated', () => {
  it('leaves everything but calls as it is written', () => {
    const said = `${analysis}A${next}<|channel|>comm`;
    const called = ' to=functions.f<|message|>{}<|call|>';
    const rest = `<|start|>assistant${final}B<|return|>`;
    const parsed = run(`${analysis}A<|end|>${called}${rest}${said}`, { separateReasoning: false });
    expect(parsed.reasoning).toBe('');
    expect(parsed.reasoningEnd).toBe(0);
    expect(parsed.content).toBe(`${analysis}A<|end|>${rest}${said}`);
    expect(parsed.events.slice(1, 3)).toEqual(call(0, 'f', '{}'));
  });
});

describe('the prompt', () => {
  it.each([
    ['<|start|>user<|message|>Hi<|end|><|start|>assistant', '<|start|>assistant'],
    [`a<|start|>assistant${analysis}So`, `<|start|>assistant${analysis}So`],
    [`<|start|>assistant${final}Done<|end|>`, ''],
    ['no markers', ''],
  ])('%j begins %j', (prompt, prefix) => {
    expect(harmonyPrefix(prompt)).toBe(prefix);
  });

  it.each([
    ['<|start|>assistant', `${analysis}A${next}${final}B`, 'A', 'B'],
    ['<|start|>assistant', 'plain', '', 'plain'],
    ['<|start|>assistant', '', '', ''],
    [`<|start|>assistant${analysis}`, `A${next}${final}B`, 'A', 'B'],
    [`<|start|>assistant${analysis}So`, ' A', ' A', ''],
    [`<|start|>assistant${final}`, 'B', '', 'B'],
    // What the prompt had of one header is not cut off from the next.
    [
      '<|start|>assistant<|channel|>ana',
      'lysis<|message|>A<|end|><|channel|>no header at all',
      'A',
      '<|channel|>no header at all',
    ],
    ['<|start|>assistant<|channel|>ana', 'lysis<|message|>A', 'A', ''],
    ['<|start|>assistant to=functions.f<|message|>{', '}<|call|>', '', '}'],
    ['<|start|>is not a header at all', 'B', '', 'B'],
  ])('ends with %j', (prefix, text, reasoning, content) => {
    const parsed = run(text, { prefix });
    expect([parsed.reasoning, parsed.content]).toEqual([reasoning, content]);
  });

  it('may have the role of a call, and is not given back', () => {
    const text = ' to=functions.f<|channel|>commentary json<|message|>{}<|call|>';
    const prefix = '<|start|>assistant';
    expect(run(text, { prefix }).events).toEqual(call(0, 'f', '{}'));
    expect(run(text, { prefix, tools: null }).content).toBe(text);
    const open = new HarmonyParser({ tools, prefix: `${prefix}${analysis}` });
    expect(open.reasoningEnd).toBeNull();
    open.push('A<|end|>');
    expect(open.reasoningEnd).toBe(8);
  });
});

describe('cuts', () => {
  const variants: Options[] = [
    {},
    { streamReasoning: false },
    { separateReasoning: false },
    { tools: null },
    { prefix: '<|start|>assistant' },
    { tools: { ...tools, parallel: false } },
  ];
  const pieces = [
    ...harmonyMarkers,
    ...harmonyMarkers,
    ...[
      'analysis',
      'final',
      'commentary',
      'assistant',
      ' to=functions.f',
      ' to=python',
      ' json',
      'json',
    ],
    ...['a thought', '{"a": [1]}', ' ', '\n', '<|', '<', '|>', 'é😀', 'to', '='],
  ];

  it.each(variants)('random cuts, %j', (options) => {
    const number = random(5);
    for (let round = 0; round < 600; round++) {
      const length = 1 + Math.floor(number() * 20);
      const text = Array.from({ length }, () => pick(pieces, number)).join('');
      const parser = () => new HarmonyParser({ tools, ...options });
      expectSame(parser, text, someCuts(text, 6, number));
    }
  });

  it.each(variants)('all cuts around the markers, %j', (options) => {
    const parser = () => new HarmonyParser({ tools, ...options });
    for (const middle of ['|end|><|c', '<|channel', 'a to=f<|st', '<|message|>']) {
      for (const before of [analysis, ' to=functions.f<|message|>', '<|start|>x', '']) {
        const cuts = [...allCuts(middle)].map((chunks) => [before, ...chunks, '|>z']);
        expectSame(parser, `${before}${middle}|>z`, cuts);
      }
    }
  });

  it('loses nothing but headers and markers', () => {
    const number = random(9);
    const words = ['alpha', 'beta', '{"a": 1}', ' ', '<', '\n', 'é'];
    const headers = [
      analysis,
      final,
      '<|channel|>commentary<|message|>',
      ' to=functions.f<|message|>',
    ];
    for (let round = 0; round < 500; round++) {
      let text = '';
      let expected = '';
      for (let message = 0; message < 4; message++) {
        const header = pick(headers, number);
        const body = `x${Array.from({ length: 5 }, () => pick(words, number)).join('')}`;
        expected += body;
        text += `${header}${body}${pick(['<|end|><|start|>assistant', '<|call|>', '<|end|>'], number)}`;
      }
      const { events } = run(text);
      expect(events.map((event) => ('text' in event ? event.text : '')).join('')).toBe(expected);
    }
  });
});

describe.runIf(hasShared)('what the template of gpt-oss writes', () => {
  const file = join(sharedFolder, 'data/chat-templates/openai-gpt-oss-120b.jinja');
  const template = () =>
    new ChatTemplate(readFileSync(file, 'utf8'), { bosToken: null, eosToken: null });
  const user = { role: 'user', content: 'Hi' };
  const prompt = () => template().render([user], { addGenerationPrompt: true });
  const written = (message: Record<string, unknown>) => {
    const whole = template().render([user, { role: 'assistant', ...message }], {
      addGenerationPrompt: false,
    });
    expect(whole.startsWith(prompt())).toBe(true);
    return whole.slice(prompt().length);
  };

  it('is parsed back into thoughts, answer and call', () => {
    const prefix = harmonyPrefix(prompt());
    expect(prefix).toBe('<|start|>assistant');
    const answer = run(written({ thinking: 'T', content: 'C' }), { prefix });
    expect(answer.events).toEqual([
      { type: 'reasoning', text: 'T' },
      { type: 'content', text: 'C' },
    ]);
    const asked = { name: 'get_weather', arguments: { city: 'Zürich', days: 3 } };
    const called = run(written({ thinking: 'T', tool_calls: [{ function: asked }] }), { prefix });
    expect(called.reasoning).toBe('T');
    expect(called.content).toBe('');
    const [, begin, json] = called.events;
    expect(begin).toEqual({ type: 'toolCall', index: 0, id: 'id0', name: 'get_weather' });
    expect(JSON.parse((json as { text: string }).text)).toEqual(asked.arguments);
  });
});
