/**
 * The OpenAI-shaped requests and responses. They are this package's own, so that users need no other types;
 * results are assignable to the `openai` package's (test/types proves it). Fields beyond OpenAI's are SGLang's.
 */

// --- Requests ---------------------------------------------------------------------------------------

export interface TextPart {
  type: 'text';
  text: string;
}

/** Several text parts are joined with a space. */
export type MessageContent = string | TextPart[];

export interface SystemMessage {
  role: 'system' | 'developer';
  content: MessageContent;
  name?: string | null;
}

export interface UserMessage {
  role: 'user';
  content: MessageContent;
  name?: string | null;
}

export interface AssistantMessage {
  role: 'assistant';
  content?: MessageContent | null;
  name?: string | null;
  refusal?: string | null;
  /** Handed to the chat template, as `tool_calls` are. */
  reasoning_content?: string | null;
  tool_calls?: ToolCall[] | null;
}

export interface ToolMessage {
  role: 'tool';
  content: MessageContent;
  tool_call_id?: string | null;
  name?: string | null;
}

export type ChatMessage = SystemMessage | UserMessage | AssistantMessage | ToolMessage;

export interface ToolCall {
  id: string;
  type: 'function';
  function: {
    name: string;
    /** JSON text. */
    arguments: string;
  };
}

export interface Tool {
  type: 'function';
  function: {
    name: string;
    description?: string | null;
    /** JSON Schema of the arguments. */
    parameters?: Record<string, unknown> | null;
    strict?: boolean | null;
  };
}

export interface StreamOptions {
  /** One last chunk with `choices: []` and the whole request's usage. Default false. */
  include_usage?: boolean | null;
  /** The choice's usage so far on every content chunk. Default false. */
  continuous_usage_stats?: boolean | null;
  /** Accepted: chunks are never obfuscated. */
  include_obfuscation?: boolean | null;
}

/** Fields of both endpoints. null means the default everywhere. */
export interface SamplingFields {
  /** Echoed in the response; the engine has one model. Default: its served name. */
  model?: string | null;
  /** At least 0; below 1e-6 is greedy. Default: generation_config.json's, else 1. */
  temperature?: number | null;
  /** (0, 1]. Default: generation_config.json's, else 1. */
  top_p?: number | null;
  /** -1 (off) or at least 1. Default: generation_config.json's, else -1. */
  top_k?: number | null;
  /** [0, 1], relative to the likeliest token's probability. Default: generation_config.json's, else 0. */
  min_p?: number | null;
  /** [-2, 2]. Default 0. */
  frequency_penalty?: number | null;
  /** [-2, 2]. Default 0. */
  presence_penalty?: number | null;
  /** (0, 2], over generated tokens. Default: generation_config.json's, else 1. */
  repetition_penalty?: number | null;
  /** Token id to a value in [-100, 100] that is added to its logit. */
  logit_bias?: Record<string, number> | null;
  /** Up to 64 texts, each of which ends generation; the text is cut before the first that occurs. */
  stop?: string | string[] | null;
  /** Token ids that end generation, besides the model's own. */
  stop_token_ids?: number[] | null;
  /** Any integer. Equal seeds give equal samples; the n samples of one request differ. Default: random. */
  seed?: number | bigint | null;
  /** Samples per prompt, 1 to 128. Default 1. */
  n?: number | null;
  stream_options?: StreamOptions | null;
  /** Neither EOS nor stop_token_ids end generation; stop strings do. Default false. */
  ignore_eos?: boolean | null;
  /** EOS and stop_token_ids cannot be sampled before that many tokens. Default 0. */
  min_tokens?: number | null;
  /** Leave special tokens out of the text. Default true. */
  skip_special_tokens?: boolean | null;
  /** Keep what ended generation (stop string or stop token) in the text. Default false. */
  no_stop_trim?: boolean | null;
  /** An integer; larger runs first. Default 0. */
  priority?: number | null;
  /** Prefixes are shared only between requests with the same salt. */
  cache_salt?: string | null;
  /** As `cache_salt`, to which it is appended. */
  extra_key?: string | null;
  /** `token_ids` and `prompt_token_ids` on every choice. Default false. */
  return_token_ids?: boolean | null;
  /** The chosen experts of every position; needs the engine's option captureRoutedExperts. Default false. */
  return_routed_experts?: boolean | null;
  /** The first position whose experts are returned, up to the number of prompt tokens. Default 0. */
  routed_experts_start_len?: number | null;

