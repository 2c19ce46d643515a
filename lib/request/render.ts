/** From a chat request's fields to the token ids of its prompt. */
import { type EngineError, invalidRequest } from '../errors.js';
import type { TemplateThinking } from '../parse/detect.js';
import { type ReasoningFormat, startsInReasoning } from '../parse/reasoning/index.js';
import type { ToolCallFrame } from '../parse/tools/index.js';
import type { ReasoningParserName, ToolParserName } from '../parse/types.js';
import type { ChatTemplates } from '../text/template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { TemplateFields } from './chat.js';
import { templateKwargs } from './effort.js';
import { forTemplate } from './messages.js';
import { activeTools } from './tools.js';

/** The text side of a loaded model. */
export interface TextModel {
  tokenizer: Tokenizer;
  templates: ChatTemplates;
  /** The templates know the role `developer`; otherwise it becomes `system`. */
  knowsDeveloper: boolean;
  /** How answers are taken apart; null leaves reasoning or calls in the content. */
  reasoningParser: ReasoningParserName | null;
  toolParser: ToolParserName | null;
  /** How the model writes calls, for answers that are to have some; null where it is not known. */
  toolFrame: ToolCallFrame | null;
  /** Of constrained JSON: at most a space behind commas and colons, or any. */
  jsonWhitespace: 'line' | 'any';
  /** What the chat template says of reasoning; null for nothing. */
  thinking: TemplateThinking | null;
  /** Variables of the template that a request has not set. */
  templateKwargs: Record<string, unknown>;
}

export interface RenderedChat {
  ids: Int32Array;
  /** The prompt's text; of input_ids its end. */
  text: string;
  /** The assistant's text that the answer goes on with. */
  continued: string | null;
  /** The template's variables. */
  kwargs: Record<string, unknown>;
}

/** Tokens of input_ids that are decoded to see how the prompt ends. */
const tailTokens = 64;

export async function renderChat(fields: TemplateFields, text: TextModel): Promise<RenderedChat> {
  const kwargs = templateKwargs(fields, text.templateKwargs);
  if (fields.input_ids) {
    const ids = Int32Array.from(fields.input_ids);
    const tail = text.tokenizer.decode(ids.subarray(-tailTokens), { skipSpecialTokens: false });
    return { ids, text: tail, continued: null, kwargs };
  }
  const messages = forTemplate(fields.messages, text.knowsDeveloper);
  const continued = fields.continue_final_message ? lastAnswer(fields) : null;
  if (continued !== null) messages.pop();
  const prompt = text.templates.render(messages, {
    addGenerationPrompt: true,
    tools: activeTools(fields),
    kwargs,
  });
  const whole = prompt + (continued ?? '');
  // The template writes its own beginning-of-sequence token.
  const ids = await text.tokenizer.encode(whole, { addSpecialTokens: false });
  return { ids, text: whole, continued, kwargs };
}

/** The content of the assistant's message that is to be continued. */
function lastAnswer({ messages }: TemplateFields): string {
  const at = messages.length - 1;
  const last = messages[at]!;
  const param = `messages[${at}]`;
  if (last.role !== 'assistant')
    throw invalidRequest(
      `continue_final_message needs a last message of the role 'assistant', got '${String(last.role)}'.`,
      `${param}.role`,
    );
  if (last.reasoning_content || (Array.isArray(last.tool_calls) && last.tool_calls.length > 0))
    throw invalidRequest(
      'continue_final_message goes on with the content alone, but the last message has reasoning_content or ' +
        'tool_calls. Write them into its content as the model does, tags and all.',
      param,
      'unsupported_value',
    );
  return forTemplate([last], true)[0]!.content as string;
}

export function needsTokenizer(param: string): EngineError {
  return invalidRequest(
    'This model was loaded without a tokenizer, so only prompts of token ids can be answered. Pass ' +
      'token ids to completions(), or load a folder with tokenizer.json.',
    param,
    'unsupported_value',
  );
}

/** Whether the answer to a rendered prompt begins inside the model's reasoning. */
export function answersInReasoning(
  reasoning: ReasoningFormat,
  { thinking }: TextModel,
  { text, continued, kwargs }: RenderedChat,
): boolean {
  return startsInReasoning(reasoning, { prompt: text, continued, kwargs, thinking });
}
