/** Tools of a chat request, and how they may be called. */
import { z } from 'zod';
import { invalidRequest } from '../errors.js';
import type { ToolChoice } from '../types.js';
import { schemaFault } from './json-schema.js';
import { tool } from './messages.js';
import { boolean, isObject, judged, optional, show, wrongType } from './validate.js';

const toolChoice = judged<ToolChoice>((value) => {
  if (value === 'auto' || value === 'none' || value === 'required') return null;
  if (typeof value === 'string')
    return {
      code: 'invalid_value',
      message: (param) =>
        `${param} must be 'auto', 'none', 'required' or a function's name as {"type": "function", ` +
        `"function": {"name": ...}}, got ${show(value)}.`,
    };
  if (!isObject(value)) return wrongType("'auto', 'none', 'required' or an object");
  if (value.type !== 'function')
    return {
      code: 'unsupported_value',
      message: (param) => `${param}.type must be 'function', got ${show(value.type)}.`,
    };
  const name = isObject(value.function) ? value.function.name : undefined;
  if (typeof name === 'string') return null;
  return {
    code: name === undefined ? 'missing_required_parameter' : 'invalid_type',
    message: (param) =>
      name === undefined
        ? `Missing required parameter: '${param}.function.name'.`
        : `Invalid type for '${param}.function.name': expected a string.`,
  };
});

export const toolShape = {
  tools: z.array(tool).nullish(),
  tool_choice: optional(toolChoice),
  parallel_tool_calls: optional(boolean),
};

export type ToolFields = z.output<z.ZodObject<typeof toolShape>>;

/** The tools that the model is told of: none with tool_choice "none". */
export function activeTools(fields: Pick<ToolFields, 'tools' | 'tool_choice'>) {
  return fields.tool_choice === 'none' || !fields.tools?.length ? undefined : fields.tools;
}

/** What zod cannot see: that the choice is one of the tools, and that their parameters are schemas. */
export function checkTools({ tools, tool_choice: choice }: ToolFields): void {
  tools?.forEach((entry, i) => {
    const { name, parameters } = entry.function;
    const fault = parameters ? schemaFault(parameters) : null;
    if (fault !== null)
      throw invalidRequest(
        `Tool ${i} function has invalid 'parameters' schema: ${fault}.`,
        `tools[${i}].function.parameters`,
      );
    if (name === '')
      throw invalidRequest(
        `tools[${i}].function.name must not be empty.`,
        `tools[${i}].function.name`,
      );
  });
  if (choice === undefined || choice === 'none' || choice === 'auto') return;
  if (!tools?.length)
    throw invalidRequest(
      choice === 'required'
        ? 'Tools cannot be empty if tool choice is set to required.'
        : 'Tools cannot be empty if tool choice names a function.',
      'tools',
    );
  if (choice === 'required') return;
  const { name } = choice.function;
  if (tools.some((entry) => entry.function.name === name)) return;
  throw invalidRequest(`Tool '${name}' not found in tools list.`, 'tool_choice.function.name');
}
