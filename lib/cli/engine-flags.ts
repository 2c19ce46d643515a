/** Every option of Engine.load as a flag. A new option does not compile before it has a row here. */
import type { Command } from 'commander';
import { EngineError, type LoadOptions } from '../index.js';
import { parseLoadOptions } from '../options.js';
import { UsageError } from './context.js';
import { addFlags, type Flag, flagName, readFlags } from './flags.js';

const dtypes = ['auto', 'f32', 'f16', 'bf16'];

/** null: no flag, because only a program can pass it. */
export const engineFlags = {
  device: {
    value: 'text',
    argument: 'device',
    about: "'auto', 'cpu', 'cuda' or 'cuda:<index>'",
    standard: 'auto: the first GPU that can be used, else the CPU',
  },
  numThreads: { value: 'integer', about: 'CPU threads', standard: '0: as many as there are' },
  maxRunningSeqs: {
    value: 'integer',
    about: 'sequences that generate at a time; further requests wait',
    standard: '64, on CUDA 256',
  },
  maxBatchTokens: {
    value: 'integer',
    about: 'tokens of one step; longer prompts are cut into chunks',
    standard: '512, on CUDA 8192',
  },
  maxModelLen: {
    value: 'integer',
    about: 'prompt and generated tokens of one request',
    standard: "the checkpoint's, or what the KV cache holds; on CUDA at most 32768",
  },
  kvCacheBytes: {
    value: 'bytes',
    about: 'size of the KV cache, such as 2G',
    standard: 'on the CPU room for four requests of maximal length',
  },
  kvCacheMemoryShare: {
    value: 'number',
    about: 'size of the KV cache as a share (0, 1] of the free memory',
    standard: 'on CUDA 0.9',
  },
  kvCacheDtype: {
    value: dtypes,
    about: 'dtype of the KV cache',
    standard: 'auto: as the weights, on CUDA as --compute-dtype',
  },
  computeDtype: {
    value: dtypes,
    about: 'CUDA: dtype of what flows between layers',
    standard: 'auto: as the weights',
  },
  blockSize: { value: 'integer', about: 'tokens per block of the KV cache', standard: '16' },
  prefixCaching: {
    value: 'boolean',
    about: 'reuse the KV cache of equal beginnings',
    standard: true,
  },
  captureRoutedExperts: {
    value: 'boolean',
    about: 'keep which experts every token went to, for return_routed_experts',
  },
  loadFormat: {
    value: ['auto', 'dummy'],
    about: "'dummy' is random weights from config.json alone, for measuring",
    standard: 'auto',
  },
  dtype: {
    value: ['bf16', 'f16', 'f32'],
    about: 'dtype of dummy weights',
    standard: "config.json's",
  },
  chatTemplate: {
    value: 'source',
    about: 'Jinja source in place of the chat template',
    standard: "the checkpoint's",
  },
  chatTemplateKwargs: {
    value: 'json',
    about: 'variables of the chat template that requests need not set',
  },
  reasoningParser: {
    value: 'text',
    argument: 'name',
    about:
      'how the model marks reasoning: deepseek-r1, deepseek-v3, qwen3, qwen3-thinking, kimi, kimi_k2, gpt-oss or none',
    standard: 'auto: from the chat template',
  },
  toolParser: {
    value: 'text',
    argument: 'name',
    about:
      'how the model writes tool calls: hermes, qwen3-coder, llama3, mistral, deepseek-v3, deepseek-v3.1, kimi_k2, gpt-oss or none',
    standard: 'auto: from the chat template',
  },
  servedModelName: {
    value: 'text',
    argument: 'name',
    about: '`model` of responses',
    standard: "the hub id or the folder's name",
  },
  samplingDefaults: {
    value: ['model', 'openai'],
    about: "generation_config.json's defaults, or OpenAI's",
    standard: 'model',
  },
  jumpForward: {
    value: 'boolean',
    about: 'constrained answers skip steps where there is no choice',
  },
  jsonWhitespace: {
    value: ['line', 'any'],
    about: 'whitespace of constrained JSON: as on one line, or anywhere',
    standard: 'line',
  },
  revision: {
    value: 'text',
    argument: 'name',
    about: 'hub models: branch, tag or commit',
    standard: 'main',
  },
  cacheDir: {
    value: 'text',
    argument: 'folder',
    about: 'hub models: the cache folder',
    standard: "Hugging Face's: HF_HUB_CACHE, HF_HOME",
  },
  offline: {
    value: 'boolean',
    about: 'hub models: never use the network (HF_HUB_OFFLINE does the same)',
  },
  token: {
    value: 'text',
    about: 'hub models: access token',
    standard: 'HF_TOKEN or the token that is logged in',
  },
  signal: null,
  onProgress: null,
  logger: null,
} satisfies Record<keyof LoadOptions, Flag | null>;

export function addEngineFlags(command: Command): void {
  addFlags(command, engineFlags, 'Engine options (of Engine.load):');
}

/** Checked, so that a bad value is known before anything is loaded. Throws UsageError. */
export function readEngineFlags(options: Record<string, unknown>): LoadOptions {
  const values = readFlags(engineFlags, options);
  try {
    return parseLoadOptions(values);
  } catch (error) {
    if (!EngineError.is(error)) throw error;
    const flag = error.param === null ? '' : `--${flagName(error.param)}: `;
    throw new UsageError(`${flag}${error.message}`, { cause: error });
  }
}
