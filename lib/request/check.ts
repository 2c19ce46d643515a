/** What `Engine.checkConstraint` takes: the fields that say what form an answer has. */
import { z } from 'zod';
import { invalidRequest } from '../errors.js';
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
