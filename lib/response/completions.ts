/** Completions: the object, and the chunks of a stream. */
import type { Generation, Output } from '../generation.js';
import { joinEvents } from '../message-events.js';
import { type CompletionFields, samplesOf } from '../request/completions.js';
import type {
  Completion,
  CompletionChoice,
  CompletionChunk,
  CompletionFinishReason,
  CompletionLogprobs,
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
import { completionLogprobs, joinLogprobs, promptLogprobs } from './logprobs.js';

type Context = ResponseContext<CompletionFields>;

/** When every choice has ended. */
export function completion(context: Context): Completion {
  const { generations } = context.group;
  const { fields } = context.prepared;
  const returned = best(context);
  return {
    ...head(context),
    choices: returned.map((g, index) => ({
      ...choice(context, g, g.take(), g.finish, true),
      index,
    })),
    usage: usage(generations),
    metadata: { weight_version: context.weightVersion },
    ...responseExtras(returned, fields),
  };
}

/** With best_of: of each prompt the n samples with the highest mean logprob, the best first. */
function best({ group, prepared: { fields } }: Context): readonly Generation[] {
  const { generations } = group;
  const samples = samplesOf(fields);
  const n = fields.n ?? 1;
  if (samples === n) return generations;
  const mean = (g: Generation) => g.logprobSum / Math.max(1, g.completionTokens);
  const kept: Generation[] = [];
  for (let at = 0; at < generations.length; at += samples) {
    const own = generations.slice(at, at + samples);
    kept.push(...own.sort((a, b) => mean(b) - mean(a)).slice(0, n));
  }
  return kept;
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
  const { content } = joinEvents(output.events);
  return {
    index: generation.plan.index,
    text: first ? prompt + content : content,
    logprobs: logprobs(context, generation, output, prompt.length, first),
    // null before the end: OpenAI's type does not say so.
    ...(finish
      ? finishFields<CompletionFinishReason>(finish)
      : { finish_reason: null as never, matched_stop: null }),
    ...(fields.return_token_ids && { token_ids: output.tokenIds }),
    ...(first && firstExtras(generation, fields)),
    ...(finish && lastExtras(context, generation)),
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
