/** Grammars that were made before: the same form is asked for again and again, and lowering takes milliseconds. */
import { type Grammar, type GrammarContext, grammarOf } from '../grammar/index.js';
import type { Constraint } from './constraint.js';

/** Values of a schema whose key is worth making; one that uses its parts in many places may have any number. */
const maxValues = 20_000;

export class LoweredGrammars {
  /** The least recently used first. */
  readonly #grammars = new Map<string, Grammar>();
  #chars = 0;
  readonly #maxChars: number;

  /** @param maxChars characters of keys and grammars that are kept */
  constructor(maxChars = 16 * 2 ** 20) {
    this.#maxChars = maxChars;
  }

  /** As {@link grammarOf}, of contexts that differ in what depends on the request alone. */
  grammarOf(constraint: Constraint, context: GrammarContext): Grammar {
    const { param, startAfter, mayThink, harmonyPrefix } = context;
    const key = keyOf([constraint, param, startAfter, mayThink, harmonyPrefix]);
    if (key === null) return grammarOf(constraint, context);
    let grammar = this.#grammars.get(key);
    if (grammar) this.#grammars.delete(key);
    else {
      grammar = grammarOf(constraint, context);
      this.#chars += key.length + grammar.source.length;
    }
    this.#grammars.set(key, grammar);
    for (const [oldest, { source }] of this.#grammars) {
      if (this.#chars <= this.#maxChars) break;
      this.#grammars.delete(oldest);
      this.#chars -= oldest.length + source.length;
    }
    return grammar;
  }
}

/** Null where it would be too long. */
function keyOf(parts: unknown[]): string | null {
  let values = 0;
  const tooMany = new Error();
  try {
    return JSON.stringify(parts, (_, value) => {
      if (++values > maxValues) throw tooMany;
      return value === undefined ? null : value;
    });
  } catch (error) {
    if (error === tooMany) return null;
    throw error;
  }
}
