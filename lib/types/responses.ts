/** Answers: objects and chunks. */
import type { ToolCall } from './requests.js';

/** Also "abort", by `engine.abort`, which OpenAI's type does not say. */
export type FinishReason = 'stop' | 'length' | 'tool_calls';

/** Of completions, which make no calls. */
export type CompletionFinishReason = Exclude<FinishReason, 'tool_calls'>;

export interface Usage {
  /** Counted once per prompt, however many samples. */
  prompt_tokens: number;
  total_tokens: number;
  /** Of all choices, with the tokens that ended them. */
  completion_tokens: number;
  prompt_tokens_details: {
    /** Prompt tokens that came from the prefix cache. */
    cached_tokens: number;
  };
  /** Generated tokens up to the end of the reasoning, the tag that closes it included; 0 on completions. */
  reasoning_tokens: number;
  completion_tokens_details: {
    /** The same number, where OpenAI has it. */
    reasoning_tokens: number;
  };
}

export interface TopLogprob {
  /** The token's text; `bytes:\xe2\x80` where its bytes alone are no UTF-8. */
  token: string;
  /** Exactly the token's bytes. */
  bytes: number[];
  /** Natural logarithm of the probability; -9999 where it is 0. */
  logprob: number;
}

export interface TokenLogprob extends TopLogprob {
  top_logprobs: TopLogprob[];
}

export interface ChatLogprobs {
  /** One per completion token, the one that ended generation included. */
  content: TokenLogprob[];
  refusal: null;
}

/**
 * base64 of little-endian int32 [rows, layers, experts per token]; rows are the positions
 * routed_experts_start_len .. prompt + completion - 2. Dense layers are zeros.
 */
export interface RoutedExperts {
  routed_experts: string;
}

/** With `return_meta_info`: as SGLang's native endpoint says it. */
export interface MetaInfo {
  id: string;
  finish_reason:
    | { type: 'stop' | 'tool_calls'; matched: number | string | null }
    | { type: 'length'; length: number }
    | { type: 'abort'; message: string };
  prompt_tokens: number;
  completion_tokens: number;
  cached_tokens: number;
  weight_version: string;
  /** Seconds from the request to its end. */
  e2e_latency: number;
}

/** Optional fields of a choice, on both endpoints. */
export interface ChoiceExtras {
  token_ids?: number[];
  prompt_token_ids?: number[];
  /** What a stop_regex matched, as far as it was not shown before. */
  matched_stop_text?: string;
  meta_info?: MetaInfo;
  sgl_ext?: RoutedExperts;
}

export interface ResponseToolCall extends ToolCall {
  /** Its place among the message's calls. */
  index: number;
}

export interface ResponseMessage {
  role: 'assistant';
  /** Empty, never null, when nothing was written. */
  content: string;
  refusal: null;
  /** null when there was none, or none was told apart. */
  reasoning_content: string | null;
  /** null when there are none, which OpenAI's type does not say. */
  tool_calls?: ResponseToolCall[];
}

export interface ChatCompletionChoice extends ChoiceExtras {
  index: number;
  message: ResponseMessage;
  logprobs: ChatLogprobs | null;
  finish_reason: FinishReason;
  /**
   * The stop token's id, the stop string or the stop_regex's pattern that ended generation; null for `length` and
   * `tool_calls`.
   */
  matched_stop: number | string | null;
}

export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  /** Unix seconds. */
  created: number;
  model: string;
  choices: ChatCompletionChoice[];
  usage: Usage;
  metadata: { weight_version: string };
  /** The first choice's; each choice has its own in `sgl_ext`. */
  sglext?: RoutedExperts;
}

/** A call's first has id and name, the others pieces of its arguments. */
export interface ToolCallDelta {
  index: number;
  id?: string;
  type?: 'function';
  function: { name?: string; arguments: string };
}

export interface ChatCompletionDelta {
  role?: 'assistant';
  content?: string;
  reasoning_content: string | null;
  tool_calls?: ToolCallDelta[];
}

export interface ChatCompletionChunkChoice extends ChoiceExtras {
  index: number;
  delta: ChatCompletionDelta;
  logprobs: ChatLogprobs | null;
  finish_reason: FinishReason | null;
  matched_stop: number | string | null;
}

/**
 * For each choice: a chunk with the role, then its reasoning, content and tool calls, one chunk with the
 * finish_reason. A token's logprobs ride on exactly one chunk, without text where its text is held back.
 */
export interface ChatCompletionChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  choices: ChatCompletionChunkChoice[];
  /** See {@link StreamOptions}; otherwise absent. */
  usage?: Usage;
  sglext?: RoutedExperts;
}

export interface CompletionLogprobs {
  /** Where each token begins in the choice's whole text, in UTF-16 units as JavaScript counts. */
  text_offset: number[];
  /** With `echo` the very first is null, which OpenAI's type does not say either. */
  token_logprobs: number[];
  tokens: string[];
  /** Text to logprob; with `echo` the very first is null. */
  top_logprobs: Record<string, number>[];
}

export interface CompletionChoice extends ChoiceExtras {
  index: number;
  text: string;
  logprobs: CompletionLogprobs | null;
  /** In a stream null until the choice's last chunk, which OpenAI's type does not say either. */
  finish_reason: CompletionFinishReason;
  matched_stop: number | string | null;
}

export interface Completion {
  id: string;
  object: 'text_completion';
  created: number;
  model: string;
  /** Index: prompt * n + sample. */
  choices: CompletionChoice[];
  usage: Usage;
  metadata: { weight_version: string };
  sglext?: RoutedExperts;
}

/** A choice's `finish_reason` rides on its last chunk. */
export interface CompletionChunk {
  id: string;
  object: 'text_completion';
  created: number;
  model: string;
  choices: CompletionChoice[];
  usage?: Usage;
  sglext?: RoutedExperts;
}
