/** What the objects and chunks of both endpoints share. */
import { randomUUID } from 'node:crypto';
import type { Generation } from '../generation.js';
import type { GenerationGroup } from '../generations.js';
import type { CommonFields } from '../request/fields.js';
import type { Prepared } from '../request/plan.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { RoutedExperts, Usage } from '../types.js';

export interface ResponseContext<Fields extends CommonFields> {
  id: string;
  /** Unix seconds; the same on every chunk. */
  created: number;
  model: string;
  weightVersion: string;
  prepared: Prepared<Fields>;
  group: GenerationGroup;
  tokenizer: Tokenizer | null;
}

export function responseContext<Fields extends CommonFields>(
  parts: Pick<ResponseContext<Fields>, 'prepared' | 'group' | 'tokenizer'> & {
    servedName: string;
  },
): ResponseContext<Fields> {
  return {
    ...parts,
    id: randomUUID().replaceAll('-', ''),
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
  for (const { plan, cachedTokens: cached, completionTokens: completed } of generations) {
    completionTokens += completed;
    if (seen.has(plan.promptIndex)) continue;
    seen.add(plan.promptIndex);
    promptTokens += plan.promptIds.length;
    cachedTokens += cached;
  }
  return {
    prompt_tokens: promptTokens,
    total_tokens: promptTokens + completionTokens,
    completion_tokens: completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    reasoning_tokens: 0,
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

/** Optional fields of a choice that ends. */
export function choiceExtras(generation: Generation, fields: CommonFields) {
  const experts = routedExperts(generation, fields);
  return experts ? { sgl_ext: experts } : {};
}

/** Optional fields of the whole response. */
export function responseExtras(generations: readonly Generation[], fields: CommonFields) {
  const experts = routedExperts(generations[0], fields);
  return experts ? { sglext: experts } : {};
}
