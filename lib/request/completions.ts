/** The completions body, and those of tokenize and detokenize. */
import { z } from 'zod';
import { invalidRequest } from '../errors.js';
import { commonShape, knownFields, maxSamples, maxTopLogprobs, tokenIds } from './fields.js';
import {
  addFault,
  boolean,
  describe,
  integer,
  judged,
  optional,
  parse,
  string,
  wrongType,
} from './validate.js';

/** One prompt: text to encode, or ids as they are. */
export type Prompt = string | number[];

const completionShape = {
  // Checked in `prompts`, which also says what kind of list it is.
  prompt: judged<unknown>((value) =>
    typeof value === 'string' || Array.isArray(value)
      ? null
      : wrongType('a string, an array of strings, an array of token ids or an array of those'),
  ),
  max_tokens: optional(integer('at least 0', (x) => x >= 0)),
  logprobs: optional(integer(`in [0, ${maxTopLogprobs}]`, (x) => x >= 0 && x <= maxTopLogprobs)),
  echo: optional(boolean),
  best_of: optional(integer(`in [1, ${maxSamples}]`, (x) => x >= 1 && x <= maxSamples)),
  ...commonShape,
};

const completionSchema = z.object(completionShape).superRefine((value, ctx) => {
  if (value.max_tokens === 0 && !value.echo)
    addFault(
      ctx,
      {
        code: 'invalid_value',
        message: (param) => `${param} must be positive, got 0. Only with echo: true may it be 0.`,
      },
      ['max_tokens'],
    );
});

export type CompletionFields = z.output<typeof completionSchema> & { prompts: Prompt[] };

export function parseCompletion(body: unknown): CompletionFields {
  const fields = parse(completionSchema, knownFields(body, completionShape));
  const { best_of: bestOf, n = 1 } = fields;
  if (bestOf !== undefined && bestOf < n)
    throw invalidRequest(
      `best_of must be at least n (${n}), got ${bestOf}: n of best_of samples are returned.`,
      'best_of',
    );
  if (bestOf !== undefined && bestOf > n && fields.stream)
    throw invalidRequest(
      `best_of must equal n (${n}) with stream: true, got ${bestOf}: which samples are the best is known at ` +
        'their end only.',
      'best_of',
      'unsupported_value',
    );
  return { ...fields, prompts: prompts(fields.prompt) };
}

/** How many are generated per prompt; n of them are returned. */
export function samplesOf(fields: CompletionFields): number {
  return fields.best_of ?? fields.n ?? 1;
}

function prompts(prompt: unknown): Prompt[] {
  if (typeof prompt === 'string') return [nonEmpty(prompt, 'prompt')];
  const list = prompt as unknown[];
  if (list.length === 0) throw emptyPrompt('prompt');
  const kind = kindOf(list[0]);
  if (kind === null) throw wrongElement(list, 0, 'a string, a token id or an array of token ids');
  const other = list.findIndex((element) => kindOf(element) !== kind);
  if (other >= 0)
    throw wrongElement(list, other, `${names[kind]}, as prompt[0] is: the kinds cannot be mixed`);
  if (kind === 'id') return [list as number[]];
  return list.map((element, i) => {
    if (kind === 'text') return nonEmpty(element as string, `prompt[${i}]`);
    const ids = element as unknown[];
    if (ids.length === 0) throw emptyPrompt(`prompt[${i}]`);
    const bad = ids.findIndex((id) => kindOf(id) !== 'id');
    if (bad >= 0) throw wrongElement(ids, bad, 'a token id (an integer)', `prompt[${i}]`);
    return ids as number[];
  });
}

const names = { text: 'a string', id: 'a token id', ids: 'an array of token ids' };

function kindOf(element: unknown): 'text' | 'id' | 'ids' | null {
  if (typeof element === 'string') return 'text';
  if (Number.isInteger(element)) return 'id';
  return Array.isArray(element) ? 'ids' : null;
}

function wrongElement(list: unknown[], at: number, expected: string, param = 'prompt') {
  return invalidRequest(
    `Invalid type for '${param}[${at}]': expected ${expected}, but got ${describe(list[at])} instead.`,
    `${param}[${at}]`,
    'invalid_type',
  );
}

function nonEmpty(text: string, param: string): string {
  if (text === '') throw emptyPrompt(param);
  return text;
}

function emptyPrompt(param: string) {
  return invalidRequest(
    'Prompt cannot be empty: pass at least one character or one token id.',
    param,
  );
}

/** Clients name a model here too; it changes nothing. */
const model = optional(string);

const tokenizeShape = { model, prompt: string, add_special_tokens: optional(boolean) };
const tokenizeSchema = z.object(tokenizeShape);

export function parseTokenize(body: unknown) {
  return parse(tokenizeSchema, knownFields(body, tokenizeShape));
}

const detokenizeShape = { model, tokens: tokenIds, skip_special_tokens: optional(boolean) };
const detokenizeSchema = z.object(detokenizeShape);

export function parseDetokenize(body: unknown) {
  return parse(detokenizeSchema, knownFields(body, detokenizeShape));
}
