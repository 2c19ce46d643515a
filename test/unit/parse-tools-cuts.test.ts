/** However a text is cut into pieces, the events are those of the whole. */
import { describe, expect, it } from 'vitest';
import { createMessageParser } from '../../lib/parse/index.js';
import { reasoningFormat } from '../../lib/parse/reasoning/index.js';
import { toolFormat } from '../../lib/parse/tools/index.js';
import type { MessageParser, ToolParserName } from '../../lib/parse/types.js';
import { messageOf, parsed, samples, toolParser, weather } from './parse-tools-samples.js';
import { randomInts } from './text-fixtures.js';

const names = Object.keys(samples) as (keyof typeof samples)[];
const options = { declaredTools: [weather] };

/** Pieces of a text, cut before each of the places. */
function cutAt(text: string, places: readonly number[]): string[] {
  return [0, ...places].map((from, i) => text.slice(from, places[i] ?? text.length));
}

function randomCut(text: string, random: (n: number) => number): string[] {
  const longest = 1 + random(12);
  const places: number[] = [];
  for (let at = 1 + random(longest); at < text.length; at += 1 + random(longest)) places.push(at);
  return cutAt(text, places);
}

describe.each(names)('%s', (name) => {
  const texts = samples[name];
  const both = [true, false].map((parallel) => ({ ...options, parallel }));

  it('one character at a time, and any two pieces', () => {
    for (const text of texts) {
      for (const some of both) {
        const whole = parsed(toolParser(name, some), [text]);
        expect(parsed(toolParser(name, some), text.split('')), text).toEqual(whole);
        for (let at = 1; at < text.length; at++)
          expect(parsed(toolParser(name, some), cutAt(text, [at])), `${at}: ${text}`).toEqual(
            whole,
          );
      }
    }
  });

  it('every cut of every stretch', () => {
    const stretch = 6;
    for (const text of texts) {
      const whole = parsed(toolParser(name, options), [text]);
      for (let from = 1; from < text.length; from += 4) {
        for (let set = 1; set < 1 << stretch; set++) {
          const places = Array.from({ length: stretch }, (_, i) => from + i).filter(
            (at, i) => set & (1 << i) && at < text.length,
          );
          const events = parsed(toolParser(name, options), cutAt(text, places));
          if (JSON.stringify(events) !== JSON.stringify(whole))
            expect(events, `${places}: ${text}`).toEqual(whole);
        }
      }
    }
  });

  it('random texts of pieces of the format', () => {
    const random = randomInts(name.length);
    const parts = [...new Set(texts.join(' ').match(/<[^<>\s]*>?|[\w.]+|\s+|[^\w\s<]/g))];
    let calls = 0;
    for (let round = 0; round < 400; round++) {
      const text =
        round % 2
          ? Array.from({ length: 1 + random(25) }, () => parts[random(parts.length)]).join('')
          : mutated(texts[random(texts.length)]!, parts, random);
      const some = { ...options, parallel: random(4) > 0 };
      const whole = parsed(toolParser(name, some), [text]);
      for (let i = 0; i < 4; i++)
        expect(parsed(toolParser(name, some), randomCut(text, random)), text).toEqual(whole);
      const message = messageOf(whole);
      calls += message.calls.length;
      if (message.calls.length === 0) expect(message.content ?? '', text).toBe(text);
      if (!some.parallel) expect(message.calls.length).toBeLessThan(2);
    }
    expect(calls).toBeGreaterThan(50);
  });
});

/** A few pieces taken out, put in or doubled. */
function mutated(text: string, parts: readonly string[], random: (n: number) => number): string {
  let result = text;
  for (let i = random(4); i > 0; i--) {
    const from = random(result.length + 1);
    const to = from + random(6);
    const put = random(2) ? parts[random(parts.length)]! : '';
    result = result.slice(0, from) + put + result.slice(to);
  }
  return result;
}

describe('reasoning and tools together', () => {
  const pairs = [
    ['qwen3', 'hermes'],
    ['qwen3-thinking', 'qwen3-coder'],
    ['kimi_k2', 'kimi_k2'],
    ['deepseek-r1', 'deepseek-v3'],
    ['deepseek-v3', 'deepseek-v3.1'],
  ] as const;

  it.each(pairs)('%s, %s', (reasoning, tools) => {
    const random = randomInts(9);
    const create = (startsInReasoning: boolean): MessageParser => {
      let ids = 0;
      return createMessageParser({
        reasoning: reasoningFormat(reasoning),
        tools: toolFormat(tools as ToolParserName),
        startsInReasoning,
        newId: () => `id${ids++}`,
        ...options,
      });
    };
    for (const text of samples[tools]) {
      for (const before of [
        '<think>A </think>\n\n',
        'A\n</think>',
        'B <think>A',
        '<think></think>',
      ]) {
        for (const inside of [true, false]) {
          const full = before + text;
          const whole = parsed(create(inside), [full]);
          expect(parsed(create(inside), full.split('')), full).toEqual(whole);
          for (let i = 0; i < 20; i++)
            expect(parsed(create(inside), randomCut(full, random)), full).toEqual(whole);
        }
      }
    }
  });
});

it('takes time in proportion to the text, whatever is held back', () => {
  const spaces = ' '.repeat(100_000);
  const value = `{"a": "${'x'.repeat(100_000)}"}`;
  const cases: [ToolParserName, string][] = [
    ['hermes', spaces],
    ['hermes', '<tool_call>'.repeat(10_000)],
    ['hermes', `<tool_call>{"arguments": ${value}, "name": "f"}</tool_call>`],
    ['hermes', `<tool_call>${spaces}`],
    ['hermes', `<tool_call>{"name": "f", "arguments": ${'['.repeat(100_000)}`],
    ['qwen3-coder', `<function=f><parameter=a>${'\n<'.repeat(50_000)}</parameter></function>`],
    ['mistral', `[TOOL_CALLS]${'a'.repeat(100_000)}`],
    ['llama3', `{"type": ${value}, "no": 1}`],
  ];
  for (const [name, text] of cases) {
    const from = performance.now();
    const parser = toolParser(name);
    for (let at = 0; at < text.length; at += 3) parser.push(text.slice(at, at + 3));
    parser.flush();
    expect(performance.now() - from, text.slice(0, 40)).toBeLessThan(3000);
  }
});
