/**
 * Rows 5, 20 and 25 to 30 of SGLang's tests: answers that keep to a form. Texts are bounded
 * by the forms themselves, because a model this small goes on where a larger one would end.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, user } from '../pocket.js';
import { greeting, joinChat, joinTexts, noThinking, story, sum } from './helpers.js';
import { type ChatBody, type CompletionBody, overBoth, type Transport } from './transports.js';

const extract = {
  messages: user('Extract the person as JSON: Ada lives in Paris and is 31.'),
  max_tokens: 300,
  ...noThinking,
};
const capital = {
  messages: user('What is the capital of France?'),
  max_tokens: 300,
  ...noThinking,
};

const person = {
  type: 'object',
  properties: {
    name: { type: 'string', pattern: '^[A-Za-z]{1,12}$' },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    city: { type: 'string', maxLength: 16 },
  },
  required: ['name', 'age', 'city'],
  additionalProperties: false,
};
const isPerson = new Ajv2020().compile(person);
const personFormat = {
  type: 'json_schema' as const,
  json_schema: { name: 'person', schema: person, strict: true },
};

const whole = (pattern: string) => new RegExp(`^(?:${pattern})$`, 'u');

/** The content, checked to be the same in a stream. */
async function contentOf(surface: Transport, body: ChatBody): Promise<string> {
  const [choice] = (await surface.chat(body)).choices;
  expect(choice!.finish_reason).toBe('stop');
  const [streamed] = joinChat(await collect(surface.chatStream(body)));
  expect(streamed).toMatchObject({
    content: choice!.message.content,
    finishes: ['stop'],
    matchedStop: choice!.matched_stop,
  });
  return choice!.message.content;
}

async function textOf(surface: Transport, body: CompletionBody): Promise<string> {
  const [choice] = (await surface.complete(body)).choices;
  expect(choice!.finish_reason).toBe('stop');
  const [streamed] = joinTexts(await collect(surface.completeStream(body)));
  expect(streamed).toMatchObject({ text: choice!.text, finishes: ['stop'] });
  return choice!.text;
}

