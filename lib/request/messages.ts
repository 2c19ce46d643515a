/** Chat messages: validated, then in the form that chat templates expect. */
import { z } from 'zod';
import type { ChatTemplateMessage } from '../text/template.js';
import { suggestion } from './nearest.js';
import {
  addFault,
  boolean,
  closedObject,
  describe,
  type Fault,
  isObject,
  judged,
  oneOf,
  optional,
  record,
  show,
  string,
  wrongType,
} from './validate.js';

const roles = ['system', 'developer', 'user', 'assistant', 'tool'];

/** A text, or parts of which every one is a text. */
const content = judged<string | { type: 'text'; text: string }[]>((value) => {
  if (typeof value === 'string') return null;
  if (!Array.isArray(value)) return wrongType('a string or an array of text parts');
  if (value.length === 0)
    return {
      code: 'invalid_value',
      message: (param) => `${param} must have at least one part, got an empty array.`,
    };
  for (const [i, part] of value.entries()) {
    const found = partFault(part);
    if (found) return { ...found, message: (param) => found.message(`${param}[${i}]`, part) };
  }
  return null;
});

function partFault(part: unknown): Fault | null {
  if (!isObject(part)) return wrongType('an object with type and text');
  if (part.type === undefined) return missingIn('type');
  if (part.type !== 'text')
    return {
      code: 'unsupported_value',
      message: (param) =>
        `${param}.type must be 'text', got ${show(part.type)}: this engine reads text only.`,
    };
  if (part.text === undefined) return missingIn('text');
  if (typeof part.text === 'string') return null;
  return {
    code: 'invalid_type',
    message: (param) =>
      `Invalid type for '${param}.text': expected a string, but got ${describe(part.text)} instead.`,
  };
}

function missingIn(field: string): Fault {
  return {
    code: 'missing_required_parameter',
    message: (param) => `Missing required parameter: '${param}.${field}'.`,
  };
}

/** Fields that responses have and that say nothing: accepted so that answers can be handed back. */
const nothing = judged<null>((value) =>
  value === null || (Array.isArray(value) && value.length === 0)
    ? null
    : {
        code: 'unsupported_value',
        message: (param) => `${param} is not supported by this engine: leave it out or pass null.`,
      },
).nullish();

const toolCall = closedObject(
  {
    id: optional(string),
    index: z.any().optional(),
    type: optional(oneOf('function')),
    function: closedObject(
      {
        name: string,
        arguments: judged<string | Record<string, unknown>>((value) =>
          typeof value === 'string' || isObject(value) ? null : wrongType('JSON text'),
        ).nullish(),
      },
      'field of a function',
    ),
  },
  'field of a tool call',
);

const shapes = {
  system: { content, name: optional(string) },
  developer: { content, name: optional(string) },
  user: { content, name: optional(string) },
  assistant: {
    content: content.nullish(),
    name: optional(string),
    reasoning_content: optional(string),
    tool_calls: z.array(toolCall).nullish(),
    refusal: nothing,
    annotations: nothing,
    audio: nothing,
    function_call: nothing,
  },
  tool: { content, name: optional(string), tool_call_id: optional(string) },
};

/** One schema per role, chosen by hand: a union's issues would not say which role was meant. */
const byRole = Object.fromEntries(
  Object.entries(shapes).map(([role, shape]) => [
    role,
    closedObject({ role: z.any(), ...shape }, `field of a ${role} message`),
  ]),
);

const message = z.any().transform((value, ctx) => {
  const { fault, path } = roleFault(value);
  if (fault !== null) {
    addFault(ctx, fault, path);
    return z.NEVER;
  }
  const result = byRole[value.role]!.safeParse(value);
  if (result.success) return result.data as Record<string, unknown>;
  for (const issue of result.error.issues) ctx.issues.push({ ...issue, input: value } as never);
  return z.NEVER;
});

function roleFault(value: unknown): { fault: Fault | null; path: string[] } {
  if (!isObject(value)) return { fault: wrongType('an object with role and content'), path: [] };
  const { role } = value;
  if (typeof role === 'string' && roles.includes(role)) return { fault: null, path: [] };
  const expected = `one of ${roles.map((r) => `'${r}'`).join(', ')}`;
  if (role === undefined) return { fault: missingIn('role'), path: [] };
  if (typeof role !== 'string') return { fault: wrongType(expected), path: ['role'] };
  const fault: Fault = {
    code: role === 'function' ? 'unsupported_value' : 'invalid_value',
    message: (param) =>
      `${param} must be ${expected}, got ${show(role)}.` +
      (role === 'function' ? " Use 'tool'." : suggestion(role, roles)),
  };
  return { fault, path: ['role'] };
}

export const messages = z.array(message);

export const tool = closedObject(
  {
    type: judged<'function'>((value) =>
      value === 'function'
        ? null
        : {
            code: 'unsupported_value',
            message: (param) => `${param} must be 'function', got ${show(value)}.`,
          },
    ),
    function: closedObject(
      {
        name: string,
        description: optional(string),
        parameters: record.nullish(),
        strict: optional(boolean),
      },
      'field of a function',
    ),
  },
  'field of a tool',
);

/**
 * As templates read them: content a string, a tool call's arguments an object, no nulls. `developer`
 * becomes `system` unless the template knows it.
 */
export function forTemplate(
  parsed: Record<string, unknown>[],
  knowsDeveloper: boolean,
): ChatTemplateMessage[] {
  return parsed.map((source) => {
    const result: ChatTemplateMessage = { role: source.role as string };
    for (const [key, value] of Object.entries(source)) {
      if (value !== null && value !== undefined) result[key] = value;
    }
    if (result.role === 'developer' && !knowsDeveloper) result.role = 'system';
    result.content = flatten(source.content as Parameters<typeof flatten>[0]);
    if (Array.isArray(result.tool_calls)) result.tool_calls = result.tool_calls.map(withArguments);
    return result;
  });
}

function flatten(value: string | { text: string }[] | null | undefined): string {
  if (typeof value === 'string') return value;
  return (value ?? []).map((part) => part.text).join(' ');
}

/** Templates print arguments as JSON themselves; text that is no JSON object stays as it is. */
function withArguments(call: { function: { arguments?: unknown } }) {
  const { arguments: text } = call.function;
  if (typeof text !== 'string') return call;
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? { ...call, function: { ...call.function, arguments: parsed } } : call;
  } catch {
    return call;
  }
}
