/** What `Engine.checkConstraint` takes: the fields that say what form an answer has. */
import { z } from 'zod';
import { invalidRequest } from '../errors.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type ConstraintFields, constraintShape } from './constraint.js';
import { knownFields } from './fields.js';
import { checkTools, toolShape } from './tools.js';
import { describe, parse } from './validate.js';

const shape = { ...constraintShape, ...toolShape };
const schema = z.object(shape);

export function parseConstraint(body: unknown): ConstraintFields {
  const fields = parse(schema, knownFields(body, shape));
  checkTools(fields);
  return fields;
}

export function checkedText(text: unknown): string {
  if (typeof text === 'string') return text;
  throw invalidRequest(
    `Invalid type for 'text': expected a string, but got ${describe(text)} instead.`,
    'text',
    'invalid_type',
  );
}

export function noConstraint() {
  return invalidRequest(
    'Expected one of response_format, regex, ebnf, json_schema, or tools with a tool_choice or strict: true, ' +
      'received nothing that constrains an answer.',
  );
}

/** What native code says could have come: with characters for their bytes, and the text of special tokens. */
export function readable(expected: string, tokenizer: Pick<Tokenizer, 'tokenText'>): string {
  const [, id] = /^token\((\d+)\)$/.exec(expected) ?? [];
  if (id !== undefined) return JSON.stringify(tokenizer.tokenText(Number(id)));
  // A backslash of its own is two.
  return expected.replaceAll(/\\\\|((?:\\x[89a-f][0-9a-f])+)/g, (all, bytes?: string) =>
    bytes === undefined ? all : charactersOf(bytes),
  );
}

function charactersOf(escapes: string): string {
  const bytes = Buffer.from(escapes.replaceAll('\\x', ''), 'hex');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return escapes; // part of a character
  }
}
