import { accept, matches, type Reading, skipSpace } from './input.js';
import { copyArguments } from './json.js';
import { ToolParser, type ToolParserOptions } from './parser.js';

/** The special tokens around a section of calls, and around each of them. */
export interface SectionMarkers {
  readonly sectionBegin: string;
  readonly sectionEnd: string;
  readonly callBegin: string;
  readonly callEnd: string;
}

/** Formats with calls between special tokens, in a section. */
export abstract class SectionToolParser extends ToolParser {
  readonly #markers: SectionMarkers;

  constructor(markers: SectionMarkers, options: ToolParserOptions) {
    super([markers.sectionBegin], options);
    this.#markers = markers;
  }

  /** From behind the call's opening to the beginning of its arguments. Null: it is no call. */
  protected abstract header(): Reading<{ name: string; id?: string } | null>;

  protected *beforeArguments(): Reading<void> {
    yield* skipSpace(this.input);
  }

  /** What stands between the arguments and the call's closing. */
  protected *afterArguments(): Reading<void> {}

  protected override *block(): Reading<void> {
    const { input } = this;
    const { sectionEnd, callBegin, callEnd } = this.#markers;
    const calls = this.calls;
    for (;;) {
      yield* skipSpace(input);
      if (this.calls > calls && (yield* accept(input, sectionEnd))) return this.done();
      if (!(yield* matches(input, callBegin)) || this.full) return;
      input.take(callBegin.length);
      const header = yield* this.header();
      if (header === null) return;
      this.begin(header.name, header.id);
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
}
