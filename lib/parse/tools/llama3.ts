import { readCallObject } from './call-object.js';
import { accept, peek, type Reading, skipSpace } from './input.js';
import { acceptSpaced } from './json.js';
import { ToolParser, type ToolParserOptions } from './parser.js';

const opening = '<|python_tag|>';

/**
 * `{"name": ..., "parameters": {...}}`, several separated by `;`: Llama 3.1 to 3.3. Without the tag before
 * it an object is a call only at the beginning of the text, and only if it has the keys of one. What else
 * may follow the tag (`tool.call(...)`, Python) is content.
 */
export class Llama3ToolParser extends ToolParser {
  constructor(options: ToolParserOptions) {
    super([opening], options);
  }

  protected override *start(): Reading<void> {
    yield* skipSpace(this.input);
    yield* this.#calls(true);
  }

  protected override *block(): Reading<void> {
    yield* skipSpace(this.input);
    yield* this.#calls(false);
  }

  *#calls(bare: boolean): Reading<void> {
    const { input } = this;
    while ((yield* peek(input)) === 0x7b && !this.full) {
      const isCall = yield* readCallObject(input, {
        stop: opening,
        begin: (name) => this.begin(name),
        write: this.arguments,
        bare,
      });
      if (!isCall) return;
      this.endCall();
      if (yield* acceptSpaced(input, ';')) {
        if (yield* accept(input, opening)) yield* skipSpace(input);
        if (input.atEnd) this.done();
      }
    }
  }
}
