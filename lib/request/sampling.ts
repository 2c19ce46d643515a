/** From validated fields to what native code samples with. */
import { invalidRequest } from '../errors.js';
import type { NativeSamplingParams } from '../native.js';
import { type CommonFields, checkVocabulary } from './fields.js';
import { randomSeed, saltBits, sampleSeed } from './seed.js';

export interface SamplingDefaults {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  repetition_penalty?: number;
}

/** What a request is checked against. */
export interface ModelFacts {
  vocabSize: number;
  /** Prompt and generated tokens of one request. */
  maxModelLen: number;
  eosTokenIds: readonly number[];
  samplingDefaults: SamplingDefaults;
  captureRoutedExperts: boolean;
}

export interface Lengths {
  maxTokens: number;
  numLogprobs: number;
  numPromptLogprobs: number;
  shareGroup: number;
}

// Native code has 32 bits for each: what is beyond them means the same as their ends.
const maxFloat = 3.4028234663852886e38;
const minFloat = 1.1754943508222875e-38;
const maxInt = 2 ** 31 - 1;

/** Everything but the seed, which differs per sample. */
export function nativeParams(
  fields: CommonFields,
  facts: ModelFacts,
  lengths: Lengths,
): Omit<NativeSamplingParams, 'seed'> {
  const defaults = facts.samplingDefaults;
  const minTokens = fields.min_tokens ?? 0;
  if (minTokens > lengths.maxTokens) {
    throw invalidRequest(
      `min_tokens must be in [0, max_tokens(${lengths.maxTokens})], got ${minTokens}.`,
      'min_tokens',
    );
  }
  if (fields.stop_token_ids)
    checkVocabulary(fields.stop_token_ids, facts.vocabSize, 'stop_token_ids');
  const bias = logitBias(fields.logit_bias, facts.vocabSize);
  return {
    temperature: Math.min(fields.temperature ?? defaults.temperature ?? 1, maxFloat),
    topP: Math.max(fields.top_p ?? defaults.top_p ?? 1, minFloat),
    topK: Math.min(fields.top_k ?? defaults.top_k ?? -1, maxInt),
    minP: fields.min_p ?? defaults.min_p ?? 0,
    repetitionPenalty: Math.max(
      fields.repetition_penalty ?? defaults.repetition_penalty ?? 1,
      minFloat,
    ),
    frequencyPenalty: fields.frequency_penalty ?? 0,
    presencePenalty: fields.presence_penalty ?? 0,
    logitBiasTokens: bias && Int32Array.from(bias.keys()),
    logitBiasValues: bias && Float32Array.from(bias.values()),
    maxTokens: lengths.maxTokens,
    minTokens,
    // EOS ids are left out here, so that stop_token_ids end the answer all the same.
    ignoreEos: false,
    stopTokenIds: Int32Array.from(
      new Set([...(fields.ignore_eos ? [] : facts.eosTokenIds), ...(fields.stop_token_ids ?? [])]),
    ),
    numLogprobs: lengths.numLogprobs,
    numPromptLogprobs: lengths.numPromptLogprobs,
    returnRoutedExperts: wantsRoutedExperts(fields, facts),
    priority: fields.priority ?? 0,
    cacheSalt: saltBits((fields.cache_salt ?? '') + (fields.extra_key ?? '')),
    shareGroup: lengths.shareGroup,
    countedTokens: 0,
    grammar: null,
    grammarStart: '',
  };
}

export function seedOf(fields: CommonFields, sample: number): bigint {
  return fields.seed === undefined ? randomSeed() : sampleSeed(fields.seed, sample);
}

function logitBias(bias: Record<string, number> | undefined, vocabSize: number) {
  if (bias === undefined) return null;
  const entries = new Map<number, number>();
  for (const [key, value] of Object.entries(bias)) {
    const id = /^\d+$/.test(key) ? Number(key) : Number.NaN;
    if (!(id < vocabSize)) {
      throw invalidRequest(
        `logit_bias must have keys in [0, ${vocabSize - 1}], got ${key}. Keys are token ids of this ` +
          'model, such as tokenize() returns.',
        'logit_bias',
      );
    }
    entries.set(id, value);
  }
  return entries.size > 0 ? entries : null;
}

function wantsRoutedExperts(fields: CommonFields, facts: ModelFacts): boolean {
  if (!fields.return_routed_experts) return false;
  if (facts.captureRoutedExperts) return true;
  throw invalidRequest(
    'return_routed_experts needs an engine that keeps them, but this one does not: load it with ' +
      'captureRoutedExperts: true.',
    'return_routed_experts',
    'unsupported_value',
  );
}

/** How many tokens may be generated after a prompt of `promptLength`; the checks of both lengths. */
export function settleMaxTokens(
  promptLength: number,
  asked: { value: number; param: string } | undefined,
  maxModelLen: number,
  param: 'messages' | 'prompt',
): number {
  const room = maxModelLen - promptLength;
  const needed = asked === undefined ? 1 : Math.min(asked.value, 1);
  if (room < needed) {
    throw invalidRequest(
      `The input (${promptLength} tokens) is longer than the model's context length ` +
        `(${maxModelLen} tokens), which needs room for at least one token of the answer. Please ` +
        `reduce the length of the ${param}.`,
      param,
      'context_length_exceeded',
    );
  }
  if (asked === undefined) return room;
  if (asked.value > room) {
    throw invalidRequest(
      `Requested token count exceeds the model's maximum context length of ${maxModelLen} tokens. ` +
        `You requested a total of ${promptLength + asked.value} tokens: ${promptLength} tokens from ` +
        `the ${param} and ${asked.value} tokens for the completion. Please reduce the ${param} or ` +
        `${asked.param}.`,
      asked.param,
      'context_length_exceeded',
    );
  }
  return asked.value;
}
