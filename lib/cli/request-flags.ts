/** The fields of a request as flags; what has none goes through --body. */
import type { Command } from 'commander';
import type { SamplingFields } from '../index.js';
import { UsageError } from './context.js';
import { addFlags, type Flag, readFlags } from './flags.js';

const samplingFlags = {
  temperature: {
    value: 'number',
    about: '0 is greedy',
    standard: "generation_config.json's, else 1",
  },
  top_p: { value: 'number', about: '(0, 1]', standard: "generation_config.json's, else 1" },
  top_k: {
    value: 'integer',
    about: 'the likeliest tokens that take part; -1 is all',
    standard: "generation_config.json's, else -1",
  },
  min_p: {
    value: 'number',
    about: "[0, 1], relative to the likeliest token's probability",
    standard: "generation_config.json's, else 0",
  },
  frequency_penalty: { value: 'number', about: '[-2, 2]', standard: '0' },
  presence_penalty: { value: 'number', about: '[-2, 2]', standard: '0' },
  repetition_penalty: {
    value: 'number',
    about: '(0, 2]',
    standard: "generation_config.json's, else 1",
  },
  seed: { value: 'integer', about: 'the same seed gives the same text', standard: 'random' },
  stop: { value: 'texts', about: 'a text that ends generation; may be given again' },
  stop_token_ids: { value: 'integers', about: 'token ids that end generation' },
  min_tokens: { value: 'integer', about: 'tokens before the text may end', standard: '0' },
  ignore_eos: { value: 'boolean', about: "do not end at the model's end of text" },
  skip_special_tokens: {
    value: 'boolean',
    about: 'leave special tokens out of the text',
    standard: true,
  },
} satisfies Partial<Record<keyof SamplingFields, Flag>>;

export function requestFlags(maxTokens: string) {
  return {
    max_tokens: { value: 'integer', about: 'tokens of one answer', standard: maxTokens },
    ...samplingFlags,
    body: { value: 'json', about: 'further fields of the request, such as {"logprobs": 2}' },
  } satisfies Record<string, Flag>;
}

export type RequestTable = ReturnType<typeof requestFlags>;

export function addRequestFlags(command: Command, table: RequestTable): void {
  addFlags(command, table, 'Request options:');
}

/** The fields of the request that the flags set. `taken`: those that the command itself sets. */
export function readRequestFlags(
  table: RequestTable,
  options: Record<string, unknown>,
  taken: readonly string[],
): Record<string, unknown> {
  const { body = {}, ...fields } = readFlags(table, options);
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new UsageError('--body: expected a JSON object with fields of a request.');
  for (const name of Object.keys(body))
    if (taken.includes(name))
      throw new UsageError(`--body: '${name}' is set by the command itself. Leave it out.`);
  return { ...body, ...fields };
}
