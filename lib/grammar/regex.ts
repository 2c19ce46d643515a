/** The field `regex`: the whole answer matches a pattern. */
import { type EngineError, invalidRequest } from '../errors.js';
import { determinised, isNothing } from './dfa.js';
import { Nfa, TooManyStates } from './nfa.js';
import { parseRegex, type Regex, RegexFault, withoutAnchors } from './regex-tree.js';
import type { GrammarSource } from './source.js';
import { plainSpelling, writeLanguage, writeRegex } from './write.js';

/**
 * An expression for the texts that a pattern matches as a whole. JavaScript's syntax, without flags, over
 * code points; ^ and $ at the ends say nothing new.
 *
 * @throws EngineError, status 400, for what cannot be read or enforced, with the position
 */
export function regexExpression(source: GrammarSource, pattern: string, param: string): string {
  const tree = parsed(pattern, param);
  const plain = withoutAnchors(tree, false);
  if (plain !== null) return writeRegex(source, plain, plainSpelling);
  try {
    const dfa = determinised(new Nfa(tree, false));
    if (isNothing(dfa))
      throw invalidRequest(`${param}: no text matches ${JSON.stringify(pattern)}.`, param);
    return writeLanguage(source, dfa, plainSpelling, 'regex');
  } catch (error) {
    if (!(error instanceof TooManyStates)) throw error;
    throw invalidRequest(
      `${param}: ${JSON.stringify(pattern)} takes ${error.message}. Write ^ and $ at its ends only, ` +
        'or make its counts smaller.',
      param,
    );
  }
}

function parsed(pattern: string, param: string): Regex {
  try {
    return parseRegex(pattern);
  } catch (error) {
    throw patternError(error, pattern, param);
  }
}

/** A RegexFault as the user's error; others as they are. */
export function patternError(
  error: unknown,
  pattern: string,
  param: string,
): EngineError | unknown {
  if (!(error instanceof RegexFault)) return error;
  const shown = pattern.length > 200 ? `${pattern.slice(0, 200)}...` : pattern;
  return invalidRequest(
    `${param} must be a regular expression in JavaScript's syntax, without lookaround, backreferences and ` +
      `word boundaries: ${error.message} (position ${error.position} of ${JSON.stringify(shown)}).`,
    param,
  );
}
