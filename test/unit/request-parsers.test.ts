/** Which parsers an engine uses: the options reasoningParser, toolParser and chatTemplateKwargs. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { chooseParsers } from '../../lib/engine/parsers.js';
import { parseLoadOptions } from '../../lib/options.js';
import { reasoningParserNames, toolParserNames } from '../../lib/parse/types.js';

const pocket = readFileSync(
  new URL('../../models/pocket/chat_template.jinja', import.meta.url),
  'utf8',
);
const templates = new Map([['default', pocket]]);

test('auto, the default, goes by the chat template', () => {
  const found = { reasoningParser: 'qwen3', toolParser: 'hermes' };
  expect(chooseParsers(templates, {})).toMatchObject({
    ...found,
    thinking: { kind: 'toggle', params: ['enable_thinking'], default: true },
  });
  expect(chooseParsers(templates, { reasoningParser: 'AUTO', toolParser: 'Auto' })).toMatchObject(
    found,
  );
  const none = { reasoningParser: null, toolParser: null, toolFrame: null, thinking: null };
  expect(chooseParsers(new Map(), {})).toEqual(none);
  expect(chooseParsers(new Map([['default', '{{ messages }}']]), {})).toEqual(none);
});

test('tools have a template of their own where there is one', () => {
  const two = new Map([
    ['default', '{{ messages }}'],
    ['tool_use', pocket],
  ]);
  expect(chooseParsers(two, {})).toMatchObject({ reasoningParser: null, toolParser: 'hermes' });
});

test('names in any case, aliases, and none', () => {
  expect(
    chooseParsers(templates, { reasoningParser: 'DeepSeek-R1', toolParser: 'Qwen25' }),
  ).toMatchObject({ reasoningParser: 'deepseek-r1', toolParser: 'hermes' });
  expect(chooseParsers(templates, { reasoningParser: 'none', toolParser: 'None' })).toMatchObject({
    reasoningParser: null,
    toolParser: null,
  });
});

describe('options', () => {
  test.each([...reasoningParserNames, 'auto', 'none'])('reasoningParser %s', (name) => {
    expect(parseLoadOptions({ reasoningParser: name })).toEqual({ reasoningParser: name });
  });
  test.each([...toolParserNames, 'qwen', 'auto', 'none'])('toolParser %s', (name) => {
    expect(parseLoadOptions({ toolParser: name })).toEqual({ toolParser: name });
  });
  test.each([
    [
      { reasoningParser: 'qwen33' },
      'reasoningParser',
      /must be 'auto', 'none' or one of .*'qwen3'/,
    ],
    [{ toolParser: 'hermess' }, 'toolParser', /Did you mean 'hermes'\?/],
    [{ toolParser: 5 }, 'toolParser', /expected the name of a parser/],
    [{ chatTemplateKwargs: 'x' }, 'chatTemplateKwargs', /expected an object/],
  ])('%j is refused', (options, param, message) => {
    expect(() => parseLoadOptions(options)).toThrow(
      expect.objectContaining({ param, message: expect.stringMatching(message) }),
    );
  });
});
