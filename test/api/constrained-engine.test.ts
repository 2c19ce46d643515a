/** What a constraint does together with everything else that a request can ask for. */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type {
  ChatCompletionRequest,
  CompletionRequest,
  ConstraintRequest,
  Engine,
} from '../../lib/index.js';
import { describe, test } from '../device.js';
import { loadPocket, prompts, settled, user } from './pocket.js';

type Chat = Omit<ChatCompletionRequest, 'stream'>;
type Text = Omit<CompletionRequest, 'stream'>;

let engine: Engine;
/** Random weights: they do what trained ones would not. */
let random: Engine;
beforeAll(async () => {
  [engine, random] = await Promise.all([loadPocket(), loadPocket({ loadFormat: 'dummy' })]);
});
afterEach(async () => {
  expect((await settled(engine)).failure).toBeNull();
  expect((await settled(random)).failure).toBeNull();
});
afterAll(() => Promise.all([engine.close(), random.close()]));

const hot = { temperature: 1.5, top_p: 1, top_k: -1 };
const noThinking = { chat_template_kwargs: { enable_thinking: false } };
const capital: Chat = { messages: user('What is the capital of France?'), max_tokens: 300 };
const name = '[A-Z][a-z]{2,8}';
const isName = /^[A-Z][a-z]{2,8}$/;
const person = {
  type: 'object',
  properties: {
    name: { type: 'string', pattern: `^${name}$` },
    age: { type: 'integer', maximum: 99 },
  },
  required: ['name', 'age'],
  additionalProperties: false,
};
const personFormat = {
  type: 'json_schema' as const,
  json_schema: { name: 'person', schema: person },
};

const chat = (body: Chat) => engine.chatCompletions({ ...body, stream: false });
const complete = (body: Text) => engine.completions({ ...body, stream: false });
const firstId = async (prompt: string) => (await engine.tokenize({ prompt })).tokens[0]!;

/** Per choice. */
async function streamed(body: Text): Promise<{ text: string; finish: string | null }[]> {
  const out: { text: string; finish: string | null }[] = [];
  for await (const { choices } of engine.completions({ ...body, stream: true }))
    for (const { index, text, finish_reason } of choices) {
      out[index] ??= { text: '', finish: null };
      out[index].text += text;
      out[index].finish ??= finish_reason;
    }
  return out;
}

describe('reasoning', () => {
  test('is free, and the constraint begins behind it', async () => {
    const { choices } = await chat({ ...capital, regex: name, n: 4, temperature: 0.7, seed: 1 });
    for (const { message, finish_reason } of choices) {
      expect(finish_reason).toBe('stop');
      expect(message.content).toMatch(isName);
      // No name, so it was not held to the regex.
      expect(message.reasoning_content).toMatch(/ /);
    }
  });

  test('left in the content it stands before the constrained text', async () => {
    const { choices } = await chat({ ...capital, regex: name, separate_reasoning: false });
    expect(choices[0]!.message.content).toMatch(/^<think>[\s\S]+<\/think>[A-Z][a-z]{2,8}$/);
  });

  test('of random weights, as long as it does not end the answer', async () => {
    const body: Chat = {
      messages: user('x'),
      regex: name,
      n: 16,
      seed: 2,
      max_tokens: 200,
      ...hot,
      // </think>, and no end before it.
      logit_bias: { 4: 4 },
      min_tokens: 200,
    };
    const { choices } = await random.chatCompletions({ ...body, stream: false });
    const ended = choices.filter(({ finish_reason }) => finish_reason === 'stop');
    for (const { message } of ended) expect(message.content).toMatch(isName);
    for (const { message, finish_reason } of choices)
      if (finish_reason === 'length') expect(message.content).toMatch(/^([A-Z][a-z]*)?$/);
    expect(ended.length).toBeGreaterThan(8);
  });

  test.each([0, 3, 40])('a thinking budget of %d', async (thinking_budget) => {
    for (const [body, fits] of [
      [{ regex: name }, (text: string) => isName.test(text)],
      [{ response_format: personFormat }, (text: string) => JSON.parse(text).age <= 99],
    ] as const)
      for (const loaded of [engine, random]) {
        const asked = { ...capital, ...body, thinking_budget, n: 3, seed: 3, temperature: 1 };
        const { choices, usage } = await loaded.chatCompletions(asked);
        for (const { message, finish_reason } of choices) {
          expect(finish_reason).toBe('stop');
          expect([message.content, fits(message.content!)]).toEqual([message.content, true]);
        }
        // The tags, and what closes them.
        expect(usage.reasoning_tokens).toBeLessThanOrEqual(3 * (thinking_budget + 6));
      }
  });

  test('reasoning that the model may begin or not: the budget closes it for good', async () => {
    await using kimi = await loadPocket({ loadFormat: 'dummy', reasoningParser: 'kimi' });
    // Its tag is three bytes here: a bias to the first one is a bias to thinking.
    const { tokens } = await kimi.tokenize({ prompt: '\u25c1' });
    const body: Chat = { messages: user('x'), regex: name, n: 6, seed: 9, max_tokens: 80, ...hot };
    const bias = { logit_bias: { [tokens[0]!]: 30 } };
    const free = await kimi.chatCompletions({ ...body, ...bias, stream: false });
    for (const { message, finish_reason } of free.choices) {
      expect(finish_reason).toBe('length');
      expect(message.reasoning_content!.length).toBeGreaterThan(6);
    }
    const limited = { ...body, ...bias, thinking_budget: 6, stream: false as const };
    for (const asked of [limited, { ...limited, regex: null, response_format: personFormat }])
      for (const { message, finish_reason } of (await kimi.chatCompletions(asked)).choices) {
        expect(finish_reason).toBe('stop');
        if (asked === limited) expect(message.content).toMatch(isName);
        else expect(JSON.parse(message.content!)).toHaveProperty('age');
        expect(message.reasoning_content).not.toBe('');
      }
    await settled(kimi);
  });

  test('a prompt that has closed it: the answer is constrained at once', async () => {
    const { choices, usage } = await chat({ ...capital, ...noThinking, regex: name });
    expect(choices[0]!.message.content).toMatch(isName);
    expect(usage.reasoning_tokens).toBe(0);
    const continued = await chat({
      messages: [...user('Hi'), { role: 'assistant', content: 'The' }],
      continue_final_message: true,
      regex: ' [a-z]{3}',
      ...noThinking,
    });
    expect(continued.choices[0]!.message.content).toMatch(/^ [a-z]{3}$/);
  });
});

