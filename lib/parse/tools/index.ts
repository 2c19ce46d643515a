import { HarmonyParser } from '../harmony.js';
import type { MessageParser } from '../types.js';
import { DeepSeekV3ToolParser, DeepSeekV31ToolParser } from './deepseek.js';
import type { ToolFormat } from './formats.js';
import { HermesToolParser } from './hermes.js';
import { KimiK2ToolParser } from './kimi-k2.js';
import { Llama3ToolParser } from './llama3.js';
import { MistralToolParser } from './mistral.js';
import { newCallId, type ToolParserOptions } from './parser.js';
import { Qwen3CoderToolParser } from './qwen3-coder.js';

export {
  type ParameterFrame,
  type ToolCallFrame,
  type ToolFormat,
  toolCallFrame,
  toolFormat,
  toolParserName,
} from './formats.js';
export type { ToolDeclaration, ToolParserOptions } from './parser.js';

const parsers = {
  hermes: HermesToolParser,
  'qwen3-coder': Qwen3CoderToolParser,
  llama3: Llama3ToolParser,
  mistral: MistralToolParser,
  'deepseek-v3': DeepSeekV3ToolParser,
  'deepseek-v3.1': DeepSeekV31ToolParser,
  kimi_k2: KimiK2ToolParser,
} as const;

/**
 * A parser that takes tool calls out of a text; reasoning stays in the content as it is written. For a
 * request without tools, or with `tool_choice` none, none is wanted: every text is content then.
 */
export function createToolParser(
  format: ToolFormat,
  options: ToolParserOptions = {},
): MessageParser {
  if (format.name !== 'gpt-oss') return new parsers[format.name](options);
  return new HarmonyParser({ tools: harmonyTools(options), separateReasoning: false });
}

/** The same options for gpt-oss's parser. */
export function harmonyTools(options: ToolParserOptions) {
  const { declaredTools = [], parallel = true, newId = newCallId } = options;
  return { names: declaredTools.map(({ name }) => name), callId: () => newId(), parallel };
}
