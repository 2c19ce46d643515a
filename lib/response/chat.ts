/** Chat completions: the object, and the chunks of a stream. */
import type { Generation, Score } from '../generation.js';
import { joinEvents, type Message } from '../message-events.js';
import type { MessageEvent } from '../parse/types.js';
import type { ChatFields } from '../request/chat.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionChunkChoice,
  ChatCompletionDelta,
  ChatLogprobs,
  ResponseMessage,
  ResponseToolCall,
} from '../types.js';
import {
  finishFields,
  firstExtras,
  lastExtras,
  type ResponseContext,
  responseExtras,
  streamUsage,
  usage,
} from './common.js';
import { chatLogprobs } from './logprobs.js';

type Context = ResponseContext<ChatFields>;

/** When every choice has ended. */
export function chatCompletion(context: Context): ChatCompletion {
  const { generations } = context.group;
  const { fields } = context.prepared;
  return {
    id: context.id,
    object: 'chat.completion',
    created: context.created,
    model: context.model,
    choices: generations.map((generation) => {
      const { events, tokenIds, scores } = generation.take();
      return {
        index: generation.plan.index,
        message: message(joinEvents(events)),
        logprobs: logprobs(context, scores),
        ...finishFields(generation.finish!),
        ...(fields.return_token_ids && { token_ids: tokenIds }),
        ...firstExtras(generation, fields),
        ...lastExtras(context, generation),
      };
    }),
    usage: usage(generations),
    metadata: { weight_version: context.weightVersion },
    ...responseExtras(generations, fields),
  };
}

function message({ content, reasoning, calls }: Message): ResponseMessage {
  const toolCalls = calls.map(
    ({ index, id, name, arguments: text }): ResponseToolCall => ({
      id,
      index,
      type: 'function',
      function: { name, arguments: text },
    }),
  );
  return {
    role: 'assistant',
    content,
    refusal: null,
    reasoning_content: reasoning === '' ? null : reasoning,
    // OpenAI leaves it out, SGLang has null.
    tool_calls: toolCalls.length > 0 ? toolCalls : (null as unknown as undefined),
  };
}

/** Per choice: role, what it says, finish; then sglext and usage for the whole. */
export async function* chatChunks(context: Context): AsyncGenerator<ChatCompletionChunk> {
  const { group, prepared } = context;
  const { fields } = prepared;
  const wantsUsage = streamUsage(fields);
  const begun = new Set<Generation>();
  for (let next = await group.next(); next !== null; next = await group.next()) {
    const generation: Generation = next;
    // Taken together: while the reader has a chunk, more may come.
    const { events, tokenIds, scores } = generation.take();
    const { finish } = generation;
    const soFar = wantsUsage.onChunks ? { usage: usage([generation]) } : {};
    if (!begun.has(generation)) {
      begun.add(generation);
      const role = { reasoning_content: null, role: 'assistant', content: '' } as const;
      yield chunk(context, generation, role, firstExtras(generation, fields));
    }
    // What the tokens have besides text rides on the first chunk, or on one without text.
    const deltas: ChatCompletionDelta[] = events.map(delta);
    const rides = scores.length > 0 || (fields.return_token_ids && tokenIds.length > 0);
    if (deltas.length === 0 && rides) deltas.push({ reasoning_content: null, content: '' });
    for (const [i, said] of deltas.entries()) {
      const extras =
        i > 0
          ? {}
          : {
              logprobs: logprobs(context, scores),
              ...(fields.return_token_ids && { token_ids: tokenIds }),
            };
      yield { ...chunk(context, generation, said, extras), ...soFar };
    }
    if (finish) {
      const extras = { ...finishFields(finish), ...lastExtras(context, generation) };
      yield chunk(context, generation, { reasoning_content: null }, extras);
    }
  }
  if (group.cancelled) return;
  const extras = responseExtras(group.generations, fields);
  if (extras.sglext) yield { ...head(context), choices: [], ...extras };
  if (wantsUsage.atEnd) yield { ...head(context), choices: [], usage: usage(group.generations) };
}

function delta(event: MessageEvent): ChatCompletionDelta {
  switch (event.type) {
    case 'reasoning':
      return { reasoning_content: event.text };
    case 'content':
      return { reasoning_content: null, content: event.text };
    case 'toolCall': {
      const { index, id, name } = event;
      const call = { index, id, type: 'function' as const, function: { name, arguments: '' } };
      return { reasoning_content: null, tool_calls: [call] };
    }
    case 'toolArguments': {
      const call = { index: event.index, function: { arguments: event.text } };
      return { reasoning_content: null, tool_calls: [call] };
    }
  }
}

function head({ id, created, model }: Context) {
  return { id, object: 'chat.completion.chunk' as const, created, model };
}

function chunk(
  context: Context,
  generation: Generation,
  said: ChatCompletionDelta,
  extras: Partial<ChatCompletionChunkChoice>,
): ChatCompletionChunk {
  const none = { logprobs: null, finish_reason: null, matched_stop: null };
  const choice = { index: generation.plan.index, delta: said, ...none, ...extras };
  return { ...head(context), choices: [choice] };
}

function logprobs({ prepared, tokenizer }: Context, scores: readonly Score[]): ChatLogprobs | null {
  return prepared.fields.logprobs ? chatLogprobs(scores, tokenizer) : null;
}