describe('several answers', () => {
  test('n: each keeps to it by itself, and the same seed gives the same', async () => {
    const body: Text = {
      prompt: 'x',
      regex: '[a-z]{2,20}!',
      n: 12,
      seed: 4,
      max_tokens: 60,
      ...hot,
    };
    const { choices } = await complete(body);
    for (const { text, finish_reason } of choices) {
      expect(finish_reason).toBe('stop');
      expect(text).toMatch(/^[a-z]{2,20}!$/);
    }
    expect(new Set(choices.map(({ text }) => text)).size).toBeGreaterThan(4);
    expect((await complete(body)).choices).toEqual(choices);
  });

  test('best_of', async () => {
    const body: Text = { prompt: 'x', regex: '[a-z]{2,20}!', seed: 5, max_tokens: 60, ...hot };
    const { choices, usage } = await complete({ ...body, n: 2, best_of: 6 });
    expect(choices).toHaveLength(2);
    for (const { text } of choices) expect(text).toMatch(/^[a-z]{2,20}!$/);
    const all = (await complete({ ...body, n: 6 })).choices.map(({ text }) => text);
    for (const { text } of choices) expect(all).toContain(text);
    expect(usage.completion_tokens).toBeGreaterThan(12);
  });

  test('several prompts', async () => {
    const { choices } = await complete({ prompt: ['a', 'b', 'c'], regex: '\\d{3}', max_tokens: 9 });
    expect(choices.map(({ text }) => /^\d{3}$/.test(text))).toEqual([true, true, true]);
  });

  test('streams are what the whole answer is', async () => {
    for (const more of [{ regex: '(é|日|😀|a){3,9}\\.' }, { response_format: personFormat }]) {
      const body: Text = { prompt: 'x', n: 3, seed: 6, max_tokens: 80, ...hot, ...more };
      const { choices } = await complete(body);
      expect(await streamed(body)).toEqual(
        choices.map(({ text, finish_reason }) => ({ text, finish: finish_reason })),
      );
    }
  });
});

