import { accept, type Reading, readName, skipSpace } from './input.js';
import type { ToolParserOptions } from './parser.js';
import { SectionToolParser } from './section.js';

const markers = {
  sectionBegin: '<｜tool▁calls▁begin｜>',
  sectionEnd: '<｜tool▁calls▁end｜>',
  callBegin: '<｜tool▁call▁begin｜>',
  callEnd: '<｜tool▁call▁end｜>',
};
const separator = '<｜tool▁sep｜>';
const fence = '```';

export const deepSeekMarkers = [...Object.values(markers), separator] as const;

/** DeepSeek V3 and R1: `function<sep>name`, a line end, and the arguments in a json fence. */
export class DeepSeekV3ToolParser extends SectionToolParser {
  constructor(options: ToolParserOptions) {
    super(markers, options);
  }

  protected override *header(): Reading<{ name: string } | null> {
    const type = yield* readName(this.input, separator);
    const name = type === null ? null : yield* readName(this.input, '\n');
    return name === null ? null : { name };
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
export class DeepSeekV31ToolParser extends SectionToolParser {
  constructor(options: ToolParserOptions) {
    super(markers, options);
  }

  protected override *header(): Reading<{ name: string } | null> {
    const name = yield* readName(this.input, separator);
    return name === null ? null : { name };
  }
}
