/** Published chat templates against Python's jinja2 and against the vectors of two other projects. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  ChatTemplate,
  type ChatTemplateMessage,
  type RenderOptions,
} from '../../lib/text/template.js';
import answersFile from '../golden/chat-templates/answers.json' with { type: 'json' };
import { hasShared, sharedFolder } from './text-fixtures.js';

/** The clock of make.py and of the vectors: some templates write the date. */
beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date(2025, 6, 10, 12) });
});
afterAll(() => {
  vi.useRealTimers();
});

interface Case {
  messages: ChatTemplateMessage[];
  tools?: unknown[];
  add_generation_prompt?: boolean;
  kwargs?: Record<string, unknown>;
}
const { cases, answers } = answersFile as {
  cases: Record<string, Case>;
  answers: Record<string, Record<string, string>>;
};

const optionsOf = ({ add_generation_prompt, tools, kwargs }: Case): RenderOptions => ({
  addGenerationPrompt: add_generation_prompt ?? true,
  tools,
  kwargs,
});

const everyCase = Object.keys(cases);
const toolCases = ['tools', 'tool_result'];
/** Where @huggingface/jinja does not do what Python's jinja2 does: template -> cases and why. */
const knownDifferences: Record<string, { cases: string[]; error: RegExp | null }> = {
  // The filter `string` on an object.
  'Apriel-1.6-15b-Thinker-fixed': { cases: toolCases, error: /Unknown ObjectValue filter: string/ },
  'unsloth-Apriel-1.5': { cases: toolCases, error: /Unknown ObjectValue filter: string/ },
  // A dict with integer keys.
  'ByteDance-Seed-OSS': { cases: everyCase, error: /Object keys must be strings/ },
  // `trim` of an undefined value, which is the empty string in Python.
  'NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use': {
    cases: toolCases,
    error: /Cannot apply filter "trim" to type: UndefinedValue/,
  },
  'NousResearch-Hermes-3-Llama-3.1-8B-tool_use': {
    cases: toolCases,
    error: /Cannot apply filter "trim" to type: UndefinedValue/,
  },
  // `selectattr` of none (lazy in Python, never run there without tools).
  'meetkai-functionary-medium-v3.1': {
    cases: everyCase.filter((name) => !toolCases.includes(name)),
    error: /Cannot apply filter "selectattr" to type: NullValue/,
  },
  // `items()` of a dict, unpacked in a loop over a filter's result.
  'meetkai-functionary-medium-v3.2': {
    cases: ['tools'],
    error: /Cannot unpack non-iterable type: TupleValue/,
  },
  // The filter `min`.
  'openbmb-MiniCPM5-1B': { cases: ['tool_result'], error: /Unknown ArrayValue filter: min/ },
  // A method of str that is missing.
  'tencent-Hy3': { cases: everyCase, error: /Cannot call something that is not a function/ },
};
/** Both render, differently. */
const knownTexts: Record<string, string[]> = {
  // Backslashes in a string literal of the template.
  'meetkai-functionary-medium-v3.1': toolCases,
  // Python raises where a string is added to an undefined value; here it is the empty string.
  'llama-cpp-deepseek-r1': toolCases,
};

describe.runIf(hasShared)('against Python jinja2', () => {
  const folder = join(sharedFolder, 'data/chat-templates');

  it('has an answer for every template', () => {
    const names = readdirSync(folder).map((name) => name.replace(/\.jinja$/, ''));
    expect(names.sort()).toEqual(Object.keys(answers).sort());
  });

  it.each(Object.keys(answers))('%s', (name) => {
    const template = new ChatTemplate(readFileSync(join(folder, `${name}.jinja`), 'utf8'), {
      bosToken: '<s>',
      eosToken: '</s>',
    });
    const outcome = (key: string): { answer: string; message: string } => {
      const { messages, ...rest } = cases[key]!;
      try {
        const text = template.render(messages, optionsOf({ messages, ...rest }));
        return {
          answer: createHash('sha256').update(text).digest('hex').slice(0, 16),
          message: '',
        };
      } catch (error) {
        return { answer: 'error', message: (error as Error).message };
      }
    };
    for (const key of everyCase) {
      const { answer, message } = outcome(key);
      const expected = answers[name]![key];
      const known = knownDifferences[name];
      if (known?.cases.includes(key)) {
        // A difference that is gone should leave the list.
        expect(answer, key).toBe('error');
        expect(message, key).toMatch(known.error!);
      } else if (knownTexts[name]?.includes(key)) {
        expect(answer, key).not.toBe(expected);
      } else {
        expect(`${key}: ${answer}`, message).toBe(`${key}: ${expected}`);
      }
    }
  });
});

