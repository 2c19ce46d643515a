/** The grammar of a request whose answer has a form: what lib/grammar needs to know of the model and the prompt. */
import { EngineError, fromNative, invalidRequest } from '../errors.js';
import type { Grammar, GrammarContext } from '../grammar/index.js';
import type { NativeEngine, NativeGrammar } from '../native.js';
import { harmonyPrefix } from '../parse/harmony.js';
import { reasoningFormat } from '../parse/reasoning/index.js';
import type { ChatFields } from './chat.js';
import { type Constraint, type ConstraintFields, planConstraint } from './constraint.js';
import { LoweredGrammars } from './lowered.js';
import { answersInReasoning, needsTokenizer, type RenderedChat, type TextModel } from './render.js';
import type { ModelFacts } from './sampling.js';

const lowered = new WeakMap<TextModel, LoweredGrammars>();

function grammarsOf(text: TextModel): LoweredGrammars {
  const known = lowered.get(text) ?? new LoweredGrammars();
  lowered.set(text, known);
  return known;
}

export interface AnswerGrammar extends Grammar {
  /** The field that asked for it. */
  param: string;
  /** What is left of it once a thinking budget has closed the reasoning; absent where that is all of it. */
  withoutThinking?(): AnswerGrammar;
}

/** What a chat request asks for; null where its answer is free. */
export function chatGrammar(
  fields: ChatFields,
  text: TextModel,
  rendered: RenderedChat,
  facts: ModelFacts,
): AnswerGrammar | null {
  const constraint = planConstraint(fields);
  if (constraint === null) return null;
  const context = chatContext(constraint, fields, text, rendered, facts);
  const { param, mayThink } = context;
  const known = grammarsOf(text);
  const grammar = { ...known.grammarOf(constraint, context), param };
  if (!mayThink) return grammar;
  const closed = { ...context, mayThink: null, startAfter: mayThink.end };
  return { ...grammar, withoutThinking: () => ({ ...known.grammarOf(constraint, closed), param }) };
}

/** What fields without a conversation ask for: the answer is constrained from its beginning. */
export function answerGrammar(
  fields: ConstraintFields,
  text: TextModel | null,
  facts: ModelFacts,
): AnswerGrammar | null {
  const constraint = planConstraint(fields);
  if (constraint === null) return null;
  if (text === null) throw needsTokenizer(paramOf(fields, constraint));
  const param = paramOf(fields, constraint);
  const context = {
    ...modelContext(text, facts),
    param,
    toolFrame: text.toolFrame,
    startAfter: null,
  };
  return { ...grammarsOf(text).grammarOf(constraint, context), param };
}

function chatContext(
  constraint: Constraint,
  fields: ChatFields,
  text: TextModel,
  rendered: RenderedChat,
  facts: ModelFacts,
): GrammarContext & { param: string } {
  const reasoning = text.reasoningParser && reasoningFormat(text.reasoningParser);
  const context = {
    ...modelContext(text, facts),
    param: paramOf(fields, constraint),
    toolFrame: text.toolFrame,
    startAfter: null,
  };
  if (reasoning?.name === 'gpt-oss' || text.toolParser === 'gpt-oss') {
    if (fields.thinking_budget !== undefined || fields.custom_params?.thinking_budget !== undefined)
      throw invalidRequest(
        'thinking_budget cannot be combined with a constrained answer of this model, whose reasoning is part ' +
          'of the constraint. Leave one out.',
        'thinking_budget',
        'unsupported_value',
      );
    return { ...context, harmonyPrefix: harmonyPrefix(rendered.text) };
  }
  if (!reasoning?.tags) return context;
  const inside = answersInReasoning(reasoning, text, rendered);
  const { start, end } = reasoning.tags;
  // A model that opens the block by itself may do so or not.
  const mayThink = !inside && reasoning.begins === 'outside' ? { start, end } : null;
  return { ...context, startAfter: inside ? end : null, mayThink };
}

function modelContext({ tokenizer, jsonWhitespace }: TextModel, facts: ModelFacts) {
  return {
    specialTokens: tokenizer.specialTokens,
    stopTexts: facts.eosTokenIds.map((id) => tokenizer.tokenText(id)),
    anyWhitespace: jsonWhitespace === 'any',
  };
}

function paramOf(fields: ConstraintFields, { kind }: Constraint): string {
  if (kind === 'tools') return fields.tool_choice === undefined ? 'tools' : 'tool_choice';
  if (kind !== 'json_schema') return kind === 'regex' || kind === 'ebnf' ? kind : 'response_format';
  return fields.json_schema === undefined ? 'response_format.json_schema.schema' : 'json_schema';
}

/** What native code enforces. @throws EngineError, status 400, where the grammar cannot be compiled. */
export async function compileGrammar(
  native: Pick<NativeEngine, 'compileGrammar'>,
  grammar: AnswerGrammar,
): Promise<NativeGrammar> {
  try {
    return await native.compileGrammar(grammar.source);
  } catch (error) {
    const cause = fromNative(error);
    if (cause.code !== 'invalid_value') throw cause;
    const { position } = error as { position?: number };
    throw new EngineError(
      `${grammar.param}: it cannot be enforced: ${cause.message}` +
        (position === undefined ? '' : ` (at byte ${position} of the grammar that it becomes)`),
      {
        status: 400,
        type: 'invalid_request_error',
        code: 'invalid_value',
        param: grammar.param,
        cause,
      },
    );
  }
}
