/**
 * What a model's text is taken apart into. Parsers are synchronous, incremental and chunk-invariant:
 * for every input and every way to cut it into chunks the concatenated events are the same, a tag is found
 * wherever it is cut, and after `flush` nothing is held back. Parsing a whole text is `push` then `flush`.
 */

export type MessageEvent =
  | { type: 'reasoning'; text: string }
  | { type: 'content'; text: string }
  /** Begins the call number `index`, counted from 0. */
  | { type: 'toolCall'; index: number; id: string; name: string }
  /** A piece of the arguments of call `index`; the pieces of a call join to its JSON text. */
  | { type: 'toolArguments'; index: number; text: string };

export interface MessageParser {
  push(text: string): MessageEvent[];
  /** The end of the text: what was held back. The parser takes no more text after it. */
  flush(): MessageEvent[];
  /**
   * Characters (UTF-16 units) of input up to and including the end of reasoning, for counting reasoning
   * tokens. Null while the model reasons, and for ever if it never stops; 0 as long as there was no
   * reasoning (it may still begin).
   */
  readonly reasoningEnd: number | null;
}

/** Names that the option `reasoningParser` takes; any case. */
export const reasoningParserNames = [
  'deepseek-r1',
  'deepseek-v3',
  'qwen3',
  'qwen3-thinking',
  'kimi',
  'kimi_k2',
  'gpt-oss',
] as const;
export type ReasoningParserName = (typeof reasoningParserNames)[number];

/** Names that the option `toolCallParser` takes; any case. `qwen` and `qwen25` are `hermes`. */
export const toolParserNames = [
  'hermes',
  'qwen3-coder',
  'llama3',
  'mistral',
  'deepseek-v3',
  'deepseek-v3.1',
  'kimi_k2',
  'gpt-oss',
] as const;
export type ToolParserName = (typeof toolParserNames)[number];
