import { readCallObject } from './call-object.js';
import { accept, peek, type Reading, skipSpace } from './input.js';
import { ToolParser, type ToolParserOptions } from './parser.js';

const opening = '<tool_call>';
const closing = '</tool_call>';

/** `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen 2.5 and Qwen 3. */
export class HermesToolParser extends ToolParser {
  constructor(options: ToolParserOptions) {
    super([opening], options);
  }

  protected override *block(): Reading<void> {
    const { input } = this;
    const calls = this.calls;
    for (;;) {
      yield* skipSpace(input);
      // One block may hold several objects.
      if ((yield* peek(input)) !== 0x7b || this.full) break;
      const isCall = yield* readCallObject(input, {
        stop: closing,
        begin: (name) => this.begin(name),
        write: this.arguments,
      });
      if (!isCall) return;
      this.endCall();
    }
    if (this.calls > calls && (yield* accept(input, closing))) this.done();
  }
}
