import { invalidRequest } from '../../errors.js';
import { type ReasoningParserName, reasoningParserNames } from '../types.js';

/** How a model writes its reasoning. */
export interface ReasoningFormat {
  readonly name: ReasoningParserName;
  /** Null for gpt-oss, whose reasoning is a message of its own: see lib/parse/harmony.ts. */
  readonly tags: ReasoningTags | null;
  /** What closes the block in mid-thought and leads to the answer, as the model itself would write it. */
  readonly closeText: string;
  /** Special texts that the parser has to see: they stay in the text under `skip_special_tokens`. */
  readonly markers: readonly string[];
  /** Whether the text begins inside the block where the prompt's end does not tell. */
  readonly begins: 'inside' | 'outside' | ThinkingDefault;
}

export interface ReasoningTags {
  readonly start: string;
  readonly end: string;
  /** Begins a tool call, or is only spoken of: ends the reasoning if no end tag follows. */
  readonly toolTags: readonly string[];
  /** Special tokens that begin a tool call and are never spoken of: end the reasoning at once. */
  readonly callTokens: readonly string[];
}

/** Inside, depending on a variable of the chat template. */
export interface ThinkingDefault {
  /** The key in `chat_template_kwargs`. */
  readonly param: string;
  /** What it is taken for where the request does not set it. */
  readonly on: boolean;
}

type Options = Partial<ReasoningTags> & Pick<ReasoningFormat, 'begins' | 'closeText'>;

const tagged = (name: ReasoningParserName, options: Options): ReasoningFormat => {
  const { start = '<think>', end = '</think>', toolTags = [], callTokens = [], ...rest } = options;
  const tags = { start, end, toolTags, callTokens };
  return { name, tags, markers: [start, end, ...toolTags, ...callTokens], ...rest };
};

const deepseekCalls = ['<｜tool▁calls▁begin｜>'];
const kimiCalls = ['<|tool_calls_section_begin|>'];

export const harmonyMarkers = [
  '<|start|>',
  '<|channel|>',
  '<|constrain|>',
  '<|message|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
] as const;

const formats: Record<ReasoningParserName, ReasoningFormat> = {
  'deepseek-r1': tagged('deepseek-r1', {
    callTokens: deepseekCalls,
    closeText: '\n</think>\n\n',
    begins: 'inside',
  }),
  'deepseek-v3': tagged('deepseek-v3', {
    toolTags: ['<tool_call>'],
    callTokens: deepseekCalls,
    closeText: '</think>',
    begins: { param: 'thinking', on: false },
  }),
  qwen3: tagged('qwen3', {
    toolTags: ['<tool_call>'],
    closeText: '\n</think>\n\n',
    begins: { param: 'enable_thinking', on: true },
  }),
  'qwen3-thinking': tagged('qwen3-thinking', {
    toolTags: ['<tool_call>'],
    closeText: '\n</think>\n\n',
    begins: 'inside',
  }),
  kimi: tagged('kimi', {
    start: '◁think▷',
    end: '◁/think▷',
    closeText: '◁/think▷',
    begins: 'outside',
  }),
  kimi_k2: tagged('kimi_k2', {
    callTokens: kimiCalls,
    closeText: '</think>',
    begins: { param: 'thinking', on: true },
  }),
  'gpt-oss': {
    name: 'gpt-oss',
    tags: null,
    closeText: '<|end|><|start|>assistant<|channel|>final<|message|>',
    markers: harmonyMarkers,
    begins: 'outside',
  },
};

export function reasoningFormat(name: ReasoningParserName): ReasoningFormat {
  return formats[name];
}

/**
 * The name that a user wrote, in any case.
 *
 * @param param the option or field to name in the error
 * @throws EngineError for a name that is none of `reasoningParserNames`; `auto` is the caller's, see
 * `detectReasoningParser`.
 */
export function reasoningParserName(name: string, param: string): ReasoningParserName {
  const lower = name.toLowerCase();
  const known = reasoningParserNames.find((candidate) => candidate === lower);
  if (known) return known;
  throw invalidRequest(
    `Expected ${param} to be one of auto, ${reasoningParserNames.join(', ')}, received ${JSON.stringify(name)}.`,
    param,
    'unsupported_value',
  );
}
