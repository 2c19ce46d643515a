/** How much a model should think: OpenAI's and SGLang's ways to say so, as variables of the chat template. */
import type { z } from 'zod';
import { invalidRequest } from '../errors.js';
import { isObject, judged, optional, show, wrongType, wrongValue } from './validate.js';

const efforts = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'];
const expected = `one of ${efforts.map((e) => `'${e}'`).join(', ')} or a number in [0, 0.99]`;

export type Effort = string | number;

function effortFault(value: unknown) {
  if (typeof value === 'number') return value >= 0 && value <= 0.99 ? null : wrongValue(expected);
  if (typeof value !== 'string') return wrongType(expected);
  return efforts.includes(value) ? null : wrongValue(expected);
}

/** SGLang's object: each of its two fields has two names. */
export interface Reasoning {
  effort?: Effort;
  enabled?: boolean;
}

const names: Record<string, 'effort' | 'enabled'> = {
  effort: 'effort',
  reasoning_effort: 'effort',
  enabled: 'enabled',
  enable: 'enabled',
};

const reasoning = judged<Record<string, unknown>>((value) => {
  if (!isObject(value)) return wrongType('an object with effort or enabled');
  for (const [key, inner] of Object.entries(value)) {
    if (inner === null || inner === undefined) continue;
    const name = Object.hasOwn(names, key) ? names[key] : undefined;
    if (name === undefined)
      return {
        code: 'unsupported_parameter',
        message: (param) =>
          `${param} takes ${Object.keys(names).join(', ')}, got ${key.slice(0, 80)}. Leave it out.`,
      };
    const fault =
      name === 'effort' ? effortFault(inner) : isSwitch(inner) ? null : wrongType('a boolean');
    if (fault !== null)
      return { ...fault, message: (param) => fault.message(`${param}.${key}`, inner) };
  }
  return null;
}).transform(
  (value): Reasoning => ({
    effort: (value.effort ?? value.reasoning_effort ?? undefined) as Effort | undefined,
    enabled: readSwitch(value.enabled ?? value.enable),
  }),
);

function isSwitch(value: unknown): boolean {
  return typeof value === 'boolean' || /^(1|0|true|false|yes|no|y|n|on|off)$/i.test(String(value));
}

function readSwitch(value: unknown): boolean | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === 'boolean' ? value : /^(1|true|yes|y|on)$/i.test(String(value));
}

export const effortShape = {
  reasoning_effort: optional(judged<Effort>(effortFault)),
  reasoning: reasoning.nullish().transform((value) => value ?? undefined),
};

type EffortFields = z.output<z.ZodObject<typeof effortShape>> & {
  chat_template_kwargs?: Record<string, unknown>;
};

/**
 * The variables that the chat template gets: the engine's defaults, then what the effort says, then the request's
 * own. An effort other than "none" turns thinking on where the template has a switch.
 */
export function templateKwargs(
  fields: EffortFields,
  defaults: Record<string, unknown> = {},
): Record<string, unknown> {
  const { effort: inner, enabled } = fields.reasoning ?? {};
  const { reasoning_effort: outer } = fields;
  if (outer !== undefined && inner !== undefined && outer !== inner)
    throw invalidRequest(
      `reasoning_effort (${show(outer)}) and reasoning.effort (${show(inner)}) say different things. Pass one.`,
      'reasoning_effort',
    );
  const effort = outer ?? inner ?? (enabled === false ? 'none' : undefined);
  if (enabled === true && effort === 'none')
    throw invalidRequest(
      "reasoning.enabled is true, but the effort is 'none'. Pass one of them.",
      'reasoning',
    );
  const thinks = effort === undefined ? enabled : effort !== 'none' && enabled !== false;
  return {
    ...defaults,
    ...(thinks !== undefined && { thinking: thinks, enable_thinking: thinks }),
    ...(effort !== undefined && { reasoning_effort: effort }),
    ...fields.chat_template_kwargs,
  };
}
