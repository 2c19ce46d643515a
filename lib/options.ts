/** The options of `Engine.load`: what they mean, and that nothing else is passed. */
import { z } from 'zod';
import { invalidRequest } from './errors.js';
import { reasoningParserName } from './parse/reasoning/index.js';
import { toolParserName } from './parse/tools/index.js';
import {
  type ReasoningParserName,
  reasoningParserNames,
  type ToolParserName,
  toolParserNames,
} from './parse/types.js';
import { suggestion } from './request/nearest.js';
import {
  boolean,
  describe,
  integer,
  isObject,
  isSignal,
  judged,
  number,
  oneOf,
  parse,
  record,
  show,
  string,
  wrongType,
  wrongValue,
} from './request/validate.js';
import type { LoadProgress, WeightDtype } from './weights/index.js';

/** Where the engine writes what it has to say; nothing is written without one. `console` fits. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
}

/** A parser's name in any case, which types cannot say, or what stands for one. */
export type ParserOption<Name extends string> = Name | 'auto' | 'none' | (string & {});

export interface LoadOptions {
  /**
   * Where the model runs. 'auto' takes the first CUDA device that can be used, else the CPU; a device that
   * is asked for and cannot be used is an error, never another device. Default 'auto'.
   */
  device?: 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;
  /** CPU threads; 0 is as many as the process may use. Default 0. */
  numThreads?: number;
  /** Sequences that generate at a time; further requests wait. Default 64, on CUDA 256. */
  maxRunningSeqs?: number;
  /**
   * Tokens of one step over all sequences; longer prompts are cut into chunks. Default 512, on CUDA 8192.
   */
  maxBatchTokens?: number;
  /**
   * Prompt and generated tokens of one request. Default: what the checkpoint is made for, or what the KV
   * cache holds, whichever is less; on CUDA at most 32768.
   */
  maxModelLen?: number;
  /**
   * Size of the KV cache in bytes. Default on the CPU: room for four sequences of maxModelLen tokens, at
   * least 64 MiB, at most half of the free memory. Default on CUDA: `kvCacheMemoryShare`.
   */
  kvCacheBytes?: number;
  /**
   * Size of the KV cache as a share (0, 1] of the memory that is free once the weights (and on CUDA all
   * working memory) are in place. Default on CUDA 0.9.
   */
  kvCacheMemoryShare?: number;
  /** Default 'auto': the dtype of the weights; on CUDA `computeDtype`. */
  kvCacheDtype?: 'auto' | 'f32' | 'f16' | 'bf16';
  /**
   * CUDA: dtype of what flows between layers; sums are in f32 always. The CPU computes in f32 whatever is
   * said. Default 'auto': the dtype of the weights.
   */
  computeDtype?: 'auto' | 'f32' | 'f16' | 'bf16';
  /** Tokens per block of the KV cache. Default 16. */
  blockSize?: number;
  /** Requests reuse the KV cache of equal beginnings of earlier ones. Default true. */
  prefixCaching?: boolean;
  /** Keep which experts every token went to, for `return_routed_experts`. Default false. */
  captureRoutedExperts?: boolean;
  /** 'dummy': random weights from config.json alone, for measuring. Default 'auto': the checkpoint's. */
  loadFormat?: 'auto' | 'dummy';
  /** Of dummy weights; checkpoints keep theirs. Default: what config.json says. */
  dtype?: WeightDtype;
  /** Jinja source that replaces the checkpoint's chat template. */
  chatTemplate?: string;
  /** Variables of the chat template that requests need not set, such as `{ enable_thinking: false }`. */
  chatTemplateKwargs?: Record<string, unknown>;
  /**
   * How the model marks its reasoning: 'deepseek-r1', 'deepseek-v3', 'qwen3', 'qwen3-thinking', 'kimi', 'kimi_k2'
   * or 'gpt-oss', in any case. 'none' leaves it in the content. Default 'auto': from the chat template.
   */
  reasoningParser?: ParserOption<ReasoningParserName>;
  /**
   * How the model writes tool calls: 'hermes' (also 'qwen', 'qwen25'), 'qwen3-coder', 'llama3', 'mistral',
   * 'deepseek-v3', 'deepseek-v3.1', 'kimi_k2' or 'gpt-oss', in any case. 'none' leaves them in the content.
   * Default 'auto': from the chat template.
   */
  toolParser?: ParserOption<ToolParserName | 'qwen' | 'qwen25'>;
  /**
   * Whitespace of constrained JSON. Default 'line': one space, or none, behind each comma and colon, as models write
   * JSON in one line. 'any': wherever JSON may have it, up to 64 characters at once.
   */
  jsonWhitespace?: 'line' | 'any';
  /**
   * Text that a constraint leaves no choice about goes into the answer without being drawn, in fewer steps; cut into the
   * longest tokens, which need not be those that the model would have chosen. Not where logprobs are asked for.
   * Default false.
   */
  jumpForward?: boolean;
  /** `model` of responses to requests that name none. Default: the hub id or the folder's name. */
  servedModelName?: string;
  /**
   * 'model': temperature, top_p, top_k, min_p and repetition_penalty default to generation_config.json's
   * (temperature to 0 where it says do_sample: false), on both endpoints. 'openai': to OpenAI's. Default 'model'.
   */
  samplingDefaults?: 'model' | 'openai';
  /** Hub models: branch, tag or commit. Default 'main'. */
  revision?: string;
  /** Hub models: the cache folder. Default: Hugging Face's own (HF_HUB_CACHE, HF_HOME). */
  cacheDir?: string;
  /** Hub models: never use the network. Default: HF_HUB_OFFLINE. */
  offline?: boolean;
  /** Hub models: access token. Default: HF_TOKEN or the token that is logged in. */
  token?: string;
  /** Ends the loading; `load` then rejects with its reason. */
  signal?: AbortSignal;
  /** Bytes downloaded and loaded. */
  onProgress?: (progress: LoadProgress) => void;
  logger?: Logger;
}

