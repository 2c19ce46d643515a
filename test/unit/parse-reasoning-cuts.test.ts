/** However a text is cut, the events are those of the whole text, and nothing is lost. */
import { describe, expect, it } from 'vitest';
import { findTag, holdBackFrom } from '../../lib/parse/holdback.js';
import {
  createReasoningParser,
  type ReasoningTags,
  reasoningFormat,
  TagReasoningParser,
} from '../../lib/parse/reasoning/index.js';
import { reasoningParserNames } from '../../lib/parse/types.js';
import { allCuts, expectSame, parse, pick, random, someCuts } from './parse-reasoning-helpers.js';

/** The same machine with tags short enough for several of them in fourteen characters. */
const short: ReasoningTags = { start: '<t>', end: '</t>', toolTags: ['<c>'], callTokens: ['<|>'] };
const options = [true, false].flatMap((startsInReasoning) =>
  [true, false].map((streamReasoning) => ({ startsInReasoning, streamReasoning })),
);

/** `left` is `text` without some of the tags. */
function isTextWithout(text: string, left: string, tags: readonly string[]): boolean {
  // For every place of `text`: how much of `left` can be used up there.
  const used = Array.from({ length: text.length + 1 }, () => new Set<number>());
  used[0]!.add(0);
  for (let at = 0; at < text.length; at++) {
    for (const count of used[at]!) {
      if (text[at] === left[count]) used[at + 1]!.add(count + 1);
      for (const tag of tags) if (text.startsWith(tag, at)) used[at + tag.length]!.add(count);
    }
  }
  return used[text.length]!.has(left.length);
}

describe('tags', () => {
  const pieces = ['<t>', '</t>', '<c>', '<|>', '<', '</', 'a', ' ', '\n', 't>'];

  it.each(options)('all cuts of short texts, %j', (option) => {
    const next = random(7);
    let cuts = 0;
    for (let round = 0; round < 40; round++) {
      // Every fourth text is long enough for two tags and something around them.
      const length = round % 5 === 0 ? 14 : 4 + Math.floor(next() * 7);
      let text = '';
      while (text.length < length) text += pick(pieces, next);
      text = text.slice(0, length);
      cuts += expectSame(() => new TagReasoningParser(short, option), text, allCuts(text));
    }
    expect(cuts).toBeGreaterThan(60_000);
  });

  it.each(options)('loses nothing but the tags, %j', (option) => {
    const next = random(11);
    for (let round = 0; round < 2000; round++) {
      const text = Array.from({ length: 1 + Math.floor(next() * 12) }, () =>
        pick(pieces, next),
      ).join('');
      const { events, reasoningEnd } = parse(new TagReasoningParser(short, option), [text]);
      const left = events.map((event) => ('text' in event ? event.text : '')).join('');
      expect(isTextWithout(text, left, ['<t>', '</t>']), JSON.stringify([text, left])).toBe(true);
      // Reasoning ends with its end tag or before a call, and where there is none at 0.
      if (reasoningEnd === null || reasoningEnd === 0) continue;
      const ended = text.slice(0, reasoningEnd).endsWith('</t>');
      const called = /^<[c|]>/.test(text.slice(reasoningEnd));
      expect(ended || called, JSON.stringify([text, reasoningEnd])).toBe(true);
    }
  });
});

describe.each(reasoningParserNames)('%s', (name) => {
  const format = reasoningFormat(name);
  const pieces = [
    ...format.markers,
    ...format.markers.flatMap((marker) => [
      marker.slice(0, -1),
      marker.slice(0, 2),
      marker.slice(2),
    ]),
    'analysis',
    'final',
    'commentary',
    ' to=functions.f',
    ' json',
    'some words of a thought',
    '{"name": "f"}',
    ' ',
    '\n\n',
    'é漢😀',
    '<',
    '◁',
  ];

  it.each(options)('random cuts of long texts, %j', (option) => {
    const next = random(3);
    const parser = () => createReasoningParser(format, option);
    for (let round = 0; round < 300; round++) {
      const text = Array.from({ length: 1 + Math.floor(next() * 25) }, () =>
        pick(pieces, next),
      ).join('');
      expectSame(parser, text, someCuts(text, 8, next));
    }
  });

  it('finds its tags wherever one cut is made', () => {
    const open = format.tags?.start ?? '<|channel|>analysis<|message|>';
    const text = `${open}thought < 3 </ x${format.closeText}answer < 4`;
    for (let at = 0; at <= text.length; at++) {
      const parser = createReasoningParser(format, { startsInReasoning: false });
      const { reasoning, content } = parse(parser, [text.slice(0, at), text.slice(at)]);
      expect([reasoning.trimEnd(), content.trimStart()]).toEqual([
        'thought < 3 </ x',
        'answer < 4',
      ]);
    }
  });
});

it('stays linear in a long text, in every state', () => {
  const long = 200_000;
  for (const [begin, piece] of [
    ['', 'a '],
    ['<think>', 'a <'],
    ['<think>', ' '],
    ['<think>x<tool_call>', '{"a": "b</"}'],
    ['<think></think>', '<think>'],
  ] as const) {
    const { tags } = reasoningFormat('qwen3');
    for (const streamReasoning of [true, false]) {
      const parser = new TagReasoningParser(tags!, { startsInReasoning: false, streamReasoning });
      let length = parser.push(begin).length;
      const count = Math.ceil(long / piece.length);
      const from = performance.now();
      for (let i = 0; i < count; i++)
        for (const e of parser.push(piece)) if ('text' in e) length += e.text.length;
      for (const e of parser.flush()) if ('text' in e) length += e.text.length;
      expect(length).toBeGreaterThanOrEqual(count * piece.length);
      // A few dozen milliseconds; searching all of the text anew for each piece takes minutes.
      expect(performance.now() - from).toBeLessThan(5000);
    }
  }
});

describe('hold-back', () => {
  const tags = ['<think>', '</think>', '<|end|>'];

  it.each([
    ['', 0],
    ['abc', 3],
    ['abc<', 3],
    ['a<b', 3],
    ['abc</thin', 3],
    ['a</think', 1],
    ['<<<', 2],
    ['<|en', 0],
    ['x<think>', 8],
  ])('%j from %i', (text, at) => {
    expect(holdBackFrom(text, tags)).toBe(at);
  });

  it('finds the tag that begins first', () => {
    expect(findTag('a<|end|></think>', tags)).toEqual({ at: 1, tag: '<|end|>' });
    expect(findTag('a<|end|></think>', tags, 2)).toEqual({ at: 8, tag: '</think>' });
    expect(findTag('a</thin', tags)).toBeNull();
  });
});
