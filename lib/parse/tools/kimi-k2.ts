import { type Reading, readName } from './input.js';
import type { ToolParserOptions } from './parser.js';
import { SectionToolParser } from './section.js';

const markers = {
  sectionBegin: '<|tool_calls_section_begin|>',
  sectionEnd: '<|tool_calls_section_end|>',
  callBegin: '<|tool_call_begin|>',
  callEnd: '<|tool_call_end|>',
};
const argumentBegin = '<|tool_call_argument_begin|>';

export const kimiMarkers = [...Object.values(markers), argumentBegin] as const;

/**
 * Kimi K2: `functions.name:number` and the arguments between special tokens, calls in a section.
 *
 * A call's id is `functions.name:n`, n counting the calls of the whole conversation: the model's own
 * number begins again at 0 in some versions, and ids have to be unique.
 */
export class KimiK2ToolParser extends SectionToolParser {
  constructor(options: ToolParserOptions) {
    super(markers, options);
  }

  protected override *header(): Reading<{ name: string; id: string } | null> {
    const header = yield* readName(this.input, argumentBegin);
    const name = header && /^(?:functions\.)?(.+?)(?::\d+)?$/.exec(header)?.[1];
    return name ? { name, id: `functions.${name}:${this.callsBefore + this.calls}` } : null;
  }
}