interface Vector {
  chat_template: string;
  data: Case & Record<string, unknown>;
  target: string;
}

describe.runIf(hasShared)('against the vectors of huggingface.js', () => {
  const file = hasShared
    ? JSON.parse(readFileSync(join(sharedFolder, 'data/vectors/hf-jinja-e2e.json'), 'utf8'))
    : {};
  const vectors: Record<string, Vector> = {
    ...file.TEST_DEFAULT_TEMPLATES,
    ...file.TEST_CUSTOM_TEMPLATES,
  };

  it.each(Object.keys(vectors))('%s', (name) => {
    const { chat_template: source, data, target } = vectors[name]!;
    const { messages, tools, add_generation_prompt, bos_token, eos_token, ...kwargs } = data;
    // Jamba's vector leaves add_generation_prompt undefined, which its template takes for true; here as in
    // transformers it is always given.
    const undefinedIsTrue = name === 'ai21labs/AI21-Jamba-Large-1.6';
    const template = new ChatTemplate(source, {
      bosToken: (bos_token as string | undefined) ?? null,
      eosToken: (eos_token as string | undefined) ?? null,
    });
    const addGenerationPrompt = add_generation_prompt ?? undefinedIsTrue;
    expect(template.render(messages, { addGenerationPrompt, tools, kwargs })).toBe(target);
  });
});

interface LlamaCppCase {
  name: string;
  template: string;
  expected_builtin: string;
  expected_jinja: string;
  bos_token: string;
  eos_token: string;
  extra: ChatTemplateMessage[];
}

/** llama.cpp moves a system message that the template does not know into the first user message. */
const ownSystemRule: Record<string, RegExp | null> = {
  'mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt)': /must alternate/,
  'google/gemma-7b-it': /System role not supported/,
  'OrionStarAI/Orion-14B-Chat': null,
  'Phi-3-mini': null,
  'Phi-3-medium': null,
  'yandex/YandexGPT-5-Lite-8B-instruct': null,
};
/** Not supported by llama.cpp's Jinja either: an integer index into an object. */
const unsupported = 'ai-sage/GigaChat-20B-A3B-instruct';

describe.runIf(hasShared)('against the vectors of llama.cpp', () => {
  const file: { conversation: ChatTemplateMessage[]; cases: LlamaCppCase[] } = hasShared
    ? JSON.parse(
        readFileSync(join(sharedFolder, 'data/vectors/llamacpp-chat-template.json'), 'utf8'),
      )
    : { conversation: [], cases: [] };

  it.each(file.cases)('$name', (vector) => {
    const template = new ChatTemplate(vector.template, {
      bosToken: vector.bos_token,
      eosToken: vector.eos_token,
    });
    const render = (messages: ChatTemplateMessage[]) =>
      template.render([...messages, ...vector.extra], { addGenerationPrompt: true });
    if (vector.name === unsupported) {
      expect(() => render(file.conversation)).toThrow(/non-string: got IntegerValue/);
      return;
    }
    const expected = vector.expected_jinja || vector.expected_builtin;
    const refusal = ownSystemRule[vector.name];
    if (refusal === undefined) {
      expect(render(file.conversation)).toBe(expected);
      return;
    }
    if (refusal) expect(() => render(file.conversation)).toThrow(refusal);
    // The same conversation with the system message moved by hand gives the same text.
    const [system, first, ...rest] = file.conversation;
    const joined = { role: 'user', content: `${system!.content}\n${first!.content}` };
    expect(render([joined, ...rest])).toBe(expected);
  });
});
