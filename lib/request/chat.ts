/** The chat body: OpenAI's fields, SGLang's extensions, and nothing unknown. */
import { z } from 'zod';
import { commonShape, knownFields, maxTopLogprobs } from './fields.js';
import { messages, tool } from './messages.js';
import {
  addFault,
  boolean,
  integer,
  isObject,
  judged,
  optional,
  parse,
  record,
  show,
  wrongType,
} from './validate.js';

const maxTokens = integer(
  'at least 1',
  (x) => x >= 1,
  ' Leave it out to generate up to the context length.',
);

const toolChoice = judged<'auto' | 'none'>((value) => {
  if (value === 'auto' || value === 'none') return null;
  if (typeof value !== 'string' && !isObject(value))
    return wrongType("'auto', 'none' or an object");
  return {
    code: 'unsupported_value',
    message: (param) =>
      `${param} must be 'auto' or 'none', got ${show(value)}: forcing a tool call is not supported yet.`,
  };
});

const templateShape = {
  messages,
  tools: z.array(tool).nullish(),
  tool_choice: optional(toolChoice),
  chat_template_kwargs: optional(record),
};

const chatShape = {
  ...templateShape,
  max_completion_tokens: optional(maxTokens),
  max_tokens: optional(maxTokens),
  logprobs: optional(boolean),
  top_logprobs: optional(
    integer(`in [0, ${maxTopLogprobs}]`, (x) => x >= 0 && x <= maxTopLogprobs),
  ),
  ...commonShape,
};

const chatSchema = z.object(chatShape).superRefine((value, ctx) => {
  if (value.top_logprobs !== undefined && !value.logprobs)
    addFault(
      ctx,
      {
        code: 'invalid_value',
        message: (param) =>
          `${param} needs logprobs: true, got ${param} without it. Set logprobs, or leave ${param} out.`,
      },
      ['top_logprobs'],
    );
});

export type ChatFields = z.output<typeof chatSchema>;
export type TemplateFields = z.output<z.ZodObject<typeof templateShape>>;

export function parseChat(body: unknown): ChatFields {
  return parse(chatSchema, knownFields(body, chatShape));
}

const templateSchema = z.object(templateShape);

/** What `tokenize` takes of a chat request. */
export function parseTemplateFields(body: unknown): TemplateFields {
  return parse(templateSchema, knownFields(body, templateShape));
}
