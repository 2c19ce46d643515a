import { accept, type Input, matches, type Reading, readName, skipSpace } from './input.js';
import { escapeJson, type Write } from './json.js';
import { isText, parameterJson, parameterTypes } from './parameter-values.js';
import { ToolParser, type ToolParserOptions } from './parser.js';

const opening = '<tool_call>';
const closing = '</tool_call>';
const functionBegin = '<function=';
const functionEnd = '</function>';
const parameterBegin = '<parameter=';
const parameterEnd = '</parameter>';

/**
 * `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`: Qwen 3 Coder, Qwen
 * 3.5. The outer tags may be missing, as these models sometimes leave them out.
 *
 * Values are bare text, with one line end on either side that is not theirs; the tool's schema says what
 * they are. Strings are passed on as they come, others when they are complete.
 */
export class Qwen3CoderToolParser extends ToolParser {
  constructor(options: ToolParserOptions) {
    super([opening, functionBegin], options);
  }

  protected override *block(found: string): Reading<void> {
    const { input } = this;
    let isCall = found === functionBegin;
    if (!isCall) {
      yield* skipSpace(input);
      isCall = yield* accept(input, functionBegin);
    }
    while (isCall) {
      const name = yield* readName(input, '>');
      if (name === null) return;
      this.begin(name);
      const declared = this.declaredTools.find((tool) => tool.name === name);
      yield* this.#parameters(declared?.parameters);
      this.endCall();
      yield* skipSpace(input);
      if (yield* accept(input, closing)) return this.done();
      isCall = !this.full && (yield* accept(input, functionBegin));
    }
  }

  *#parameters(schema: unknown): Reading<void> {
    const { input } = this;
    let before = '{';
    const close = (): void => this.arguments(before === '{' ? '{}' : '}');
    for (;;) {
      yield* skipSpace(input);
      if (yield* accept(input, functionEnd)) return close();
      input.mark();
      const key = (yield* accept(input, parameterBegin)) ? yield* readName(input, '>') : null;
      if (key === null) {
        if (!input.atEnd) close();
        return;
      }
      input.unmark();
      this.arguments(`${before}"${escapeJson(key)}": `);
      before = ', ';
      yield* accept(input, '\n');
      const types = parameterTypes(schema, key);
      if (isText(types)) {
        this.arguments('"');
        const complete = yield* readValue(input, (text) => this.arguments(escapeJson(text)));
        if (!complete) return;
        this.arguments('"');
      } else {
        let value = '';
        const complete = yield* readValue(input, (text) => {
          value += text;
        });
        if (complete || value !== '') this.arguments(parameterJson(value, types));
        if (!complete) return;
      }
    }
  }
}

const valueEnds = [`\n${parameterEnd}`, parameterEnd] as const;

/** Reads up to the end of a parameter, with the line end before it. @returns false where the text ended */
function* readValue(input: Input, write: Write): Reading<boolean> {
  for (;;) {
    const { rest } = input;
    let length = 0;
    while (length < rest.length && rest[length] !== '\n' && rest[length] !== '<') length++;
    write(input.take(length));
    if (input.length === 0) {
      if (input.ended) return false;
      yield;
      continue;
    }
    for (const end of valueEnds) {
      if (!(yield* matches(input, end))) continue;
      input.take(end.length);
      return true;
    }
    write(input.take(1));
  }
}
