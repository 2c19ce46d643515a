/** The chat body: OpenAI's fields, SGLang's extensions, and nothing unknown. */
import { z } from 'zod';
import { invalidRequest } from '../errors.js';
import { effortShape } from './effort.js';
import { commonShape, knownFields, maxTopLogprobs, thinkingShape, tokenIds } from './fields.js';
import { messages } from './messages.js';
import { checkTools, toolShape } from './tools.js';
import { addFault, boolean, integer, optional, parse, record, string } from './validate.js';

const maxTokens = integer(
  'at least 1',
  (x) => x >= 1,
  ' Leave it out to generate up to the context length.',
);

const templateShape = {
  messages: messages.nullish(),
  ...toolShape,
  ...effortShape,
  chat_template_kwargs: optional(record),
  continue_final_message: optional(boolean),
  input_ids: optional(tokenIds),
};

const chatShape = {
  ...templateShape,
  max_completion_tokens: optional(maxTokens),
  max_tokens: optional(maxTokens),
  logprobs: optional(boolean),
  top_logprobs: optional(
    integer(`in [0, ${maxTopLogprobs}]`, (x) => x >= 0 && x <= maxTopLogprobs),
  ),
  separate_reasoning: optional(boolean),
  stream_reasoning: optional(boolean),
  ...thinkingShape,
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

export type ChatFields = z.output<typeof chatSchema> & { messages: ParsedMessages };
export type TemplateFields = z.output<z.ZodObject<typeof templateShape>> & {
  messages: ParsedMessages;
};
type ParsedMessages = z.output<typeof messages>;

export function parseChat(body: unknown): ChatFields {
  return checked(parse(chatSchema, knownFields(body, chatShape)));
}

const tokenizeShape = { model: optional(string), ...templateShape };
const tokenizeSchema = z.object(tokenizeShape);

/** What `tokenize` takes of a chat request. */
export function parseTemplateFields(body: unknown): TemplateFields {
  return checked(parse(tokenizeSchema, knownFields(body, tokenizeShape)));
}

/** With input_ids there need be no messages: they are not looked at. */
function checked<T extends z.output<z.ZodObject<typeof templateShape>>>(
  fields: T,
): T & { messages: ParsedMessages } {
  const { messages: given, input_ids: ids } = fields;
  if (ids === undefined) {
    if (given === undefined || given === null)
      throw invalidRequest(
        "Missing required parameter: 'messages'.",
        'messages',
        'missing_required_parameter',
      );
    if (given.length === 0) throw invalidRequest('Messages cannot be empty.', 'messages');
  } else if (ids.length === 0) {
    throw invalidRequest(
      'input_ids must have at least one token id, got an empty array.',
      'input_ids',
    );
  } else if (fields.continue_final_message) {
    throw invalidRequest(
      'continue_final_message cannot be combined with input_ids: they are the whole prompt. Leave one out.',
      'continue_final_message',
    );
  }
  checkTools(fields);
  return { ...fields, messages: given ?? [] };
}
