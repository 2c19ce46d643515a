/** Grammars are made once for equal requests, and kept within bounds. */
import { expect, test } from 'vitest';
import type { GrammarContext } from '../../lib/grammar/index.js';
import { LoweredGrammars } from '../../lib/request/lowered.js';

const context: GrammarContext = { toolFrame: null, specialTokens: new Map(), startAfter: null };
const schema = (name: string) => ({
  kind: 'json_schema' as const,
  schema: { type: 'object', properties: { [name]: { type: 'integer' } }, required: [name] },
  name: null,
});

test('equal forms share a grammar, others do not', () => {
  const grammars = new LoweredGrammars();
  const first = grammars.grammarOf(schema('a'), context);
  expect(grammars.grammarOf(schema('a'), context)).toBe(first);
  expect(grammars.grammarOf(schema('b'), context).source).not.toBe(first.source);
  const behind = grammars.grammarOf(schema('a'), { ...context, startAfter: '</think>' });
  expect(behind).not.toBe(first);
  expect(behind.startAfter).toBe('</think>');
});

test('the oldest go when there are too many', () => {
  const grammars = new LoweredGrammars(1000);
  const long = (i: number) => ({ kind: 'regex' as const, pattern: `x${i}${'[ab]'.repeat(20)}` });
  const first = grammars.grammarOf(long(0), context);
  expect(grammars.grammarOf(long(0), context)).toBe(first);
  for (let i = 1; i < 20; i++) grammars.grammarOf(long(i), context);
  expect(grammars.grammarOf(long(0), context)).not.toBe(first);
});

test('a schema that uses its parts in many places is not written out', () => {
  let shared: Record<string, unknown> = { type: 'integer' };
  for (let i = 0; i < 40; i++) shared = { allOf: [shared, shared] };
  const grammars = new LoweredGrammars();
  const form = { kind: 'json_schema' as const, schema: shared, name: null };
  let first: unknown;
  try {
    first = grammars.grammarOf(form, context);
  } catch (error) {
    first = error;
  }
  expect(first).toBeDefined();
});
