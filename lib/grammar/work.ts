/**
 * A limit on what making one grammar may cost, so that no request keeps the process busy: grammars are made
 * synchronously, one at a time.
 */
import { invalidRequest } from '../errors.js';

/** In states of automata, their edges, and pairs of alternatives: a second or two. */
export const maxWork = 400_000;

let left = maxWork;
let field = '';

/** @param param the request field to name when the limit is reached */
export function beginWork(param: string): void {
  left = maxWork;
  field = param;
}

/** @throws EngineError, status 400 */
export function spend(steps: number): void {
  left -= steps;
  if (left >= 0) return;
  throw invalidRequest(
    `${field}: the form of the answer takes too much work: its patterns, numbers, names and combinations ` +
      'are too many or too large. Use fewer or simpler ones.',
    field,
  );
}
