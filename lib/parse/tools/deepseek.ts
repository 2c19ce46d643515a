import { accept, matches, type Reading, readName, skipSpace } from './input.js';
import { copyArguments } from './json.js';
import { ToolParser, type ToolParserOptions } from './parser.js';

const sectionBegin = '<｜tool▁calls▁begin｜>';
const sectionEnd = '<｜tool▁calls▁end｜>';
const callBegin = '<｜tool▁call▁begin｜>';
const callEnd = '<｜tool▁call▁end｜>';
const separator = '<｜tool▁sep｜>';
const fence = '```';

export const deepSeekMarkers = [sectionBegin, sectionEnd, callBegin, callEnd, separator] as const;

/** What DeepSeek's two forms have in common: calls with special tokens around them in a section. */
abstract class DeepSeekToolParser extends ToolParser {
  constructor(options: ToolParserOptions) {
    super([sectionBegin], options);
  }

  /** From behind the call's opening to the beginning of its arguments. */
  protected abstract name(): Reading<string | null>;

  /** What stands between the arguments and the call's closing. */
  protected *afterArguments(): Reading<void> {}

  protected override *block(): Reading<void> {
    const { input } = this;
    const calls = this.calls;
    for (;;) {
      yield* skipSpace(input);
      if (this.calls > calls && (yield* accept(input, sectionEnd))) return this.done();
      if (!(yield* matches(input, callBegin)) || this.full) return;
      input.take(callBegin.length);
      const name = yield* this.name();
      if (name === null) return;
      this.begin(name);
      yield* this.beforeArguments();
      yield* copyArguments(input, callEnd, this.arguments);
      this.endCall();
      yield* this.afterArguments();
      yield* skipSpace(input);
      if (!(yield* accept(input, callEnd))) {
        // Cut in its closing: that is no content.
        if (input.atEnd) this.done();
        return;
      }
      input.mark();
    }
  }

  protected *beforeArguments(): Reading<void> {
    yield* skipSpace(this.input);
  }
}

/** DeepSeek V3 and R1: `function<sep>name`, a line end, and the arguments in a json fence. */
export class DeepSeekV3ToolParser extends DeepSeekToolParser {
  protected override *name(): Reading<string | null> {
    const type = yield* readName(this.input, separator);
    return type === null ? null : yield* readName(this.input, '\n');
  }

  protected override *beforeArguments(): Reading<void> {
    yield* skipSpace(this.input);
    if (yield* accept(this.input, fence)) yield* accept(this.input, 'json');
    yield* skipSpace(this.input);
  }

  protected override *afterArguments(): Reading<void> {
    yield* skipSpace(this.input);
    yield* accept(this.input, fence);
  }
}

/** DeepSeek V3.1: `name<sep>{...}`. */
export class DeepSeekV31ToolParser extends DeepSeekToolParser {
  protected override *name(): Reading<string | null> {
    return yield* readName(this.input, separator);
  }
}
