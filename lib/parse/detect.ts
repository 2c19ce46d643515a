/**
 * What the text of a chat template tells of the model's output: which parsers fit and whether the model
 * thinks unless it is told otherwise. Told from literal markers and from the few ways in which templates ask
 * for their variables; what is not recognised is null, never guessed.
 */
import type { ReasoningParserName, ToolParserName } from './types.js';

/** When a model reasons, as far as its template says. */
export type TemplateThinking =
  /** The generation prompt opens the block whatever the request says. */
  | { kind: 'always' }
  /** By the first of `params` that is set in `chat_template_kwargs`, else by `default`. */
  | { kind: 'toggle'; params: readonly string[]; default: boolean }
  /** The model opens the block itself, or does not. */
  | { kind: 'model' };

const isHarmony = (template: string) =>
  template.includes('<|channel|>') && template.includes('<|message|>');
const isKimiK2 = (template: string) => template.includes('<|tool_calls_section_begin|>');
const hasThinkTags = (template: string) =>
  template.includes('<think>') || template.includes('</think>');

/**
 * The reasoning parser that fits a chat template (Jinja source); null where the model does not reason or
 * does so in a way that no parser here knows, such as `[THINK]`.
 */
export function detectReasoningParser(template: string): ReasoningParserName | null {
  if (template.includes('◁think▷')) return 'kimi';
  if (isHarmony(template)) return 'gpt-oss';
  if (!hasThinkTags(template)) return null;
  if (isKimiK2(template)) return 'kimi_k2';
  const thinking = detectThinking(template);
  if (template.includes('<｜Assistant｜>'))
    return thinking?.kind === 'toggle' ? 'deepseek-v3' : 'deepseek-r1';
  if (thinking?.kind !== 'always') return 'qwen3';
  return template.includes('<tool_call>') ? 'qwen3-thinking' : 'deepseek-r1';
}

/** Null where the template says nothing of it. */
export function detectThinking(template: string): TemplateThinking | null {
  if (isHarmony(template)) return { kind: 'always' };
  const code = codeOf(template);
  for (const param of ['enable_thinking', 'thinking']) {
    const byDefault = toggleDefault(code, param);
    if (byDefault === null) continue;
    if (byDefault === 'model') return { kind: 'model' };
    // DeepSeek sets one of the two from the other.
    const alias = new RegExp(`set\\s+${param}\\s*=\\s*((?:enable_)?thinking)\\s*-?%}`).exec(
      code,
    )?.[1];
    const params = alias === undefined || alias === param ? [param] : [param, alias];
    return { kind: 'toggle', params, default: byDefault };
  }
  if (!hasThinkTags(template)) return null;
  // Kimi K2 Thinking has no variable for it; a request may still say that it gets no reasoning.
  if (isKimiK2(template)) return { kind: 'toggle', params: ['thinking'], default: true };
  const generationPrompt = template.lastIndexOf('add_generation_prompt');
  const opens = generationPrompt >= 0 && template.includes('<think>', generationPrompt);
  return { kind: opens ? 'always' : 'model' };
}

const string = String.raw`'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"`;
const block = new RegExp(String.raw`\{[%{](?:${string}|(?![%}]\})[^'"])*[%}]\}`, 'gs');

/** The template's statements and expressions, without text, comments and the insides of strings. */
function codeOf(template: string): string {
  const blocks = template.replace(/\{#.*?#\}/gs, '').match(block) ?? [];
  return blocks.map((code) => code.replace(new RegExp(string, 'gs'), "''")).join('\n');
}

/** What a template takes for `param` where it is not given; null where it never asks for it. */
function toggleDefault(code: string, param: string): boolean | 'model' | null {
  // The variable, not an attribute or a part of a longer name.
  const v = `(?<![\\w.])${param}(?!\\w)`;
  const value = '(true|false)';
  const find = (pattern: string, from = 0) => new RegExp(pattern, 'i').exec(code.slice(from));

  // {% if not x is defined %} ... {% set x = false %}
  const isUnset = `(?:not\\s+${v}\\s+is\\s+defined|${v}\\s+is\\s+(?:not\\s+|un)defined)`;
  const unset = find(`if\\s+${isUnset}\\s*-?%}`);
  const literal =
    (unset && find(`set\\s+${v}\\s*=\\s*${value}\\s*-?%}`, unset.index)) ??
    find(`${v}\\s+if\\s+${v}\\s+is\\s+defined\\s+else\\s+${value}`) ??
    find(`${v}\\s*\\|\\s*default\\(\\s*${value}`) ??
    find(`namespace\\([^)]*(?<!\\w)${param}\\s*=\\s*${value}`);
  if (literal) return literal[1]?.toLowerCase() === 'true';

  const is = `${v}\\s*(?:is(?:\\s+not)?(?:\\s+sameas)?|[!=]=)[\\s(]*`;
  const asksFalse = find(`${is}false`) !== null;
  const asksTrue = find(`${is}true`) !== null;
  // Where it is not given neither tag is written.
  if (asksFalse && asksTrue) return 'model';
  if (asksFalse || find(`${v}\\s+is\\s+defined\\s+and\\s+not\\s+${v}`)) return true;
  if (find(`${v}\\s+is\\s+not\\s+defined\\s+or\\s+${v}`)) return true;
  // An undefined variable is false. One that the template sets is its own, such as a message's thoughts.
  if (find(`set\\s+${v}\\s*=`)) return null;
  return asksTrue || find(`(?:if|and|not)\\s+${v}(?!\\s+is\\b)`) ? false : null;
}

/** An object between the tags, as a text of the template or over several of its expressions. */
const hermesCall = /<tool_call>(?:\\n|[\s"'~+]|-?\}\}|\{\{-?)*\{\\?"name/;

/**
 * The format in which the model of a chat template (Jinja source) writes tool calls; null where there is
 * none, or none that a parser here knows. Of several templates give the one that is used with tools.
 */
export function detectToolParser(template: string): ToolParserName | null {
  if (isHarmony(template)) return 'gpt-oss';
  if (isKimiK2(template)) return 'kimi_k2';
  if (template.includes('<｜tool▁calls▁begin｜>'))
    return template.includes('```json') ? 'deepseek-v3' : 'deepseek-v3.1';
  if (template.includes('[TOOL_CALLS]')) return 'mistral';
  if (template.includes('<tool_call>')) {
    if (template.includes('<function=')) return 'qwen3-coder';
    // Others write a list, or tags of their own, between the same tags.
    return hermesCall.test(template) ? 'hermes' : null;
  }
  if (template.includes('<function=')) return null;
  const isLlama3 = template.includes('<|start_header_id|>') && template.includes('"parameters"');
  return isLlama3 ? 'llama3' : null;
}
