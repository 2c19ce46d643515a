/**
 * What a request says about the form of its answer, as a grammar for native code (the language:
 * csrc/grammar/grammar.h).
 */
import { invalidRequest } from '../errors.js';
import type { ToolCallFrame } from '../parse/tools/formats.js';
import type { Constraint } from '../request/constraint.js';
import { ebnfExpression } from './ebnf.js';
import { harmonyExpression } from './harmony.js';
import {
  type JsonOptions,
  jsonObjectExpression,
  jsonSchemaExpression,
} from './json-schema/index.js';
import { regexExpression } from './regex.js';
import { choice, GrammarSource, sequence } from './source.js';
import { structuralTagExpression } from './structural-tag.js';
import { anyText, textUntil } from './text-until.js';
import { callExpression, toolsExpression } from './tools.js';

export interface GrammarContext extends JsonOptions {
  /** How the model writes calls; null where it has no format: constraints of tools are refused then. */
  toolFrame: ToolCallFrame | null;
  /** Special tokens by their text: they are matched as tokens, never by bytes. */
  specialTokens: ReadonlyMap<string, number>;
  /** Text that ends the reasoning that comes first; null where the answer begins at once. Not for gpt-oss. */
  startAfter: string | null;
  /** Reasoning that the answer may begin with, or not, between these texts; then the constraint. */
  mayThink?: { start: string; end: string } | null;
  /** For gpt-oss alone: the message that the prompt has begun (lib/parse/harmony.ts). Default: another model. */
  harmonyPrefix?: string;
  /** Texts of the tokens that end generation. */
  stopTexts?: readonly string[];
  /** The request field to name in errors. Default: that of the constraint's kind. */
  param?: string;
}

export interface Grammar {
  source: string;
  /** The grammar begins behind this text; null: with the first token. */
  startAfter: string | null;
}

const params: Record<Constraint['kind'], string> = {
  json_object: 'response_format',
  json_schema: 'response_format.json_schema.schema',
  regex: 'regex',
  ebnf: 'ebnf',
  structural_tag: 'response_format',
  tools: 'tools',
};

/**
 * Behind reasoning, JSON and calls may have up to two line ends before them, as models write them; patterns,
 * grammars and tags are exact from the first character.
 *
 * @throws EngineError, status 400, for what cannot be read or enforced exactly; limits: see source.ts
 */
export function grammarOf(constraint: Constraint, context: GrammarContext): Grammar {
  const param = context.param ?? params[constraint.kind];
  const source = new GrammarSource(param, context.specialTokens);
  const { harmonyPrefix: prefix } = context;
  if (prefix !== undefined) {
    const parts =
      constraint.kind === 'tools'
        ? {
            final: constraint.mode === 'auto' ? anyText(source) : null,
            call: callExpression(source, constraint, frameOf(context), context),
          }
        : { final: answer(source, constraint, context), call: null };
    return { source: source.text(harmonyExpression(source, parts, prefix)), startAfter: null };
  }
  const expression = answer(source, constraint, context);
  const { startAfter, mayThink } = context;
  const isForced = constraint.kind !== 'tools' || constraint.mode !== 'auto';
  const gap = isForced && spaced.includes(constraint.kind) ? '"\\n"{0,2}' : '""';
  if (startAfter !== null) return { source: source.text(sequence([gap, expression])), startAfter };
  if (!mayThink) return { source: source.text(expression), startAfter };
  const answered = source.rule('answer', expression);
  const next = sequence([gap, answered]);
  const thought = textUntil(source, [{ text: mayThink.end, next }], false);
  const thinking = sequence([source.literal(mayThink.start), thought]);
  return { source: source.text(choice([thinking, answered])), startAfter };
}

const spaced: readonly Constraint['kind'][] = ['json_object', 'json_schema', 'tools'];

function answer(source: GrammarSource, constraint: Constraint, context: GrammarContext): string {
  const { param } = source;
  switch (constraint.kind) {
    case 'json_object':
      return jsonObjectExpression(source, context);
    case 'json_schema':
      return jsonSchemaExpression(source, constraint.schema, param, context);
    case 'regex':
      return regexExpression(source, constraint.pattern, param);
    case 'ebnf':
      return ebnfExpression(source, constraint.grammar, param);
    case 'structural_tag':
      return structuralTagExpression(source, constraint.tag, param, context);
    case 'tools':
      return toolsExpression(source, constraint, frameOf(context), context);
  }
}

function frameOf({ toolFrame, param = 'tool_choice' }: GrammarContext): ToolCallFrame {
  if (toolFrame) return toolFrame;
  throw invalidRequest(
    `${param}: how this model writes tool calls is not known, so that they cannot be ` +
      'constrained. Name its format by the engine option toolParser.',
    param,
  );
}
