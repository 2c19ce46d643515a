/**
 * JSON Schema (draft 2020-12, and draft 7's spellings) as grammar rules. What is accepted is exactly what the
 * schema allows, spelled as JSON.stringify spells it: properties in the schema's order and others behind
 * them, strings with the shortest escapes, integers without fraction or exponent, no key twice. What cannot
 * be enforced is refused with keyword and path; annotations alone say nothing.
 */
import { invalidRequest } from '../../errors.js';
import { TooManyStates } from '../nfa.js';
import { type GrammarSource, never } from '../source.js';
import { SchemaDocument, SchemaFault, type SchemaObject } from './document.js';
import { Expander } from './expand.js';
import { SchemaWriter } from './writer.js';

export interface JsonOptions {
  /**
   * Whitespace wherever JSON has it, up to 64 characters at once. Default false: one space, or none, behind
   * each comma and colon, which is what models write in one line.
   */
  anyWhitespace?: boolean;
  /** What the schema is called in messages. Default: the request field. */
  label?: string;
}

/**
 * @returns an expression for one JSON value that fits
 * @throws EngineError, status 400, for what is no schema, cannot be enforced, or allows no value at all
 */
export function jsonSchemaExpression(
  source: GrammarSource,
  schema: SchemaObject | boolean,
  param: string,
  options: JsonOptions = {},
): string {
  try {
    const expander = new Expander(new SchemaDocument(schema));
    const root = expander.of(expander.document.root);
    const writer = new SchemaWriter(source, expander, options.anyWhitespace ?? false);
    if (expander.isEmpty(root)) throw new SchemaFault('schema', '#', contradiction);
    const expression = writer.root(root);
    if (expression === never) throw new SchemaFault('schema', '#', contradiction);
    return expression;
  } catch (error) {
    throw asError(error, param, options.label);
  }
}

const contradiction = 'no value fits it: its keywords contradict each other';

/** What schemas throw, as the user's error; others as they are. */
export function asError(error: unknown, param: string, label = param): unknown {
  if (error instanceof SchemaFault)
    return invalidRequest(
      `${label}: ${error.keyword} at ${error.pointer} cannot be enforced: ${error.reason}.`,
      param,
    );
  if (error instanceof TooManyStates)
    return invalidRequest(`${label}: a pattern of the schema takes ${error.message}.`, param);
  return error;
}

/** Any JSON object. */
export function jsonObjectExpression(source: GrammarSource, options: JsonOptions = {}): string {
  return jsonSchemaExpression(source, { type: 'object' }, source.param, options);
}
