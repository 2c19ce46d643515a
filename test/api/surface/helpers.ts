/** What the suites share: bodies that the bundled model answers well, and streams put together again. */
import type {
  ChatCompletionChunk,
  CompletionChunk,
  CompletionLogprobs,
  ResponseToolCall,
  TokenLogprob,
  Tool,
} from '../../../lib/index.js';
import { user } from '../pocket.js';

export const noThinking = { chat_template_kwargs: { enable_thinking: false } };
export const sum = { messages: user('What is 467 + 385?'), max_tokens: 300 };
export const greeting = { messages: user('Hello!'), max_tokens: 100, ...noThinking };
export const countries = {
  messages: user('List 3 countries and their capitals.'),
  max_tokens: 100,
  ...noThinking,
};
export const story = { prompt: 'Once upon a time', max_tokens: 100 };

export const weather: Tool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
    },
  },
};
export const ask = {
  messages: user('What is the weather in Paris?'),
  tools: [weather],
  max_tokens: 300,
};

export interface StreamedChoice {
  roles: number;
  content: string;
  reasoning: string;
  calls: ResponseToolCall[];
  /** Those that were not null, of which there must be one. */
  finishes: string[];
  matchedStop: number | string | null;
  logprobs: TokenLogprob[];
  tokenIds: number[];
}

/** By index. Throws where a chunk cannot be: text before the role, an argument of no call. */
export function joinChat(chunks: readonly ChatCompletionChunk[]): StreamedChoice[] {
  const joined: StreamedChoice[] = [];
  for (const { index, delta, ...choice } of chunks.flatMap((c) => c.choices)) {
    if (joined[index] === undefined && delta.role !== 'assistant')
      throw new Error(`choice ${index} begins without a role: ${JSON.stringify(delta)}`);
    joined[index] ??= {
      roles: 0,
      content: '',
      reasoning: '',
      calls: [],
      finishes: [],
      matchedStop: null,
      logprobs: [],
      tokenIds: [],
    };
    const to = joined[index];
    if (to.finishes.length > 0) throw new Error(`choice ${index} goes on after its end`);
    if (delta.role) to.roles++;
    to.content += delta.content ?? '';
    to.reasoning += delta.reasoning_content ?? '';
    for (const call of delta.tool_calls ?? []) {
      if (call.id !== undefined) {
        const { id, function: f } = call;
        const begun = { name: f.name!, arguments: f.arguments };
        to.calls[call.index] = { id, index: call.index, type: 'function', function: begun };
      } else {
        to.calls[call.index]!.function.arguments += call.function.arguments;
      }
    }
    to.logprobs.push(...(choice.logprobs?.content ?? []));
    to.tokenIds.push(...(choice.token_ids ?? []));
    if (choice.finish_reason !== null) {
      to.finishes.push(choice.finish_reason);
      to.matchedStop = choice.matched_stop;
    }
  }
  return joined;
}

export interface StreamedText {
  text: string;
  /** The text of the first chunk. */
  begin: string;
  finishes: string[];
  matchedStop: number | string | null;
  logprobs: CompletionLogprobs;
  tokenIds: number[];
}

/** By index. */
export function joinTexts(chunks: readonly CompletionChunk[]): StreamedText[] {
  const joined: StreamedText[] = [];
  for (const choice of chunks.flatMap((c) => c.choices)) {
    joined[choice.index] ??= {
      text: '',
      begin: choice.text,
      finishes: [],
      matchedStop: null,
      logprobs: { text_offset: [], token_logprobs: [], tokens: [], top_logprobs: [] },
      tokenIds: [],
    };
    const to = joined[choice.index]!;
    to.text += choice.text;
    to.tokenIds.push(...(choice.token_ids ?? []));
    to.logprobs.text_offset.push(...(choice.logprobs?.text_offset ?? []));
    to.logprobs.token_logprobs.push(...(choice.logprobs?.token_logprobs ?? []));
    to.logprobs.tokens.push(...(choice.logprobs?.tokens ?? []));
    to.logprobs.top_logprobs.push(...(choice.logprobs?.top_logprobs ?? []));
    if (choice.finish_reason === null) continue;
    to.finishes.push(choice.finish_reason);
    to.matchedStop = choice.matched_stop;
  }
  return joined;
}

/** Chunks that are nothing but the usage of the whole. */
export function usageChunks<T extends ChatCompletionChunk | CompletionChunk>(chunks: T[]): T[] {
  return chunks.filter((chunk) => chunk.choices.length === 0 && chunk.usage !== undefined);
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}
