/** What a request says about the form of its answer, as plain data; lib/grammar makes a grammar of it. */
import { type EngineError, invalidRequest } from '../errors.js';
import type { Tool, ToolChoice } from '../types.js';
import { schemaFault } from './json-schema.js';

import { describe, isObject, judged, optional, show, string, wrongType } from './validate.js';

/** A JSON Schema; `true` is any JSON. */
export type JsonSchema = Record<string, unknown> | true;

/** A function that the answer may or must call. */
export interface ConstrainedTool {
  name: string;
  /** Of its arguments. */
  parameters: JsonSchema;
  /** The arguments must fit `parameters`; otherwise they must be JSON. */
  strict: boolean;
}

export type Constraint =
  | { kind: 'json_object' }
  | { kind: 'json_schema'; schema: JsonSchema; name: string | null }
  | { kind: 'regex'; pattern: string }
  | { kind: 'ebnf'; grammar: string }
  /** xgrammar's form, or the older one of structures and triggers. */
  | { kind: 'structural_tag'; tag: Record<string, unknown> }
  | {
      kind: 'tools';
      /** auto: calls are free to be made, but strict in what they say; required: at least one; named: the one. */
      mode: 'auto' | 'required' | 'named';
      tools: ConstrainedTool[];
      /** More than one call may be made. */
      parallel: boolean;
    };

const responseFormat = judged<Record<string, unknown>>((value) => {
  if (!isObject(value)) return wrongType('an object with a type');
  const { type } = value;
  if (type === undefined)
    return {
      code: 'missing_required_parameter',
      message: (param) => `Missing required parameter: '${param}.type'.`,
    };
  if (formats.includes(type as string)) return null;
  return {
    code: 'invalid_value',
    message: (param) => `${param}.type must be one of ${formats.join(', ')}, got ${show(type)}.`,
  };
});

const formats = ['text', 'json_object', 'json_schema', 'structural_tag'];

const schemaOrText = judged<string | Record<string, unknown>>((value) =>
  typeof value === 'string' || isObject(value)
    ? null
    : wrongType('a JSON Schema, as an object or as JSON text'),
);

/** Of both endpoints. */
export const constraintShape = {
  response_format: optional(responseFormat),
  regex: optional(string),
  ebnf: optional(string),
  json_schema: optional(schemaOrText),
};

/** Fields of either endpoint; an absent one is undefined. */
export interface ConstraintFields {
  response_format?: Record<string, unknown>;
  regex?: string;
  ebnf?: string;
  json_schema?: string | Record<string, unknown>;
  tools?: readonly Tool[] | null;
  tool_choice?: ToolChoice;
  parallel_tool_calls?: boolean;
}

/** Fields that each ask for a form by themselves. */
const exclusive = ['json_schema', 'regex', 'ebnf', 'response_format'] as const;

/**
 * The constraint that a request's fields ask for, or null. Checks that there is one at most and that it is well
 * formed; whether it can be met is not looked at.
 *
 * @throws EngineError, status 400
 */
export function planConstraint(fields: ConstraintFields): Constraint | null {
  const asked = exclusive.filter((name) => isAsked(fields, name));
  if (asked.length > 1)
    throw invalidRequest(
      `Only one of regex, json_schema, ebnf or response_format can be set, got ${asked.join(' and ')}.`,
      asked[1]!,
    );
  const tools = toolConstraint(fields);
  const [name] = asked;
  if (name === undefined) return tools;
  if (tools?.mode === 'auto')
    throw invalidRequest(
      `${name} cannot be combined with strict tools: both say what the answer must be. Leave one out, or ` +
        "set tool_choice to 'none'.",
      name,
    );
  if (tools)
    throw invalidRequest(
      `${name} cannot be combined with a tool_choice that forces a call: both say what the answer must be. ` +
        'Leave one out.',
      name,
    );
  if (name === 'regex') return { kind: 'regex', pattern: nonEmpty(fields.regex!, 'regex') };
  if (name === 'ebnf') return { kind: 'ebnf', grammar: nonEmpty(fields.ebnf!, 'ebnf') };
  if (name === 'json_schema')
    return { kind: 'json_schema', schema: readSchema(fields.json_schema), name: null };
  return formatConstraint(fields.response_format!);
}

function isAsked(fields: ConstraintFields, name: (typeof exclusive)[number]): boolean {
  const value = fields[name];
  return (
    value !== undefined && !(isObject(value) && name !== 'json_schema' && value.type === 'text')
  );
}

