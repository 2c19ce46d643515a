/**
 * Random weights at temperature 1.5 say anything that they may: whatever ends by itself has to be of its form, and
 * what max_tokens cuts has to be the beginning of something that is.
 */
import { afterAll, beforeAll, expect } from 'vitest';
import { grammarOf } from '../../lib/grammar/index.js';
import type { Engine } from '../../lib/index.js';
import { parseConstraint } from '../../lib/request/check.js';
import { planConstraint } from '../../lib/request/constraint.js';
import { describe, test } from '../device.js';
import { Recogniser } from '../unit/grammar-recogniser.js';
import {
  hasLongNumbers,
  jsonObjects,
  keywords,
  type Language,
  schemas,
} from './constrained-languages.js';
import { ebnfs, freeTools, regexes, tags, tools } from './constrained-languages-text.js';
import { loadPocket, settled, user } from './pocket.js';

interface Sample {
  text: string;
  finish: string;
}

let engine: Engine;
beforeAll(async () => {
  engine = await loadPocket({ loadFormat: 'dummy' });
});
afterAll(async () => {
  await settled(engine);
  await engine.close();
});

const hot = { temperature: 1.5, top_p: 1, top_k: -1 };

interface Draw {
  n: number;
  seed: number;
  max_tokens: number;
  logit_bias?: Record<string, number>;
}

/** Samples of completions. */
async function texts({ body }: Language, draw: Draw): Promise<Sample[]> {
  const { choices } = await engine.completions({ prompt: 'Any', ...hot, ...draw, ...body });
  return choices.map(({ text, finish_reason }) => ({ text, finish: finish_reason! }));
}

/** The whole text of samples of chat, calls and all. */
async function answers({ body }: Language, draw: Draw): Promise<Sample[]> {
  const { choices } = await engine.chatCompletions({
    messages: user('Any'),
    chat_template_kwargs: { enable_thinking: false },
    return_token_ids: true,
    ...hot,
    ...draw,
    ...body,
  });
  return Promise.all(
    choices.map(async ({ token_ids, finish_reason }) => {
      const { text } = await engine.detokenize({ tokens: token_ids! });
      return { text, finish: finish_reason };
    }),
  );
}

let judged = 0;

interface Options {
  /** Of each. */
  n: number;
  maxTokens?: number;
  /** The share that has to end by itself. */
  least?: number;
  draw?: typeof texts;
  finishes?: readonly string[];
  logit_bias?: Record<string, number>;
  /** Ask the reference recogniser too, which knows beginnings. */
  recognise?: boolean;
}

/** Of what lib/grammar makes of the form. */
function recogniserOf({ body }: Language): Recogniser {
  const constraint = planConstraint(parseConstraint(body))!;
  const context = { toolFrame: null, specialTokens: new Map<string, number>(), startAfter: null };
  return new Recogniser(grammarOf(constraint, context).source);
}

/** Returns how the samples ended. */
async function check(languages: readonly Language[], options: Options): Promise<string[]> {
  const {
    n,
    maxTokens = 100,
    least = 0.7,
    draw = texts,
    finishes = ['stop'],
    logit_bias,
  } = options;
  let unclear = 0;
  const different = new Set<string>();
  const finished: string[] = [];
  const wrong: unknown[] = [];
  const one = async (
    language: Language,
    { text, finish }: Sample,
    recogniser: Recogniser | null,
  ) => {
    finished.push(finish);
    different.add(language.name + text);
    const isWhole = finishes.includes(finish);
    // A character may be cut in the middle.
    const begun = isWhole ? text : text.replace(/\ufffd+$/, '');
    const { accepted, complete } = await engine.checkConstraint(language.body, begun);
    let fault: string | null = null;
    if (isWhole) {
      fault = faultOf(language, text);
      if (!complete) fault ??= 'not complete';
      else if (fault !== null && hasLongNumbers(text)) {
        unclear++;
        fault = null;
      }
    } else if (finish !== 'length') fault = `ended by ${finish}`;
    if (!accepted) fault ??= 'not accepted';
    if (recogniser) {
      const { read, complete: all } = recogniser.run(begun);
      if (read !== [...begun].length || (isWhole && !all)) fault ??= 'not recognised';
    }
    if (fault !== null) wrong.push({ name: language.name, text, finish, fault });
  };
  await Promise.all(
    languages.map(async (language, i) => {
      const samples = await draw(language, { n, seed: 100 + i, max_tokens: maxTokens, logit_bias });
      expect(samples).toHaveLength(n);
      const recogniser = options.recognise ? recogniserOf(language) : null;
      for (const sample of samples) await one(language, sample, recogniser);
    }),
  );
  expect(wrong).toEqual([]);
  const ended = finished.filter((finish) => finishes.includes(finish)).length;
  expect(ended).toBeGreaterThanOrEqual(least * n * languages.length);
  // They are random, or nothing is shown.
  expect(different.size).toBeGreaterThan(0.5 * finished.length);
  expect(unclear).toBeLessThanOrEqual(0.01 * ended);
  judged += ended;
  return finished;
}

function faultOf({ fault }: Language, text: string): string | null {
  try {
    return fault(text);
  } catch (error) {
    return String(error);
  }
}

describe('what random weights write', () => {
  test('json_object', () => check(jsonObjects, { n: 100, maxTokens: 250, least: 0.15 }));
  test('every keyword of JSON Schema', () => check(keywords, { n: 8, maxTokens: 80 }));
  test('schemas as they are written', () => check(schemas, { n: 40, maxTokens: 300 }));
  test('regexes', () => check(regexes, { n: 24, recognise: true }));
  test('EBNF', () => check(ebnfs, { n: 24, recognise: true }));
  test('structural tags', () => check(tags, { n: 32, recognise: true }));

  test('tools that must be called', () =>
    check(tools, { n: 48, maxTokens: 250, draw: answers, finishes: ['tool_calls'] }));

  test('strict tools that may be called', async () => {
    const finished = await check([freeTools], {
      n: 80,
      maxTokens: 200,
      least: 0.4,
      draw: answers,
      finishes: ['tool_calls', 'stop'],
      // <|im_end|> and <tool_call>, which so many tokens would hide.
      logit_bias: { 2: 4, 5: 5 },
    });
    expect(new Set(finished)).toEqual(new Set(['tool_calls', 'stop', 'length']));
  });

  test('2,000 of them ended by themselves', () => expect(judged).toBeGreaterThanOrEqual(2000));
});
