/** What the objects and chunks of both endpoints share. */
import type { Finish, Generation } from '../generation.js';
import type { GenerationGroup } from '../generations.js';
import type { CommonFields } from '../request/fields.js';
import type { Prepared } from '../request/plan.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { ChoiceExtras, FinishReason, MetaInfo, RoutedExperts, Usage } from '../types.js';

export interface ResponseContext<Fields extends CommonFields> {
  id: string;
  /** Unix seconds; the same on every chunk. */
  created: number;
  /** performance.now() when the request came. */
  started: number;
  model: string;
  weightVersion: string;
  prepared: Prepared<Fields>;
  group: GenerationGroup;
  tokenizer: Tokenizer | null;
}

export function responseContext<Fields extends CommonFields>(
  parts: Pick<ResponseContext<Fields>, 'id' | 'started' | 'prepared' | 'group' | 'tokenizer'> & {
    servedName: string;
  },
): ResponseContext<Fields> {
  return {
    ...parts,
    created: Math.floor(Date.now() / 1000),
    model: parts.prepared.fields.model ?? parts.servedName,
    weightVersion: 'default',
  };
}

/** Of some choices of a response; each prompt counts once, by its first sample. */
export function usage(generations: readonly Generation[]): Usage {
  const seen = new Set<number>();
  let promptTokens = 0;
  let cachedTokens = 0;
  let completionTokens = 0;
  let reasoningTokens = 0;
  for (const generation of generations) {
    const { plan } = generation;
    completionTokens += generation.completionTokens;
    reasoningTokens += generation.reasoningTokens;
    if (seen.has(plan.promptIndex)) continue;
    seen.add(plan.promptIndex);
    promptTokens += plan.promptIds.length;
    cachedTokens += generation.cachedTokens;
  }
  return {
    prompt_tokens: promptTokens,
    total_tokens: promptTokens + completionTokens,
    completion_tokens: completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    reasoning_tokens: reasoningTokens,
    completion_tokens_details: { reasoning_tokens: reasoningTokens },
  };
}

/** The last chunk's usage, and that of content chunks, as stream_options ask for. */
export function streamUsage(fields: CommonFields) {
  const options = fields.stream_options;
  return {
    atEnd: options?.include_usage ?? false,
    onChunks: options?.continuous_usage_stats ?? false,
  };
}

/** null when the request did not ask for it. */
export function routedExperts(
  generation: Generation | undefined,
  fields: CommonFields,
): RoutedExperts | null {
  const experts = generation?.finish?.routedExperts;
  if (!generation || !experts) return null;
  const rows = generation.plan.promptIds.length + generation.completionTokens - 1;
  const rowInts = rows > 0 ? experts.length / rows : 0;
  const wanted = experts.subarray((fields.routed_experts_start_len ?? 0) * rowInts);
  const bytes = Buffer.alloc(wanted.length * 4);
  for (let i = 0; i < wanted.length; i++) bytes.writeInt32LE(wanted[i]!, i * 4);
  return { routed_experts: bytes.toString('base64') };
}

/** How a choice ended. */
export function finishFields<Reason extends FinishReason>({ reason, matchedStop }: Finish) {
  // "abort" is SGLang's: OpenAI's types do not know it.
  return { finish_reason: reason as Reason, matched_stop: matchedStop };
}

/** Optional fields that a choice begins with. */
export function firstExtras(generation: Generation, fields: CommonFields): ChoiceExtras {
  return fields.return_token_ids || fields.return_prompt_token_ids
    ? { prompt_token_ids: [...generation.plan.promptIds] }
    : {};
}

/** Optional fields of a choice that ends. */
export function lastExtras<Fields extends CommonFields>(
  context: ResponseContext<Fields>,
  generation: Generation,
): ChoiceExtras {
  const { fields } = context.prepared;
  const experts = routedExperts(generation, fields);
  const matched = generation.finish?.matchedText ?? null;
  return {
    ...(matched !== null && { matched_stop_text: matched }),
    ...(fields.return_meta_info && { meta_info: metaInfo(context, generation) }),
    ...(experts && { sgl_ext: experts }),
  };
}

function metaInfo<Fields extends CommonFields>(
  { id, started, weightVersion }: ResponseContext<Fields>,
  generation: Generation,
): MetaInfo {
  const { finish, plan, completionTokens, cachedTokens } = generation;
  const { reason, matchedStop } = finish!;
  return {
    id,
    finish_reason:
      reason === 'length'
        ? { type: reason, length: completionTokens }
        : reason === 'abort'
          ? { type: reason, message: 'The request was aborted.' }
          : { type: reason, matched: matchedStop },
    prompt_tokens: plan.promptIds.length,
    completion_tokens: completionTokens,
    cached_tokens: cachedTokens,
    weight_version: weightVersion,
    e2e_latency: (performance.now() - started) / 1000,
  };
}

/** Optional fields of the whole response. */
export function responseExtras(generations: readonly Generation[], fields: CommonFields) {
  const experts = routedExperts(generations[0], fields);
  return experts ? { sglext: experts } : {};
}
