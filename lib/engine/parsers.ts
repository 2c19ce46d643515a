/** Which parsers take a model's answers apart: what the options say, or what fits the chat template. */
import type { LoadOptions } from '../options.js';
import { detectReasoningParser, detectThinking, detectToolParser } from '../parse/detect.js';
import { reasoningParserName } from '../parse/reasoning/index.js';
import { toolCallFrame, toolFormat, toolParserName } from '../parse/tools/index.js';
import type { TextModel } from '../request/render.js';

/** @param templates name -> Jinja source */
export function chooseParsers(
  templates: ReadonlyMap<string, string>,
  options: Pick<LoadOptions, 'reasoningParser' | 'toolParser'>,
): Pick<TextModel, 'reasoningParser' | 'toolParser' | 'toolFrame' | 'thinking'> {
  const [first = ''] = templates.values();
  const usual = templates.get('default') ?? first;
  const withTools = templates.get('tool_use') ?? usual;
  const toolParser = chosen(options.toolParser, toolParserName, () => detectToolParser(withTools));
  return {
    reasoningParser: chosen(options.reasoningParser, reasoningParserName, () =>
      detectReasoningParser(usual),
    ),
    toolParser,
    toolFrame: toolParser && toolCallFrame(toolFormat(toolParser), withTools),
    thinking: detectThinking(usual),
  };
}

function chosen<Name>(
  option: string | undefined,
  read: (name: string, param: string) => Name,
  detect: () => Name | null,
): Name | null {
  const asked = option?.toLowerCase() ?? 'auto';
  if (asked === 'none') return null;
  return asked === 'auto' ? detect() : read(asked, 'parser');
}
