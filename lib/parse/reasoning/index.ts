import { HarmonyParser } from '../harmony.js';
import type { MessageParser } from '../types.js';
import type { ReasoningFormat } from './formats.js';
import { TagReasoningParser } from './tags.js';

export {
  harmonyMarkers,
  type ReasoningFormat,
  type ReasoningTags,
  reasoningFormat,
  reasoningParserName,
  type ThinkingDefault,
} from './formats.js';
export { type PromptState, startsInReasoning } from './starts.js';
export { type TagReasoningOptions, TagReasoningParser } from './tags.js';

export interface ReasoningParserOptions {
  /** See {@link startsInReasoning}; not used by gpt-oss. */
  startsInReasoning: boolean;
  /** Of gpt-oss only: `harmonyPrefix` of the prompt. */
  harmonyPrefix?: string;
  /** False gives the reasoning as one event when it ends. Default true. */
  streamReasoning?: boolean;
}

/** A parser that separates reasoning only: tool calls stay in the content as they are written. */
export function createReasoningParser(
  format: ReasoningFormat,
  options: ReasoningParserOptions,
): MessageParser {
  if (format.tags) return new TagReasoningParser(format.tags, options);
  return new HarmonyParser({
    tools: null,
    prefix: options.harmonyPrefix,
    streamReasoning: options.streamReasoning,
  });
}
