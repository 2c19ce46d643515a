/** How a chat answer is taken apart: the parsers of the model, and the limit on its reasoning. */
import { invalidRequest } from '../errors.js';
import { harmonyPrefix } from '../parse/harmony.js';
import { createMessageParser, parserMarkers } from '../parse/index.js';
import { harmonyMarkers, type ReasoningFormat, reasoningFormat } from '../parse/reasoning/index.js';
import { toolFormat } from '../parse/tools/index.js';
import type { MessageEvent, MessageParser } from '../parse/types.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { ThinkingLimit } from '../thinking-budget.js';
import type { ChatFields } from './chat.js';
import { planConstraint } from './constraint.js';
import { answersInReasoning, type RenderedChat, type TextModel } from './render.js';
import { activeTools } from './tools.js';
import { describe } from './validate.js';

export interface MessageRules {
  /** One per choice. */
  createParser(): MessageParser;
  /** Special tokens that the parser has to see: their text is kept under skip_special_tokens. */
  markers: ReadonlySet<number>;
  /** Stop tokens whose text the parser has to see too. */
  endMarkers: ReadonlySet<number>;
  thinkingLimit: ThinkingLimit | null;
}

/** Null where nothing is to be taken out of the content. */
export async function messageRules(
  fields: ChatFields,
  text: TextModel,
  rendered: RenderedChat,
): Promise<MessageRules | null> {
  const { tokenizer } = text;
  const reasoning = text.reasoningParser && reasoningFormat(text.reasoningParser);
  if (reasoning?.name === 'gpt-oss' && rendered.kwargs.reasoning_effort === 'none')
    throw invalidRequest(
      "Harmony does not support reasoning effort none: this model takes 'low', 'medium' or 'high'.",
      'reasoning_effort',
      'unsupported_value',
    );
  const thinkingLimit = await limitOf(fields, reasoning, tokenizer, rendered);
  const tools = activeTools(fields)?.map((tool) => tool.function);
  const format = tools && text.toolParser ? toolFormat(text.toolParser) : null;
  if (!reasoning && !format) return null;
  const start = {
    startsInReasoning: reasoning !== null && answersInReasoning(reasoning, text, rendered),
    harmonyPrefix: harmonyPrefix(rendered.text),
  };
  const separate = fields.separate_reasoning ?? true;
  const options = {
    ...start,
    tools: format,
    streamReasoning: fields.stream_reasoning ?? true,
    declaredTools: tools?.map(({ name, parameters }) => ({
      name,
      parameters: parameters ?? undefined,
    })),
    parallel: fields.parallel_tool_calls ?? true,
    callsBefore: callsIn(fields.messages),
  };
  const createParser =
    separate || reasoning === null
      ? () => createMessageParser({ ...options, reasoning })
      : () =>
          new CountingParser(
            createMessageParser({ ...options, reasoning: null }),
            createMessageParser({ ...start, reasoning, tools: null }),
          );
  const harmony = reasoning?.name === 'gpt-oss' || format?.name === 'gpt-oss';
  return {
    createParser,
    markers: specialIds(parserMarkers(reasoning, format), tokenizer),
    // What a stop token of gpt-oss ends is known by it. Its parser shows it where it takes nothing out.
    endMarkers: specialIds(harmony && separate ? harmonyMarkers : [], tokenizer),
    thinkingLimit,
  };
}

/** Leaves reasoning in the content, but knows where it ends. */
class CountingParser implements MessageParser {
  readonly #shown: MessageParser;
  readonly #counted: MessageParser;

  constructor(shown: MessageParser, counted: MessageParser) {
    this.#shown = shown;
    this.#counted = counted;
  }

  get reasoningEnd(): number | null {
    return this.#counted.reasoningEnd;
  }

  push(text: string): MessageEvent[] {
    this.#counted.push(text);
    return this.#shown.push(text);
  }

  flush(): MessageEvent[] {
    this.#counted.flush();
    return this.#shown.flush();
  }
}

function specialIds(texts: readonly string[], tokenizer: Tokenizer): Set<number> {
  const ids = texts.map((text) => tokenizer.tokenToId(text));
  return new Set(ids.filter((id) => id !== null && tokenizer.isSpecial(id)) as number[]);
}

/** Tool calls of the conversation so far. */
function callsIn(messages: readonly Record<string, unknown>[]): number {
  return messages.reduce(
    (sum, { tool_calls: calls }) => sum + (Array.isArray(calls) ? calls.length : 0),
    0,
  );
}

async function limitOf(
  fields: ChatFields,
  reasoning: ReasoningFormat | null,
  tokenizer: Tokenizer,
  { text, continued, kwargs }: RenderedChat,
): Promise<ThinkingLimit | null> {
  const tokens =
    fields.thinking_budget ?? fields.custom_params?.thinking_budget ?? budgetIn(kwargs);
  if (tokens === null) return null;
  if (!reasoning)
    throw invalidRequest(
      'thinking_budget needs a model whose reasoning is told apart, but this one has no reasoning parser. ' +
        'Leave it out, or load with the option reasoningParser.',
      'thinking_budget',
      'unsupported_value',
    );
  if (fields.return_routed_experts)
    throw invalidRequest(
      'return_routed_experts cannot be combined with a thinking budget: closing the reasoning starts the ' +
        'request anew. Leave one out.',
      'return_routed_experts',
      'unsupported_value',
    );
  // A form is exact from its first character: blank lines before it would be no part of it.
  const { closeText } = reasoning;
  const closing = planConstraint(fields) === null ? closeText : closeText.trimEnd();
  const closeIds = await tokenizer.encode(closing, { addSpecialTokens: false });
  const start = reasoning.tags?.start ?? null;
  const opened = start !== null && (text.trimEnd().endsWith(start) || continued?.includes(start));
  const ending = reasoning.tags?.end ?? null;
  return { tokens, closeIds, opening: opened ? null : start, ending };
}

/** Some templates have a variable of this name themselves, where -1 is no limit. */
function budgetIn({ thinking_budget: value }: Record<string, unknown>): number | null {
  if (value === undefined || value === null || value === -1) return null;
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw invalidRequest(
    'chat_template_kwargs.thinking_budget must be an integer of at least 0 (tokens), got ' +
      `${typeof value === 'number' ? value : describe(value)}.`,
    'chat_template_kwargs.thinking_budget',
  );
}
