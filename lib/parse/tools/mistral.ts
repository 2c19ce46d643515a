import { randomBytes } from 'node:crypto';
import { readCallObject } from './call-object.js';
import { accept, peek, type Reading, readName, readNameBefore, skipSpace } from './input.js';
import { acceptSpaced, copyArguments } from './json.js';
import { ToolParser, type ToolParserOptions } from './parser.js';

const opening = '[TOOL_CALLS]';
const callId = '[CALL_ID]';
const args = '[ARGS]';

/**
 * Mistral's two forms: `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`, and since tokenizer v11
 * `[TOOL_CALLS]name[CALL_ID]id[ARGS]{...}` with a tag per call, where the id may be missing, and in some
 * models the tag before the arguments too.
 *
 * Ids are nine letters or digits, the model's where it writes one before the arguments: Mistral's
 * templates refuse a conversation that has others.
 */
export class MistralToolParser extends ToolParser {
  constructor(options: ToolParserOptions) {
    super([opening], options);
  }

  protected override randomId(): string {
    return randomBytes(5).toString('hex').slice(0, 9);
  }

  protected override *block(): Reading<void> {
    const { input } = this;
    yield* skipSpace(input);
    const first = yield* peek(input);
    if (first === 0x5b) {
      input.take(1);
      yield* this.#list();
    } else if (first === 0x7b) {
      if (yield* this.#object()) this.done();
    } else yield* this.#named();
  }

  *#object(): Reading<boolean> {
    const isCall = yield* readCallObject(this.input, {
      stop: opening,
      begin: (name) => this.begin(name),
      write: this.arguments,
    });
    if (isCall) this.endCall();
    return isCall;
  }

  *#list(): Reading<void> {
    const { input } = this;
    do {
      yield* skipSpace(input);
      if ((yield* peek(input)) !== 0x7b || this.full) return;
      if (!(yield* this.#object())) return;
    } while (yield* acceptSpaced(input, ','));
    if (yield* accept(input, ']')) this.done();
  }

  *#named(): Reading<void> {
    const { input } = this;
    const found = yield* readNameBefore(input, [callId, args, '{']);
    if (!found || /\s/.test(found.name)) return;
    let id: string | null = null;
    if (yield* accept(input, callId)) {
      id = yield* readName(input, args);
      if (id === null) return;
    } else yield* accept(input, args);
    this.begin(found.name, id !== null && /^[a-z0-9]{9}$/i.test(id) ? id : undefined);
    yield* skipSpace(input);
    yield* copyArguments(input, opening, this.arguments);
    this.endCall();
  }
}
