/** Fields that both endpoints have, and those of OpenAI and SGLang that this engine does not have (yet). */
import type { z } from 'zod';
import { invalidRequest } from '../errors.js';
import { constraintShape } from './constraint.js';
import {
  boolean,
  closedObject,
  describe,
  integer,
  isObject,
  judged,
  number,
  optional,
  show,
  string,
  unknownField,
  wrongType,
  wrongValue,
} from './validate.js';

export const maxSamples = 128;
export const maxTopLogprobs = 20;
const maxStops = 64;

const texts = judged<string | string[]>((value) => {
  if (typeof value !== 'string' && !Array.isArray(value))
    return wrongType('a string or an array of strings');
  const stops = typeof value === 'string' ? [value] : value;
  if (stops.length > maxStops) {
    return {
      code: 'invalid_value',
      message: (param) => `${param} can have up to ${maxStops} strings, got ${stops.length}.`,
    };
  }
  const at = stops.findIndex((s) => typeof s !== 'string' || s === '');
  if (at < 0) return null;
  return {
    code: stops[at] === '' ? 'invalid_value' : 'invalid_type',
    message: (param) =>
      `${param} must be a non-empty string or an array of non-empty strings, got ` +
      `${stops[at] === '' ? 'an empty string' : describe(stops[at])}. Leave it out for none.`,
  };
});

const seed = judged<number | bigint>((value) => {
  if (typeof value === 'bigint') return null;
  if (typeof value !== 'number') return wrongType('an integer');
  return Number.isInteger(value) ? null : wrongType('an integer');
});

const logitBias = judged<Record<string, number>>((value) => {
  if (!isObject(value)) return wrongType('an object of token ids and numbers');
  for (const [key, bias] of Object.entries(value)) {
    if (typeof bias !== 'number')
      return {
        code: 'invalid_type',
        message: (p) =>
          `Invalid type for '${p}.${key}': expected a number, but got ${describe(bias)} instead.`,
      };
    if (!(bias >= -100 && bias <= 100))
      return {
        code: 'invalid_value',
        message: (p) => `${p} must have values in [-100, 100], got ${bias} for key ${key}.`,
      };
  }
  return null;
});

export const tokenIds = judged<number[]>((value) => {
  if (!Array.isArray(value)) return wrongType('an array of token ids');
  const at = value.findIndex((id) => !Number.isInteger(id));
  if (at < 0) return null;
  return {
    code: 'invalid_type',
    message: (p) =>
      `Invalid type for '${p}[${at}]': expected a token id (an integer), but got ${describe(value[at])} instead.`,
  };
});

const streamOptions = closedObject(
  {
    include_usage: optional(boolean),
    continuous_usage_stats: optional(boolean),
    include_obfuscation: optional(boolean),
  },
  'stream option',
);

export const inUnit = (x: number) => x >= 0 && x <= 1;
const penalty = number('in [-2, 2]', (x) => x >= -2 && x <= 2);

/** The five that generation_config.json may set; the engine's defaults are checked with them too. */
export const samplingDefaultsShape = {
  temperature: optional(number('a non-negative finite number', (x) => x >= 0)),
  top_p: optional(number('in (0, 1]', (x) => x > 0 && x <= 1)),
  top_k: optional(integer('-1 (disable) or at least 1', (x) => x === -1 || x >= 1)),
  min_p: optional(number('in [0, 1]', inUnit)),
  repetition_penalty: optional(number('in (0, 2] (1.0 = no penalty)', (x) => x > 0 && x <= 2)),
};

/** An adapter's name; a list has one per prompt, null for none. */
const loraPath = judged<string | (string | null)[]>((value) => {
  const list = Array.isArray(value) ? value : [value];
  return list.every((name) => typeof name === 'string' || (name === null && value !== null))
    ? null
    : wrongType('the name of an adapter or an array of names');
});

const customParams = closedObject(
  { thinking_budget: optional(integer('at least 0', (x) => x >= 0)) },
  'custom parameter',
);

