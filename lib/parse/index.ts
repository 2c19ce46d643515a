import { HarmonyParser } from './harmony.js';
import { createReasoningParser, type ReasoningFormat } from './reasoning/index.js';
import {
  createToolParser,
  harmonyTools,
  type ToolFormat,
  type ToolParserOptions,
} from './tools/index.js';
import type { MessageEvent, MessageParser } from './types.js';

export interface MessageParserOptions extends ToolParserOptions {
  /** Null leaves reasoning in the content (`separate_reasoning: false`, or a model that has none). */
  reasoning: ReasoningFormat | null;
  /** Null leaves tool calls in the content (no tools, or `tool_choice` none). */
  tools: ToolFormat | null;
  /** The prompt has opened the reasoning: see `startsInReasoning`. Default false. */
  startsInReasoning?: boolean;
  /** False gives each block of reasoning as one event when it ends. Default true. */
  streamReasoning?: boolean;
  /** Of gpt-oss: the message that the prompt has begun, see `harmonyPrefix`. Default none. */
  harmonyPrefix?: string;
}

/**
 * The parser of one choice: takes the model's text, after stop strings, and gives reasoning, content and
 * tool calls. Tool calls are looked for outside of reasoning only.
 */
export function createMessageParser(options: MessageParserOptions): MessageParser {
  const { reasoning, tools, startsInReasoning = false } = options;
  if (tools?.name === 'gpt-oss' && !reasoning?.tags) {
    return new HarmonyParser({
      tools: harmonyTools(options),
      separateReasoning: reasoning !== null,
      streamReasoning: options.streamReasoning,
      prefix: options.harmonyPrefix,
    });
  }
  const first = reasoning && createReasoningParser(reasoning, { ...options, startsInReasoning });
  const second = tools && createToolParser(tools, options);
  if (first && second) return new Chain(first, second);
  return first ?? second ?? new PlainText();
}

/** The special texts that the parser of these formats has to see. */
export function parserMarkers(
  reasoning: ReasoningFormat | null,
  tools: ToolFormat | null,
): string[] {
  return [...new Set([...(reasoning?.markers ?? []), ...(tools?.markers ?? [])])];
}

/** Reasoning first; what it takes for content is searched for calls. */
class Chain implements MessageParser {
  readonly #reasoning: MessageParser;
  readonly #tools: MessageParser;

  constructor(reasoning: MessageParser, tools: MessageParser) {
    this.#reasoning = reasoning;
    this.#tools = tools;
  }

  get reasoningEnd(): number | null {
    return this.#reasoning.reasoningEnd;
  }

  push(text: string): MessageEvent[] {
    return this.#pass(this.#reasoning.push(text));
  }

  flush(): MessageEvent[] {
    return [...this.#pass(this.#reasoning.flush()), ...this.#tools.flush()];
  }

  #pass(events: readonly MessageEvent[]): MessageEvent[] {
    return events.flatMap((event) =>
      event.type === 'content' ? this.#tools.push(event.text) : [event],
    );
  }
}

/** Everything is content. */
class PlainText implements MessageParser {
  readonly reasoningEnd = 0;

  push(text: string): MessageEvent[] {
    return text === '' ? [] : [{ type: 'content', text }];
  }

  flush(): MessageEvent[] {
    return [];
  }
}