describe('where it ends', () => {
  test('max_tokens: length, and the beginning of something', async () => {
    const body: ConstraintRequest = { response_format: personFormat };
    for (let max_tokens = 1; max_tokens < 8; max_tokens++) {
      const { choices } = await complete({ prompt: 'x', ...body, max_tokens });
      expect(choices[0]!.finish_reason).toBe('length');
      const check = await engine.checkConstraint(body, choices[0]!.text);
      expect(check).toMatchObject({ accepted: true, complete: false });
      expect(check.failedAt).toBe(Buffer.byteLength(choices[0]!.text));
    }
  });

  test('a stop string', async () => {
    const body: Text = { prompt: 'x', regex: '[a-z]{3,6};[a-z]{3}', stop: ';', max_tokens: 30 };
    const [choice] = (await complete(body)).choices;
    expect(choice).toMatchObject({ finish_reason: 'stop', matched_stop: ';' });
    expect(choice!.text).toMatch(/^[a-z]{3,6}$/);
    const kept = await complete({ ...body, no_stop_trim: true });
    expect(kept.choices[0]!.text).toBe(`${choice!.text};`);
    expect(await streamed(body)).toEqual([{ text: choice!.text, finish: 'stop' }]);
  });

  test('a stop token, also one that the form asks for while min_tokens forbids it', async () => {
    const a = await firstId('a');
    const body: Text = { prompt: 'x', regex: 'b?a{3}', stop_token_ids: [a], max_tokens: 9 };
    const { choices } = await complete(body);
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', matched_stop: a });
    const forced = await complete({ ...body, regex: 'a{3}', min_tokens: 5, no_stop_trim: true });
    expect(forced.choices[0]!.finish_reason).toBe('stop');
    expect(forced.choices[0]!.text).toMatch(/^a{1,3}$/);
  });

  test('nothing follows a whole text, whatever the model would say', async () => {
    for (const more of [{}, { ignore_eos: true }, { min_tokens: 30 }]) {
      const body: Text = {
        prompt: 'x',
        regex: '(yes|no)\\.?',
        max_tokens: 40,
        n: 8,
        ...hot,
        seed: 7,
      };
      const { choices } = await random.completions({ ...body, ...more, stream: false });
      for (const { text, finish_reason } of choices) {
        expect(finish_reason).toBe('stop');
        expect(text).toMatch(/^(yes|no)\.?$/);
      }
    }
  });

  test('min_tokens: it goes on where it may', async () => {
    const body: Text = { prompt: 'x', regex: '[ab]{1,40}', logit_bias: { 2: 100 }, max_tokens: 60 };
    const { choices } = await complete(body);
    expect(choices[0]!.text).toMatch(/^[ab]+$/);
    const short = choices[0]!.text.length;
    expect(short).toBeLessThan(5);
    const least = await complete({ ...body, min_tokens: 12 });
    expect(least.usage.completion_tokens).toBeGreaterThanOrEqual(12);
    expect(least.choices[0]!.text).toMatch(/^[ab]{12,40}$/);
  });

  test('ignore_eos leaves the form whole', async () => {
    const body: Text = { prompt: 'x', regex: '[ab]{4,9}', ignore_eos: true, max_tokens: 60 };
    const { choices } = await complete({ ...body, logit_bias: { 2: 50 } });
    expect(choices[0]!.finish_reason).toBe('stop');
    expect(choices[0]!.text).toMatch(/^[ab]{4,9}$/);
  });

  test('max_tokens: 0 generates nothing', async () => {
    const { choices } = await complete({ prompt: 'x', regex: 'a', max_tokens: 0, echo: true });
    expect(choices[0]).toMatchObject({ text: 'x', finish_reason: 'length' });
  });
});