overBoth((surface, parts) => {
  test('row 5: a regex of two fields', async () => {
    const regex = '\\{\\n   "name": "[\\w ]{1,16}",\\n   "population": [\\d]{1,9}\\n\\}';
    for (const text of [
      await contentOf(surface, { ...capital, regex }),
      await textOf(surface, { prompt: 'The capital of France is', max_tokens: 200, regex }),
    ]) {
      expect(text).toMatch(whole(regex));
      const { name, population } = JSON.parse(text) as Record<string, unknown>;
      expect(name).toBeTypeOf('string');
      expect(Number.isInteger(population)).toBe(true);
    }
  });

  test('row 20: logprobs are those of what may be said', async () => {
    const forms = [' Yes', ' No'];
    const { choices } = await surface.complete({
      ...story,
      regex: '( Yes| No)',
      logprobs: 20,
      temperature: 1,
      seed: 1,
    });
    expect(forms).toContain(choices[0]!.text);
    const [first] = choices[0]!.logprobs!.top_logprobs;
    let total = 0;
    for (const [token, logprob] of Object.entries(first!)) {
      if (logprob <= -9999) continue;
      expect(forms.some((form) => form.startsWith(token))).toBe(true);
      total += Math.exp(logprob);
    }
    expect(total).toBeCloseTo(1, 3);
  });

  describe('row 25: json_object', () => {
    test('where the question asks for it', async () => {
      const body = { ...extract, response_format: { type: 'json_object' as const } };
      expect(JSON.parse(await contentOf(surface, body))).toMatchObject({ name: 'Ada', age: 31 });
    });

    test('cut off it says length, and is the beginning of an object', async () => {
      const body = { ...extract, response_format: { type: 'json_object' as const }, max_tokens: 6 };
      const [choice] = (await surface.chat(body)).choices;
      expect(choice).toMatchObject({ finish_reason: 'length', matched_stop: null });
      expect(choice!.message.content).toMatch(/^\s*\{/);
    });

    test('where the question says nothing of it', async () => {
      const body: ChatBody = { ...capital, response_format: { type: 'json_object' } };
      const { choices } = await surface.chat({ ...body, n: 4, temperature: 1, seed: 2 });
      for (const { message, finish_reason } of choices) {
        expect(message.content).toMatch(/^\s*\{/);
        if (finish_reason === 'stop') expect(JSON.parse(message.content)).toBeTypeOf('object');
        else expect(() => JSON.parse(message.content)).toThrow(SyntaxError);
      }
    });
  });

  describe('row 26: a JSON Schema', () => {
    test('with a pattern and an integer', async () => {
      const content = await contentOf(surface, { ...extract, response_format: personFormat });
      expect(JSON.parse(content)).toEqual({ name: 'Ada', age: 31, city: 'Paris' });
    });

    test('keeps every sample of a hot model to it', async () => {
      const body: ChatBody = { ...capital, response_format: personFormat };
      const { choices } = await surface.chat({ ...body, n: 6, temperature: 2, seed: 3 });
      for (const { message, finish_reason } of choices) {
        expect(finish_reason).toBe('stop');
        expect(isPerson(JSON.parse(message.content))).toBe(true);
      }
    });

    test('in its other spellings', async () => {
      const short = { type: 'json_schema' as const, schema: person };
      expect(
        isPerson(JSON.parse(await contentOf(surface, { ...capital, response_format: short }))),
      ).toBe(true);
      for (const json_schema of [person, JSON.stringify(person)])
        expect(
          isPerson(
            JSON.parse(await textOf(surface, { prompt: 'x', max_tokens: 300, json_schema })),
          ),
        ).toBe(true);
    });

    test('forty at once, some with a form, some without: each is as it is alone', async () => {
      const kinds: ChatBody[] = [
        { ...extract, response_format: personFormat },
        { ...greeting },
        { ...capital, regex: '[A-Z][a-z]{2,8}', temperature: 1, seed: 4 },
        { ...capital, response_format: personFormat, temperature: 1, seed: 5 },
        { ...capital },
      ];
      const alone = [];
      for (const body of kinds) alone.push((await surface.chat(body)).choices);
      const all = await Promise.all(
        Array.from({ length: 40 }, (_, i) => surface.chat(kinds[i % kinds.length]!)),
      );
      for (const [i, { choices }] of all.entries()) expect(choices).toEqual(alone[i % 5]);
    });
  });

  describe('row 27: regexes, of every sample', () => {
    const byte = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
    test.each([
      '(Hello|Hi|Hey)( there| everyone)?[.!]',
      `(${byte}\\.){3}${byte}`,
      '[a-z0-9._%+-]{1,12}@[a-z0-9-]{1,10}\\.(com|org|net)',
      '\\+1 \\(\\d{3}\\) \\d{3}-\\d{4}',
      '20\\d{2}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])',
      '#[0-9a-fA-F]{6}',
      '(["\'])?[a-z]{2,4}(["\'])?;{0,2}',
      '[äöüß€]{3,5}\\n?',
    ])('%s', async (regex) => {
      const body = { ...capital, regex, n: 3, temperature: 1, seed: 6 };
      const { choices } = await surface.chat(body);
      const streamed = joinChat(await collect(surface.chatStream(body)));
      expect(choices).toHaveLength(3);
      for (const [i, { message, finish_reason }] of choices.entries()) {
        expect(finish_reason).toBe('stop');
        expect(message.content).toMatch(whole(regex));
        expect(streamed[i]!.content).toBe(message.content);
      }
    });
  });

  describe('row 28: EBNF, of every sample, with nothing behind it', () => {
    test.each<[name: string, ebnf: string, language: string]>([
      ['a choice', 'root ::= "Hello" | "Hi" | "Hey"', 'Hello|Hi|Hey'],
      ['a sequence of rules', 'root ::= a " " b\na ::= "one" | "two"\nb ::= "x"', '(one|two) x'],
      ['a class with counts', 'root ::= [0-9]{3} "-" [0-9]{4}', '\\d{3}-\\d{4}'],
      ['a negated class', 'root ::= "<" [^<>\\n]{1,8} ">"', '<[^<>\\n]{1,8}>'],
      [
        'sums',
        'root ::= term (("+" | "-") term){0,3}\nterm ::= [1-9] [0-9]? | "(" [a-c] ")"',
        '([1-9]\\d?|\\([a-c]\\))([+-]([1-9]\\d?|\\([a-c]\\))){0,3}',
      ],
      ['an optional end', 'root ::= ("ab"){1,3} "c"?  # and no more', '(ab){1,3}c?'],
      [
        'JSON of one field',
        'root ::= "{\\"city\\": \\"" name "\\"}"\nname ::= [A-Z] [a-z]{1,9}',
        '\\{"city": "[A-Z][a-z]{1,9}"\\}',
      ],
      ['lines', 'root ::= line{2}\nline ::= "- " [a-z]{1,6} "\\n"', '(- [a-z]{1,6}\\n){2}'],
      ['characters of several bytes', 'root ::= ("日" | "本" | "é" | "😀"){2,4}', '[日本é😀]{2,4}'],
    ])('%s', async (_, ebnf, language) => {
      const body = { ...capital, ebnf, n: 4, temperature: 1, seed: 7 };
      for (const { message, finish_reason } of (await surface.chat(body)).choices) {
        expect(finish_reason).toBe('stop');
        expect(message.content).toMatch(whole(language));
      }
      const text = await textOf(surface, { ...story, ebnf });
      expect(text).toMatch(whole(language));
    });
  });

  describe('row 29: structural tags', () => {
    test('a constant that is false, to the letter', async () => {
      const value = 'The capital of France is Rome, and water is dry.';
      const format = { type: 'const_string', value };
      const response_format = { type: 'structural_tag' as const, format };
      expect(await contentOf(surface, { ...capital, response_format })).toBe(value);
    });

    test('a schema', async () => {
      const format = { type: 'json_schema', json_schema: person };
      const response_format = { type: 'structural_tag' as const, format };
      const content = await contentOf(surface, { ...extract, response_format });
      expect(isPerson(JSON.parse(content))).toBe(true);
    });

    test('free text up to a trigger, in the older form', async () => {
      const body: ChatBody = {
        ...capital,
        response_format: {
          type: 'structural_tag',
          structures: [
            { begin: 'The capital of France is ', schema: { enum: ['Rome'] }, end: '!' },
          ],
          triggers: ['The capital of'],
        },
      };
      const [choice] = (await surface.chat(body)).choices;
      expect(choice!.message.content).toMatch(/^The capital of France is "Rome"!/);
    });
  });

  describe('row 30: a schema and reasoning', () => {
    const body: ChatBody = {
      messages: extract.messages,
      max_tokens: 400,
      response_format: personFormat,
      n: 2,
      temperature: 0.5,
      seed: 8,
    };

    test.each([true, false])('thinking %s: the answer fits, the thinking is free', async (on) => {
      const asked = { ...body, chat_template_kwargs: { enable_thinking: on } };
      const { choices } = await surface.chat(asked);
      const streamed = joinChat(await collect(surface.chatStream(asked)));
      expect(choices).toHaveLength(2);
      for (const [i, { message, finish_reason }] of choices.entries()) {
        expect(finish_reason).toBe('stop');
        expect(isPerson(JSON.parse(message.content))).toBe(true);
        expect(message.content).not.toMatch(/think>/);
        expect(Boolean(message.reasoning_content)).toBe(on);
        expect(streamed[i]).toMatchObject({
          content: message.content,
          reasoning: message.reasoning_content ?? '',
        });
      }
    });

    test('a thinking budget and a schema', async () => {
      const { usage, choices } = await surface.chat({ ...sum, ...body, n: 1, thinking_budget: 5 });
      expect(isPerson(JSON.parse(choices[0]!.message.content))).toBe(true);
      expect(usage.reasoning_tokens).toBeGreaterThan(0);
    });
  });

  describe('what cannot be is a 400 before anything is generated', () => {
    const broken = { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'hat' } } };
    const nothing = { type: 'json_schema', json_schema: { name: 'x', schema: { enum: [] } } };
    test.each<[string, Record<string, unknown>, param: string]>([
      ['a schema that is none', { response_format: broken }, 'response_format'],
      ['a schema that nothing fits', { response_format: nothing }, 'response_format'],
      [
        'a format without a schema',
        { response_format: { type: 'json_schema' } },
        'response_format',
      ],
      ['a format that nobody has', { response_format: { type: 'yaml' } }, 'response_format'],
      ['a regex that is none', { regex: '(a' }, 'regex'],
      ['a regex with a lookahead', { regex: '(?=a)a' }, 'regex'],
      ['an EBNF that is none', { ebnf: 'root ::= (' }, 'ebnf'],
      ['an EBNF without a root', { ebnf: 'start ::= "a"' }, 'ebnf'],
      ['an EBNF that never ends', { ebnf: 'root ::= "a" root' }, 'ebnf'],
      ['two forms', { regex: 'a', ebnf: 'root ::= "a"' }, 'ebnf'],
    ])('%s', async (_, more, param) => {
      const before = parts().engine.stats().generatedTokens;
      for (const stream of [false, true])
        await expect(surface.raw('chat', { ...greeting, ...more, stream })).rejects.toMatchObject({
          status: 400,
          param: expect.stringMatching(new RegExp(`^${param}`)),
          message: expect.stringMatching(/\w+ \w+/),
        });
      expect(parts().engine.stats().generatedTokens).toBe(before);
    });
  });
});