function formatConstraint(format: Record<string, unknown>): Constraint {
  if (format.type === 'json_object') return { kind: 'json_object' };
  if (format.type === 'structural_tag') {
    const { type: _, ...tag } = format;
    checkTag(tag);
    return { kind: 'structural_tag', tag };
  }
  const inner = format.json_schema ?? undefined;
  if (inner !== undefined && !isObject(inner))
    throw badFormat('response_format.json_schema', 'an object with name and schema', inner);
  const { schema, name } = inner ?? { schema: format.schema, name: undefined };
  if (schema === undefined || schema === null)
    throw invalidRequest(
      'schema_ is required for json_schema response format request: pass response_format.json_schema.schema.',
      'response_format.json_schema.schema',
      'missing_required_parameter',
    );
  if (name !== undefined && name !== null && typeof name !== 'string')
    throw badFormat('response_format.json_schema.name', 'a string', name);
  const param = inner ? 'response_format.json_schema.schema' : 'response_format.schema';
  return { kind: 'json_schema', schema: checkedSchema(schema, param), name: name ?? null };
}

/** Either { format: {...} } or { structures: [{ begin, schema, end }], triggers: [...] }. */
function checkTag(tag: Record<string, unknown>): void {
  if (isObject(tag.format)) {
    if (typeof tag.format.type === 'string') return;
    throw badFormat('response_format.format.type', 'a string', tag.format.type);
  }
  const { structures, triggers } = tag;
  if (!Array.isArray(structures) || structures.length === 0)
    throw badFormat('response_format.structures', 'an array of at least one structure', structures);
  for (const [i, structure] of structures.entries()) {
    const param = `response_format.structures[${i}]`;
    if (!isObject(structure))
      throw badFormat(param, 'an object with begin, schema and end', structure);
    if (typeof structure.begin !== 'string')
      throw badFormat(`${param}.begin`, 'a string', structure.begin);
    if (typeof structure.end !== 'string')
      throw badFormat(`${param}.end`, 'a string', structure.end);
    if (structure.schema !== undefined && structure.schema !== null)
      checkedSchema(structure.schema, `${param}.schema`);
  }
  if (!Array.isArray(triggers) || triggers.some((t) => typeof t !== 'string' || t === ''))
    throw badFormat('response_format.triggers', 'an array of non-empty strings', triggers);
}

function toolConstraint(fields: ConstraintFields): (Constraint & { kind: 'tools' }) | null {
  const { tools, tool_choice: choice } = fields;
  if (!tools?.length || choice === 'none') return null;
  const parallel = fields.parallel_tool_calls ?? true;
  const list = tools.map(
    ({ function: f }): ConstrainedTool => ({
      name: f.name,
      parameters: f.parameters ?? true,
      strict: f.strict ?? false,
    }),
  );
  const mode = modeOf(choice);
  if (mode === 'auto')
    return list.some((tool) => tool.strict) ? { kind: 'tools', mode, tools: list, parallel } : null;
  if (mode === 'required') return { kind: 'tools', mode, tools: list, parallel };
  const wanted = (choice as { function: { name: string } }).function.name;
  return { kind: 'tools', mode, tools: list.filter((tool) => tool.name === wanted), parallel };
}

function modeOf(choice: ToolChoice | undefined): 'auto' | 'required' | 'named' {
  if (choice === undefined || choice === 'auto' || choice === 'none') return 'auto';
  return choice === 'required' ? 'required' : 'named';
}

function readSchema(value: unknown): JsonSchema {
  if (typeof value !== 'string') return checkedSchema(value, 'json_schema');
  // SGLang's word for any JSON.
  if (value === '$$ANY$$') return true;
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch (error) {
    throw invalidRequest(
      `json_schema must be JSON text, but it does not parse: ${(error as Error).message}.`,
      'json_schema',
    );
  }
  return checkedSchema(parsed, 'json_schema');
}

function checkedSchema(value: unknown, param: string): JsonSchema {
  if (value === true) return true;
  const fault = schemaFault(value);
  if (fault !== null) throw invalidRequest(`${param} is invalid: ${fault}.`, param);
  return value as Record<string, unknown>;
}

function nonEmpty(text: string, param: string): string {
  if (text !== '') return text;
  throw invalidRequest(`${param} must not be empty. Leave it out for a free answer.`, param);
}

function badFormat(param: string, expected: string, value: unknown): EngineError {
  if (value === undefined || value === null)
    return invalidRequest(
      `Missing required parameter: '${param}' (${expected}).`,
      param,
      'missing_required_parameter',
    );
  return invalidRequest(
    `Invalid type for '${param}': expected ${expected}, but got ${describe(value)} instead.`,
    param,
    'invalid_type',
  );
}