describe('sampling', () => {
  test('logprobs are of what is allowed', async () => {
    const [a, b] = [await firstId('a'), await firstId('b')];
    const body: Chat = {
      ...capital,
      ...noThinking,
      logprobs: true,
      return_token_ids: true,
      ...hot,
    };
    const { choices } = await chat({ ...body, regex: '[ab]', top_logprobs: 2, n: 20, seed: 8 });
    const seen = new Set<string>();
    for (const { logprobs, token_ids } of choices) {
      const [first] = logprobs!.content;
      expect([a, b]).toContain(token_ids![0]);
      expect(new Set(first!.top_logprobs.map(({ token }) => token))).toEqual(new Set(['a', 'b']));
      const sum = first!.top_logprobs.reduce((total, { logprob }) => total + Math.exp(logprob), 0);
      expect(sum).toBeCloseTo(1, 4);
      seen.add(first!.token);
    }
    expect(seen.size).toBeGreaterThan(0);
    // One thing alone can come: it is certain.
    const forced = await chat({ ...body, regex: '@', top_logprobs: 1 });
    expect(forced.choices[0]!.logprobs!.content[0]!.logprob).toBeCloseTo(0, 5);
  });

  test('a bias cannot bring in what is not allowed, nor forbid all that is', async () => {
    const all = Object.fromEntries(Array.from({ length: 1024 }, (_, i) => [i, -100]));
    const x = await firstId('x');
    for (const logit_bias of [all, { [x]: 100 }]) {
      const { choices } = await complete({
        prompt: 'x',
        regex: '[ab]{3}',
        logit_bias,
        max_tokens: 9,
      });
      expect(choices[0]!.text).toMatch(/^[ab]{3}$/);
    }
  });

  test('penalties, top_k and min_p choose among what is allowed', async () => {
    const body: Text = { prompt: 'x', regex: '[ab]{30}', max_tokens: 40, temperature: 0 };
    const [plain] = (await complete({ ...body, top_k: 1 })).choices;
    const [varied] = (await complete({ ...body, frequency_penalty: 2 })).choices;
    const [likely] = (await complete({ ...body, temperature: 1, min_p: 1 })).choices;
    for (const { text } of [plain!, varied!, likely!]) expect(text).toMatch(/^[ab]{30}$/);
    expect(new Set(varied!.text).size).toBe(2);
    expect(likely!.text).toBe(plain!.text);
  });
});

describe('in company', () => {
  test('forty mixed requests at once are what each is alone', async () => {
    const forms: Partial<Text & Chat>[] = [
      { regex: '[a-z]{4,30}' },
      {},
      { response_format: personFormat },
      { ebnf: 'root ::= ("(" root ")" | [xyz])+' },
      { response_format: { type: 'json_object' } },
    ];
    const ask = (i: number) => {
      const body = { ...forms[i % forms.length], max_tokens: 60, seed: i, ...hot } as Text & Chat;
      return i % 2 === 0
        ? engine.completions({ ...body, prompt: prompts[i % prompts.length]!, stream: false })
        : chat({ ...body, ...noThinking, messages: user(prompts[i % prompts.length]!) });
    };
    const together = await Promise.all(Array.from({ length: 40 }, (_, i) => ask(i)));
    for (let i = 0; i < 40; i++) {
      const alone = await ask(i);
      expect(together[i]!.choices).toEqual(alone.choices);
    }
  });

  test('abort, signals and leaving a stream, at any moment', async () => {
    const body: Text = { prompt: 'x', ebnf: 'root ::= [a-z] root', max_tokens: 900, ...hot };
    // Nothing ends that one.
    await expect(complete(body)).rejects.toMatchObject({ status: 400, param: 'ebnf' });
    const endless: Text = { ...body, ebnf: 'root ::= [a-z]{900}' };
    const outcomes = await Promise.allSettled(
      Array.from({ length: 30 }, async (_, i) => {
        const controller = new AbortController();
        setTimeout(() => controller.abort(), (i * 7) % 60);
        const options = { signal: controller.signal };
        return engine.completions({ ...endless, seed: i, stream: false }, options);
      }),
    );
    // The last to be given up may have ended by then on a fast machine.
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason.name).toBe('AbortError');
      else expect(outcome.value.choices[0]!.text).toMatch(/^[a-z]{900}$/);
    }
    expect(outcomes.some(({ status }) => status === 'rejected')).toBe(true);
    let text = '';
    let finish: string | null = null;
    let asked = false;
    for await (const { choices } of engine.completions({ ...endless, rid: 'mine', stream: true })) {
      if (!asked) expect(engine.abort('mine')).toBe(true);
      asked = true;
      text += choices[0]!.text;
      finish = choices[0]!.finish_reason ?? finish;
    }
    expect(finish).toBe('abort');
    expect(text).toMatch(/^[a-z]+$/);
    let seen = 0;
    for await (const _ of engine.completions({ ...endless, stream: true })) if (++seen === 5) break;
    expect(seen).toBe(5);
  });

  test('while it is compiled the signal counts too', async () => {
    const signal = AbortSignal.abort(new Error('never mind'));
    await expect(
      engine.completions({ prompt: 'x', regex: 'a', stream: false }, { signal }),
    ).rejects.toThrow('never mind');
    const controller = new AbortController();
    const asked = engine.completions(
      { prompt: 'x', regex: '[a-z]{900}', stream: false },
      { signal: controller.signal },
    );
    controller.abort(new Error('no longer'));
    await expect(asked).rejects.toThrow('no longer');
  });
});
