/** Chat completions: the object, and the chunks of a stream. */
import type { Generation, Score } from '../generation.js';
import type { ChatFields } from '../request/chat.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionChunkChoice,
  ChatCompletionDelta,
  ChatLogprobs,
} from '../types.js';
import {
  choiceExtras,
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
      const { content, tokenIds, scores } = generation.take();
      return {
        index: generation.plan.index,
        message: { role: 'assistant', content, refusal: null, reasoning_content: null },
        logprobs: logprobs(context, scores),
        finish_reason: generation.finish!.reason,
        matched_stop: generation.finish!.matchedStop,
        ...(fields.return_token_ids && {
          token_ids: tokenIds,
          prompt_token_ids: [...generation.plan.promptIds],
        }),
        ...choiceExtras(generation, fields),
      };
    }),
    usage: usage(generations),
    metadata: { weight_version: context.weightVersion },
    ...responseExtras(generations, fields),
  };
}

/** Per choice: role, contents, finish; then sglext and usage for the whole. */
export async function* chatChunks(context: Context): AsyncGenerator<ChatCompletionChunk> {
  const { group, prepared } = context;
  const { fields } = prepared;
  const wantsUsage = streamUsage(fields);
  const begun = new Set<Generation>();
  for (let next = await group.next(); next !== null; next = await group.next()) {
    const generation: Generation = next;
    // Taken together: while the reader has a chunk, more may come.
    const { content, tokenIds, scores } = generation.take();
    const { finish } = generation;
    const soFar = wantsUsage.onChunks ? { usage: usage([generation]) } : {};
    if (!begun.has(generation)) {
      begun.add(generation);
      const ids = { prompt_token_ids: [...generation.plan.promptIds] };
      const role = { reasoning_content: null, role: 'assistant', content: '' } as const;
      yield chunk(context, generation, role, fields.return_token_ids ? ids : {});
    }
    if (content !== '' || scores.length > 0 || (fields.return_token_ids && tokenIds.length > 0)) {
      const delta = { reasoning_content: null, content };
      const extras = {
        logprobs: logprobs(context, scores),
        ...(fields.return_token_ids && { token_ids: tokenIds }),
      };
      yield { ...chunk(context, generation, delta, extras), ...soFar };
    }
    if (finish) {
      const end = { finish_reason: finish.reason, matched_stop: finish.matchedStop };
      const extras = { ...end, ...choiceExtras(generation, fields) };
      yield chunk(context, generation, { reasoning_content: null }, extras);
    }
  }
  if (group.cancelled) return;
  const extras = responseExtras(group.generations, fields);
  if (extras.sglext) yield { ...head(context), choices: [], ...extras };
  if (wantsUsage.atEnd) yield { ...head(context), choices: [], usage: usage(group.generations) };
}

function head({ id, created, model }: Context) {
  return { id, object: 'chat.completion.chunk' as const, created, model };
}

function chunk(
  context: Context,
  generation: Generation,
  delta: ChatCompletionDelta,
  extras: Partial<ChatCompletionChunkChoice>,
): ChatCompletionChunk {
  const none = { logprobs: null, finish_reason: null, matched_stop: null };
  const choice = { index: generation.plan.index, delta, ...none, ...extras };
  return { ...head(context), choices: [choice] };
}

function logprobs({ prepared, tokenizer }: Context, scores: readonly Score[]): ChatLogprobs | null {
  return prepared.fields.logprobs ? chatLogprobs(scores, tokenizer) : null;
}
