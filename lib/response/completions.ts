/** Completions: the object, and the chunks of a stream. */
import type { Generation, Output } from '../generation.js';
import type { CompletionFields } from '../request/completions.js';
import type {
  Completion,
  CompletionChoice,
  CompletionChunk,
  CompletionLogprobs,
} from '../types.js';
import {
  choiceExtras,
  type ResponseContext,
  responseExtras,
  streamUsage,
  usage,
} from './common.js';
import { completionLogprobs, joinLogprobs, promptLogprobs } from './logprobs.js';

type Context = ResponseContext<CompletionFields>;

/** When every choice has ended. */
export function completion(context: Context): Completion {
  const { generations } = context.group;
  const { fields } = context.prepared;
  return {
    ...head(context),
    choices: generations.map((g) => choice(context, g, g.take(), g.finish, true)),
    usage: usage(generations),
    metadata: { weight_version: context.weightVersion },
    ...responseExtras(generations, fields),
  };
}

/** Texts as they come, the finish_reason on a choice's last; then sglext and usage for the whole. */
export async function* completionChunks(context: Context): AsyncGenerator<CompletionChunk> {
  const { group, prepared } = context;
  const { fields } = prepared;
  const wantsUsage = streamUsage(fields);
  const begun = new Set<Generation>();
  for (let next = await group.next(); next !== null; next = await group.next()) {
    const generation: Generation = next;
    // The echoed prompt's logprobs are all there when the first token is, or the end.
    const waits = generation.completionTokens === 0 && !generation.finish;
    if (waits) continue;
    const output = generation.take();
    const first = !begun.has(generation);
    begun.add(generation);
    const part = choice(context, generation, output, generation.finish, first);
    const empty = part.text === '' && output.scores.length === 0 && !part.token_ids?.length;
    if (empty && !generation.finish && !first) continue;
    yield {
      ...head(context),
      choices: [part],
      ...(wantsUsage.onChunks && { usage: usage([generation]) }),
    };
  }
  if (group.cancelled) return;
  const extras = responseExtras(group.generations, fields);
  if (extras.sglext) yield { ...head(context), choices: [], ...extras };
  if (wantsUsage.atEnd) yield { ...head(context), choices: [], usage: usage(group.generations) };
}

function head({ id, created, model }: Context) {
  return { id, object: 'text_completion' as const, created, model };
}

/** @param first the choice's first part, which begins with the echoed prompt */
function choice(
  context: Context,
  generation: Generation,
  output: Output,
  finish: Generation['finish'],
  first: boolean,
): CompletionChoice {
  const { fields, promptTexts } = context.prepared;
  const prompt = promptTexts[generation.plan.promptIndex]!;
  return {
    index: generation.plan.index,
    text: first ? prompt + output.content : output.content,
    logprobs: logprobs(context, generation, output, prompt.length, first),
    // null before the end: OpenAI's type does not say so.
    finish_reason: finish?.reason ?? (null as never),
    matched_stop: finish?.matchedStop ?? null,
    ...(fields.return_token_ids && {
      token_ids: output.tokenIds,
      ...(first && { prompt_token_ids: [...generation.plan.promptIds] }),
    }),
    ...(finish && choiceExtras(generation, fields)),
  };
}

function logprobs(
  { prepared: { fields }, tokenizer }: Context,
  generation: Generation,
  output: Output,
  start: number,
  first: boolean,
): CompletionLogprobs | null {
  if (fields.logprobs === undefined) return null;
  const generated = completionLogprobs(output.scores, start, tokenizer);
  return first && fields.echo
    ? joinLogprobs(promptLogprobs(generation, tokenizer), generated)
    : generated;
}