const positive = (most: number) =>
  integer(`an integer in [1, ${most}]`, (x) => x >= 1 && x <= most).optional();

/** @param read throws where a name is none */
function parserName(read: (name: string, param: string) => string, names: readonly string[]) {
  return judged<string>((value) => {
    if (typeof value !== 'string') return wrongType('the name of a parser');
    try {
      if (!/^(auto|none)$/i.test(value)) read(value, '');
      return null;
    } catch {
      return wrongValue(
        `'auto', 'none' or one of ${names.map((name) => `'${name}'`).join(', ')}`,
        suggestion(value, names),
      );
    }
  }).optional();
}

const devicePattern = /^(auto|cpu|cuda|cuda:\d{1,3})$/;
const shape = {
  device: judged<string>((value) => {
    if (typeof value !== 'string') return wrongType('a string');
    if (devicePattern.test(value)) return null;
    return {
      code: 'invalid_value',
      message: (param) =>
        `${param} must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got ${show(value)}.`,
    };
  }).optional(),
  numThreads: integer('an integer in [0, 1024]', (x) => x >= 0 && x <= 1024).optional(),
  maxRunningSeqs: positive(65_536),
  maxBatchTokens: positive(1_048_576),
  maxModelLen: positive(2 ** 30),
  kvCacheBytes: integer('an integer of at least 1', (x) => x >= 1).optional(),
  kvCacheMemoryShare: number('in (0, 1]', (x) => x > 0 && x <= 1).optional(),
  kvCacheDtype: oneOf('auto', 'f32', 'f16', 'bf16').optional(),
  computeDtype: oneOf('auto', 'f32', 'f16', 'bf16').optional(),
  blockSize: positive(1024),
  prefixCaching: boolean.optional(),
  captureRoutedExperts: boolean.optional(),
  loadFormat: oneOf('auto', 'dummy').optional(),
  dtype: oneOf('bf16', 'f16', 'f32').optional(),
  chatTemplate: string.optional(),
  chatTemplateKwargs: record.optional(),
  reasoningParser: parserName(reasoningParserName, reasoningParserNames),
  toolParser: parserName(toolParserName, toolParserNames),
  jsonWhitespace: oneOf('line', 'any').optional(),
  jumpForward: boolean.optional(),
  servedModelName: string.optional(),
  samplingDefaults: oneOf('model', 'openai').optional(),
  revision: string.optional(),
  cacheDir: string.optional(),
  offline: boolean.optional(),
  token: string.optional(),
  signal: judged<AbortSignal>((value) =>
    isSignal(value) ? null : wrongType('an AbortSignal'),
  ).optional(),
  onProgress: judged<(progress: LoadProgress) => void>((value) =>
    typeof value === 'function' ? null : wrongType('a function'),
  ).optional(),
  logger: judged<Logger>((value) =>
    isObject(value) && typeof value.info === 'function' && typeof value.warn === 'function'
      ? null
      : wrongType('an object with the methods info and warn'),
  ).optional(),
} satisfies Record<keyof LoadOptions, unknown>;

const schema = z.object(shape);

/** @internal Throws an EngineError for an unknown name or a value that fits none. */
export function parseLoadOptions(options: unknown = {}): LoadOptions {
  if (!isObject(options))
    throw invalidRequest(
      `Engine.load's options must be an object, got ${describe(options)}.`,
      null,
      'invalid_type',
    );
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(shape, name)) continue;
    throw invalidRequest(
      `Unknown option '${name}'.${suggestion(name, Object.keys(shape)) || ` Options are ${Object.keys(shape).join(', ')}.`}`,
      name,
      'unsupported_parameter',
    );
  }
  const parsed = parse(schema, options) as LoadOptions;
  if (parsed.kvCacheBytes !== undefined && parsed.kvCacheMemoryShare !== undefined)
    throw invalidRequest(
      'kvCacheBytes and kvCacheMemoryShare both set the size of the KV cache, got both. Pass one.',
      'kvCacheMemoryShare',
    );
  if (parsed.dtype !== undefined && parsed.loadFormat !== 'dummy')
    throw invalidRequest(
      `dtype is the dtype of dummy weights, got '${parsed.dtype}' without loadFormat: 'dummy'. A ` +
        'checkpoint runs in the dtype it has: leave dtype out.',
      'dtype',
    );
  return parsed;
}