export const commonShape = {
  ...samplingDefaultsShape,
  ...constraintShape,
  model: optional(string),
  frequency_penalty: optional(penalty),
  presence_penalty: optional(penalty),
  logit_bias: optional(logitBias),
  stop: optional(texts),
  stop_regex: optional(texts),
  stop_token_ids: optional(tokenIds),
  seed: optional(seed),
  n: optional(integer(`in [1, ${maxSamples}]`, (x) => x >= 1 && x <= maxSamples)),
  stream: optional(boolean),
  stream_options: streamOptions.nullish().transform((value) => value ?? undefined),
  ignore_eos: optional(boolean),
  min_tokens: optional(integer('at least 0', (x) => x >= 0)),
  skip_special_tokens: optional(boolean),
  no_stop_trim: optional(boolean),
  priority: optional(integer('a 32-bit integer', (x) => x === (x | 0))),
  cache_salt: optional(string),
  extra_key: optional(string),
  rid: optional(
    judged<string>((value) => {
      if (typeof value !== 'string') return wrongType('a string');
      return value !== '' && value.length <= 512 ? null : wrongValue('1 to 512 characters');
    }),
  ),
  lora_path: optional(loraPath),
  return_token_ids: optional(boolean),
  return_prompt_token_ids: optional(boolean),
  return_meta_info: optional(boolean),
  return_routed_experts: optional(boolean),
  routed_experts_start_len: optional(integer('at least 0', (x) => x >= 0)),
};

/** Of chat: completions have no reasoning to bound. */
export const thinkingShape = {
  thinking_budget: optional(integer('at least 0', (x) => x >= 0)),
  custom_params: customParams.nullish().transform((value) => value ?? undefined),
};

export type CommonFields = z.output<z.ZodObject<typeof commonShape>>;

/** OpenAI has them, and no value of theirs can change what is generated here. */
const withoutEffect = [
  'user',
  'metadata',
  'store',
  'service_tier',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'prompt_cache_options',
  'parallel_tool_calls',
];

/** Known elsewhere, not here: refused by name, except with a value that asks for nothing. */
const unsupported: Record<string, (value: unknown) => boolean> = {
  ...never(
    'audio function_call prediction web_search_options verbosity moderation reasoning_effort reasoning',
    'session_id session_params custom_params thinking_budget input_ids',
    'custom_logit_processor images_config task custom_labels bootstrap_host',
    'bootstrap_port bootstrap_room routed_dp_rank disagg_prefill_dp_rank data_parallel_rank',
    'max_dynamic_patch min_dynamic_patch use_audio_in_video',
  ),
  suffix: (value) => value === '',
  functions: (value) => Array.isArray(value) && value.length === 0,
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
  // Of completions, whose text is never taken apart: that is what false asks for.
  separate_reasoning: (value) => value === false,
  stream_reasoning: (value) => value === true,
  continue_final_message: (value) => value === false,
  return_hidden_states: (value) => value === false,
  return_cached_tokens_details: (value) => value === false,
};

function never(...names: string[]): Record<string, (value: unknown) => boolean> {
  return Object.fromEntries(names.flatMap((n) => n.split(' ')).map((n) => [n, () => false]));
}

/**
 * The body as an object with known fields only. Extra neutral fields are dropped; any other field is a 400
 * that names it.
 */
export function knownFields(
  body: unknown,
  shape: Record<string, unknown>,
): Record<string, unknown> {
  if (!isObject(body)) {
    throw invalidRequest(
      `The request must be an object, got ${describe(body)}. Pass the fields of an OpenAI request body.`,
      null,
      'invalid_type',
    );
  }
  const known: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(body)) {
    if (Object.hasOwn(shape, key)) known[key] = value;
    else if (value === undefined || withoutEffect.includes(key)) continue;
    else if (Object.hasOwn(unsupported, key)) {
      if (value === null || unsupported[key]!(value)) continue;
      throw unsupportedField(key, value);
    } else {
      const fault = unknownField(
        key,
        [...Object.keys(shape), ...withoutEffect],
        'request argument',
      );
      throw invalidRequest(fault.message(key, value), key, fault.code);
    }
  }
  return known;
}

function unsupportedField(key: string, value: unknown) {
  if (key === 'suffix') {
    return invalidRequest(
      'suffix is not supported: filling in the middle needs a template for it, and this model was loaded ' +
        'without one. Write the markers of the model into the prompt, or leave suffix out.',
      key,
      'unsupported_parameter',
    );
  }
  return invalidRequest(
    `Unsupported parameter: '${key}' is not supported by this engine, got ${show(value)}. Leave it out.`,
    key,
    'unsupported_parameter',
  );
}

/** Token ids that the model does not have are refused: native code would read past its tables. */
export function checkVocabulary(ids: ArrayLike<number>, vocabSize: number, param: string): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (id >= 0 && id < vocabSize) continue;
    throw invalidRequest(
      `${param}[${i}] must be a token id in [0, ${vocabSize - 1}], got ${id}. ` +
        'Use ids of this model, such as tokenize() returns.',
      `${param}[${i}]`,
    );
  }
}
