/** The bodies of requests. */

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

export type ResponseFormat =
  | { type: 'text' }
  | { type: 'json_object' }
  | {
      type: 'json_schema';
      json_schema: {
        name?: string;
        description?: string;
        schema?: Record<string, unknown>;
        strict?: boolean | null;
      };
    }
  | { type: 'json_schema'; schema: Record<string, unknown> }
  | {
      type: 'structural_tag';
      /** xgrammar's form. */
      format?: Record<string, unknown>;
      /** The older form. */
      structures?: { begin: string; schema?: Record<string, unknown>; end: string }[];
      triggers?: string[];
    };

export type ToolChoice =
  | 'auto'
  | 'none'
  | 'required'
  | { type: 'function'; function: { name: string } };

/** Words, or how much of the way to the most as a number in [0, 0.99], where the template takes one. */
export type ReasoningEffort =
  | 'none'
  | 'minimal'
  | 'low'
  | 'medium'
  | 'high'
  | 'xhigh'
  | 'max'
  | (number & {});

/** Fields of both endpoints. null means the default everywhere. */
export interface SamplingFields {
  /**
   * Echoed in the response; the engine has one model. Default: its served name. `base:adapter` asks for an
   * adapter, which is refused: none can be loaded yet.
   */
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
  /**
   * Up to 64 regular expressions in JavaScript's syntax (flag `u`), without lookaround and backreferences. The
   * first text that matches ends generation and is cut off; `matched_stop` is the pattern and `matched_stop_text`
   * what it matched. A match is complete as soon as it can be (`\d+` after one digit), `$` is true after
   * every token. Up to 1,024 characters are held back for a match that has begun. Any pattern takes linear time.
   */
  stop_regex?: string | string[] | null;
  /** Token ids that end generation, besides the model's own. */
  stop_token_ids?: number[] | null;
  /** Any integer. Equal seeds give equal samples; the n samples of one request differ. Default: random. */
  seed?: number | bigint | null;
  /** Samples per prompt, 1 to 128. Default 1. */
  n?: number | null;
  stream_options?: StreamOptions | null;
  /** The model's EOS ids do not end generation; stop_token_ids and stop strings do. Default false. */
  ignore_eos?: boolean | null;
  /** Token ids that end generation cannot be sampled before that many tokens. Default 0. */
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
  /** `id` of the response, and what `engine.abort` takes. Of requests in flight each has another. Default: random. */
  rid?: string | null;
  /** Names of adapters, which are refused: none can be loaded yet. */
  lora_path?: string | (string | null)[] | null;
  /** `token_ids` and `prompt_token_ids` on every choice. Default false. */
  return_token_ids?: boolean | null;
  /** `prompt_token_ids` on every choice. Default false. */
  return_prompt_token_ids?: boolean | null;
  /** `meta_info` on every choice, in a stream on its last chunk. Default false. */
  return_meta_info?: boolean | null;
  /** The form of the answer. Everything but `text` is refused until it can be enforced. */
  response_format?: ResponseFormat | null;
  /** Forms of the answer, refused until they can be enforced. Only one of these and `response_format`. */
  regex?: string | null;
  ebnf?: string | null;
  /** An object, or JSON text; "$$ANY$$" is any JSON. */
  json_schema?: string | Record<string, unknown> | null;
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
  /** The prompt's token ids: chat template and messages are not used then, and messages may be empty. */
  input_ids?: number[] | null;
  /** Generated tokens, reasoning included. Default: up to the context length. */
  max_completion_tokens?: number | null;
  /** The older name; `max_completion_tokens` wins. */
  max_tokens?: number | null;
  /** Default false. */
  logprobs?: boolean | null;
  /** 0 to 20, with `logprobs`. Default 0. */
  top_logprobs?: number | null;
  /** Handed to the chat template. `strict: true` is refused until it can be enforced. */
  tools?: Tool[] | null;
  /**
   * "none" keeps the tools from the template. "required" and a function's name are refused until they can be
   * enforced. Default "auto".
   */
  tool_choice?: ToolChoice | null;
  /** false: of several calls only the first becomes a call, the others stay in the content. Default true. */
  parallel_tool_calls?: boolean | null;
  /** Further variables of the chat template, such as `enable_thinking`. They go before `reasoning_effort`'s. */
  chat_template_kwargs?: Record<string, unknown> | null;
  /** Handed to the chat template; "none" also turns thinking off there, all others turn it on. */
  reasoning_effort?: ReasoningEffort | null;
  /** SGLang's other way to say so. */
  reasoning?: { effort?: ReasoningEffort | null; enabled?: boolean | null } | null;
  /** Reasoning in `reasoning_content`; false leaves it in the content, tags and all. Default true. */
  separate_reasoning?: boolean | null;
  /** false sends a block of reasoning in one chunk when it has ended. Default true. */
  stream_reasoning?: boolean | null;
  /**
   * Most tokens of reasoning: the block is then closed with the text by which the model would. Its tokens count as
   * generated ones and have the logprob 0; penalties forget what came before. Default: no limit.
   */
  thinking_budget?: number | null;
  /** SGLang's place for it. */
  custom_params?: { thinking_budget?: number | null } | null;
  /** The answer goes on with the content of the last message, the assistant's. Default false. */
  continue_final_message?: boolean | null;
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
  /**
   * Samples per prompt of which the n with the highest mean logprob are returned, the best first. `usage` counts
   * all of them. Not with `stream`. Default n.
   */
  best_of?: number | null;
  stream?: boolean | null;
}

export interface CompletionRequestNonStreaming extends CompletionRequest {
  stream?: false | null;
}

export interface CompletionRequestStreaming extends CompletionRequest {
  stream: true;
}

/** What {@link Engine.checkConstraint} takes of a request: what says what form its answer has. */
export type ConstraintRequest = Pick<
  ChatCompletionRequest,
  'response_format' | 'regex' | 'ebnf' | 'tools' | 'tool_choice' | 'parallel_tool_calls'
> &
  Pick<CompletionRequest, 'json_schema'>;

export interface ConstraintCheck {
  /** The text is the beginning of an answer that is allowed. */
  accepted: boolean;
  /** And the answer may end there. */
  complete: boolean;
  /** Bytes of UTF-8 before the first one that is not allowed. */
  failedAt: number;
  /** Strings in quotes, classes of characters in brackets, "end of text". */
  expected: string[];
}

/** What `tokenize` takes: a text, or what a chat request would be rendered from. */
export type TokenizeRequest =
  | {
      /** Not looked at. */
      model?: string | null;
      prompt: string;
      /** Such as a beginning-of-sequence token. Default true. */
      add_special_tokens?: boolean | null;
    }
  | Pick<
      ChatCompletionRequest,
      | 'model'
      | 'messages'
      | 'tools'
      | 'tool_choice'
      | 'chat_template_kwargs'
      | 'reasoning_effort'
      | 'reasoning'
      | 'continue_final_message'
    >;

export interface TokenizeResult {
  tokens: number[];
  count: number;
  max_model_len: number;
}

export interface DetokenizeRequest {
  /** Not looked at. */
  model?: string | null;
  tokens: number[];
  /** Default true. */
  skip_special_tokens?: boolean | null;
}

export interface DetokenizeResult {
  text: string;
}
