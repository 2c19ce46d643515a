/**
 * What request and option schemas share: zod describes the structure, these checks say what a value must
 * be, and the first issue becomes an EngineError whose `param` is the path, such as `messages[0].role`.
 */
import { z } from 'zod';
import { type EngineError, type ErrorCode, invalidRequest } from '../errors.js';
import { suggestion } from './nearest.js';

/** What is wrong with a value, before it is known where the value stands. */
export interface Fault {
  code: ErrorCode;
  message: (param: string, value: unknown) => string;
}

export function wrongType(expected: string, advice = ''): Fault {
  return {
    code: 'invalid_type',
    message: (param, value) =>
      `Invalid type for '${param}': expected ${expected}, but got ${describe(value)} instead.${advice}`,
  };
}

export function wrongValue(expected: string, advice = ''): Fault {
  return {
    code: 'invalid_value',
    message: (param, value) => `${param} must be ${expected}, got ${show(value)}.${advice}`,
  };
}

const missing: Fault = {
  code: 'missing_required_parameter',
  message: (param) => `Missing required parameter: '${param}'.`,
};

/** A schema that accepts what `judge` finds no fault with. */
export function judged<T>(judge: (value: unknown) => Fault | null): z.ZodType<T, T> {
  return z.any().superRefine((value, ctx) => {
    const found = value === undefined ? missing : judge(value);
    if (found !== null) addFault(ctx, found);
  }) as unknown as z.ZodType<T, T>;
}

/** Adds `fault` to what zod found, at `path` below the schema's own place. */
export function addFault(
  ctx: z.core.$RefinementCtx<unknown>,
  fault: Fault,
  path: (string | number)[] = [],
): void {
  ctx.addIssue({ code: 'custom', params: { fault }, path });
}

/** Absent and null both mean the default. */
export function optional<T>(schema: z.ZodType<T, T>) {
  return schema.nullish().transform((value) => value ?? undefined);
}

export function number(expected: string, accept: (value: number) => boolean) {
  return judged<number>((value) => {
    if (typeof value !== 'number') return wrongType('a number');
    return Number.isFinite(value) && accept(value) ? null : wrongValue(expected);
  });
}

export function integer(expected: string, accept: (value: number) => boolean, advice = '') {
  return judged<number>((value) => {
    if (typeof value !== 'number') return wrongType('an integer');
    if (Number.isFinite(value) && !Number.isInteger(value)) return wrongType('an integer');
    return Number.isSafeInteger(value) && accept(value) ? null : wrongValue(expected, advice);
  });
}

export const boolean = judged<boolean>((value) =>
  typeof value === 'boolean' ? null : wrongType('a boolean (true or false)'),
);

export const string = judged<string>((value) =>
  typeof value === 'string' ? null : wrongType('a string'),
);

export function oneOf<const T extends string>(...values: T[]): z.ZodType<T, T> {
  const list = `one of ${values.map((v) => `'${v}'`).join(', ')}`;
  return judged<T>((value) => {
    if (typeof value !== 'string') return wrongType(list);
    return (values as string[]).includes(value)
      ? null
      : wrongValue(list, suggestion(value, values));
  });
}

/** Also one of another realm, which is no instance of this one's class. */
export function isSignal(value: unknown): value is AbortSignal {
  return (
    value instanceof AbortSignal ||
    (isObject(value) && 'aborted' in value && typeof value.addEventListener === 'function')
  );
}

/** An object of any content, such as JSON Schema. */
export const record = judged<Record<string, unknown>>((value) =>
  isObject(value) ? null : wrongType('an object'),
);

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An object with these fields and no others. `what` names it in messages. */
export function closedObject<S extends z.core.$ZodLooseShape>(shape: S, what: string) {
  return z.looseObject(shape).superRefine((value, ctx) => {
    for (const key of Object.keys(value)) {
      if (Object.hasOwn(shape, key)) continue;
      addFault(ctx, unknownField(key, Object.keys(shape), what), [key]);
    }
  });
}

export function unknownField(key: string, known: Iterable<string>, what: string): Fault {
  return {
    code: 'unsupported_parameter',
    message: () =>
      `Unrecognized ${what} supplied: ${key.slice(0, 80)}.${suggestion(key, known) || ' Leave it out.'}`,
  };
}

/** Parses, or throws the first issue as an EngineError. */
export function parse<T extends z.ZodType>(schema: T, input: unknown): z.output<T> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  throw toEngineError(result.error.issues[0]!, input);
}

function toEngineError(issue: z.core.$ZodIssue, input: unknown): EngineError {
  const param = pathText(issue.path);
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | null | undefined)?.[key],
    input,
  );
  const fault = faultOf(issue, value);
  return invalidRequest(fault.message(param, value), param || null, fault.code);
}

/** zod's own issues can only be wrong types of objects, arrays and records: all else is judged. */
function faultOf(issue: z.core.$ZodIssue, value: unknown): Fault {
  if (issue.code === 'custom') {
    const fault = issue.params?.fault as Fault | undefined;
    if (fault !== undefined) return fault;
  }
  if (issue.code === 'invalid_type') {
    if (value === undefined) return missing;
    return wrongType(issue.expected === 'array' ? 'an array' : 'an object');
  }
  return { code: 'invalid_value', message: (param) => `${param}: ${issue.message}` };
}

/** messages[0].content[1].text */
export function pathText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`;
    else text += text === '' ? String(key) : `.${String(key)}`;
  }
  return text;
}

/** The kind of a value, with an article. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array';
  switch (typeof value) {
    case 'number':
      if (!Number.isFinite(value)) return String(value);
      return Number.isInteger(value) ? 'an integer' : `the number ${value}`;
    case 'object':
      return 'an object';
    case 'string':
      return 'a string';
    default:
      return `a ${typeof value}`;
  }
}

/** A value for a message: as JSON has it, and short. */
export function show(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (typeof value === 'string') {
    return value.length > 80 ? `'${value.slice(0, 80)}...'` : `'${value}'`;
  }
  return describe(value);
}

/** What is wrong with one field's value, as a sentence; null when nothing is. */
export function judgeField(schema: z.ZodType, name: string, value: unknown): string | null {
  const result = z.object({ [name]: schema }).safeParse({ [name]: value });
  return result.success ? null : toEngineError(result.error.issues[0]!, { [name]: value }).message;
}
