import { accept, matches, type Reading, readName, skipSpace } from './input.js';
import { copyArguments } from './json.js';
import { ToolParser, type ToolParserOptions } from './parser.js';

const sectionBegin = '<|tool_calls_section_begin|>';
const sectionEnd = '<|tool_calls_section_end|>';
const callBegin = '<|tool_call_begin|>';
const callEnd = '<|tool_call_end|>';
const argumentBegin = '<|tool_call_argument_begin|>';

export const kimiMarkers = [sectionBegin, sectionEnd, callBegin, callEnd, argumentBegin] as const;

/**
 * Kimi K2: `functions.name:number` and the arguments between special tokens, calls in a section.
 *
 * A call's id is `functions.name:n`, n counting the calls of the whole conversation: the model's own
 * number begins again at 0 in some versions, and ids have to be unique.
 */
export class KimiK2ToolParser extends ToolParser {
  constructor(options: ToolParserOptions) {
    super([sectionBegin], options);
  }

  protected override *block(): Reading<void> {
    const { input } = this;
    const calls = this.calls;
    for (;;) {
      yield* skipSpace(input);
      if (this.calls > calls && (yield* accept(input, sectionEnd))) return this.done();
      if (!(yield* matches(input, callBegin)) || this.full) return;
      input.take(callBegin.length);
      const header = yield* readName(input, argumentBegin);
      const name = header && /^(?:functions\.)?(.+?)(?::\d+)?$/.exec(header)?.[1];
      if (!name) return;
      this.begin(name, `functions.${name}:${this.callsBefore + this.calls}`);
      yield* skipSpace(input);
      yield* copyArguments(input, callEnd, this.arguments);
      this.endCall();
      yield* skipSpace(input);
      if (!(yield* accept(input, callEnd))) return;
      input.mark();
    }
  }
}