  // Accepted, because they cannot change the result.
  user?: string | null;
  metadata?: Record<string, string> | null;
  store?: boolean | null;
  service_tier?: string | null;
  safety_identifier?: string | null;
  prompt_cache_key?: string | null;
  prompt_cache_retention?: string | null;
}

export interface ChatCompletionRequest extends SamplingFields {
  messages: ChatMessage[];
  /** Generated tokens. Default: up to the context length. */
  max_completion_tokens?: number | null;
  /** The older name; `max_completion_tokens` wins. */
  max_tokens?: number | null;
  /** Default false. */
  logprobs?: boolean | null;
  /** 0 to 20, with `logprobs`. Default 0. */
  top_logprobs?: number | null;
  /** Handed to the chat template. */
  tools?: Tool[] | null;
  /** "none" keeps the tools from the template. Default "auto". */
  tool_choice?: 'auto' | 'none' | null;
  parallel_tool_calls?: boolean | null;
  /** Further variables of the chat template, such as `enable_thinking`. */
  chat_template_kwargs?: Record<string, unknown> | null;
  response_format?: { type: 'text' } | null;
  stream?: boolean | null;
}

export interface ChatCompletionRequestNonStreaming extends ChatCompletionRequest {
  stream?: false | null;
}

export interface ChatCompletionRequestStreaming extends ChatCompletionRequest {
  stream: true;
}

export interface CompletionRequest extends SamplingFields {
  /** A text, texts, token ids, or lists of token ids. */
  prompt: string | string[] | number[] | number[][];
  /** Generated tokens; 0 only with `echo`. Default 16. */
  max_tokens?: number | null;
  /** 0 to 20: the chosen token's logprob and those of that many likeliest tokens. Default: none. */
  logprobs?: number | null;
  /** Put the prompt before the text, and with `logprobs` its logprobs. Default false. */
  echo?: boolean | null;
  stream?: boolean | null;
}

export interface CompletionRequestNonStreaming extends CompletionRequest {
  stream?: false | null;
}

export interface CompletionRequestStreaming extends CompletionRequest {
  stream: true;
}

/** What `tokenize` takes: a text, or what a chat request would be rendered from. */
export type TokenizeRequest =
  | {
      prompt: string;
      /** Such as a beginning-of-sequence token. Default true. */
      add_special_tokens?: boolean | null;
    }
  | Pick<ChatCompletionRequest, 'messages' | 'tools' | 'tool_choice' | 'chat_template_kwargs'>;

export interface TokenizeResult {
  tokens: number[];
  count: number;
  max_model_len: number;
}

export interface DetokenizeRequest {
  tokens: number[];
  /** Default true. */
  skip_special_tokens?: boolean | null;
}

export interface DetokenizeResult {
  text: string;
}

// --- Responses --------------------------------------------------------------------------------------

export type FinishReason = 'stop' | 'length';

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
  /** 0: reasoning stays in the content. */
  reasoning_tokens: number;
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

export interface ResponseMessage {
  role: 'assistant';
  /** Empty, never null, when nothing was written. */
  content: string;
  refusal: null;
  /** null: reasoning stays in the content. */
  reasoning_content: string | null;
}

export interface ChatCompletionChoice {
  index: number;
  message: ResponseMessage;
  logprobs: ChatLogprobs | null;
  finish_reason: FinishReason;
  /** The stop token's id or the stop string that ended generation; null for `length`. */
  matched_stop: number | string | null;
  token_ids?: number[];
  prompt_token_ids?: number[];
  sgl_ext?: RoutedExperts;
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

export interface ChatCompletionDelta {
  role?: 'assistant';
  content?: string;
  reasoning_content: string | null;
}

export interface ChatCompletionChunkChoice {
  index: number;
  delta: ChatCompletionDelta;
  logprobs: ChatLogprobs | null;
  finish_reason: FinishReason | null;
  matched_stop: number | string | null;
  token_ids?: number[];
  prompt_token_ids?: number[];
  sgl_ext?: RoutedExperts;
}

/** For each choice: a chunk with the role, content chunks, one chunk with the finish_reason. */
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

export interface CompletionChoice {
  index: number;
  text: string;
  logprobs: CompletionLogprobs | null;
  /** In a stream null until the choice's last chunk, which OpenAI's type does not say either. */
  finish_reason: FinishReason;
  matched_stop: number | string | null;
  token_ids?: number[];
  prompt_token_ids?: number[];
  sgl_ext?: RoutedExperts;
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
