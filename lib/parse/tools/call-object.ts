import { type Input, peek, type Reading, skipSpace } from './input.js';
import { acceptSpaced, copyArguments, copyValue, readString, type Write } from './json.js';

export interface CallObjectOptions {
  /** A marker that ends the object wherever it stands outside a string. */
  stop: string;
  /** The name is known: a call begins. */
  begin(name: string): void;
  /** A piece of the arguments; after `begin`. */
  write: Write;
  /**
   * No marker says that this object is a call, so that it needs both a name and arguments to be one, and
   * no keys but those of a call.
   */
  bare?: boolean;
}

const argumentKeys = new Set(['arguments', 'parameters']);
/** Every key that a call may have. */
const callKeys = new Set([...argumentKeys, 'name', 'type', 'id']);

/**
 * Reads `{"name": ..., "arguments": {...}}` from its brace on; `parameters` is another word for
 * `arguments`. Arguments that come before the name wait for it. Other keys are left out.
 *
 * @returns whether it is a call. Where its text is malformed, reading stops there; a call that has begun
 * stays one.
 */
export function* readCallObject(input: Input, options: CallObjectOptions): Reading<boolean> {
  const { stop, begin, write, bare = false } = options;
  let name: string | null = null;
  let begun = false;
  let hasArguments = false;
  /** Arguments that came before the name. */
  let waiting = '';
  const open = (called: string): void => {
    begin(called);
    begun = true;
    write(waiting);
  };

  input.take(1);
  for (;;) {
    yield* skipSpace(input);
    if ((yield* peek(input)) === 0x7d) {
      input.take(1);
      return begun;
    }
    const key: string | null = yield* readString(input);
    if (key === null || (bare && !begun && !callKeys.has(key))) return begun;
    if (!(yield* acceptSpaced(input, ':'))) return begun;
    if (key === 'name' && name === null) {
      name = yield* readString(input);
      if (!name) return false;
      if (!bare || hasArguments) open(name);
    } else if (argumentKeys.has(key) && !hasArguments) {
      hasArguments = true;
      if (name !== null && !begun) open(name);
      const complete = yield* copyArguments(input, stop, (text) => {
        if (begun) write(text);
        else waiting += text;
      });
      if (!complete) return begun;
    } else if (!(yield* copyValue(input, stop, () => {}))) return begun;
    if (!(yield* acceptSpaced(input, ',')) && (yield* peek(input)) !== 0x7d) return begun;
  }
}
