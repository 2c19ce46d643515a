import type { TemplateThinking } from '../detect.js';
import type { ReasoningFormat } from './formats.js';

export interface PromptState {
  /** The rendered prompt, or as much of its end as is at hand. */
  prompt: string;
  /** The text of the assistant's message that the prompt ends with and that is continued, if any. */
  continued?: string | null;
  /** The request's `chat_template_kwargs`. */
  kwargs?: Readonly<Record<string, unknown>>;
  /** What the chat template says: `detectThinking`. */
  thinking?: TemplateThinking | null;
}

/**
 * Whether the model's text begins inside the reasoning. In this order: a continued message's own tags (an
 * end tag wins), the tag that the prompt ends with, the parser's rule where it has a fixed one, the chat
 * template's default with the request's kwargs, the parser's default with them. Always false for gpt-oss,
 * whose parser takes `harmonyPrefix` of the prompt instead.
 */
export function startsInReasoning(format: ReasoningFormat, state: PromptState): boolean {
  const { tags, begins } = format;
  if (!tags) return false;
  const continued = state.continued ?? '';
  if (continued.includes(tags.end)) return false;
  if (continued.includes(tags.start)) return true;

  let prompt = state.prompt.trimEnd();
  const tail = continued.trimEnd();
  if (tail !== '' && prompt.endsWith(tail)) prompt = prompt.slice(0, -tail.length).trimEnd();
  if (prompt.endsWith(tags.start)) return true;
  if (prompt.endsWith(tags.end)) return false;

  if (begins === 'inside' || begins === 'outside') return begins === 'inside';
  const kwargs = state.kwargs ?? {};
  const thinking = state.thinking ?? null;
  if (thinking?.kind === 'always') return true;
  if (thinking?.kind === 'model') return false;
  if (thinking?.kind === 'toggle') {
    const param = thinking.params.find((name) => kwargs[name] !== undefined);
    return isOn(param === undefined ? undefined : kwargs[param], thinking.default);
  }
  return isOn(kwargs[begins.param], begins.on);
}

/** As templates ask: "is false" where thinking is the default, "if x" where it is not. */
const isOn = (value: unknown, byDefault: boolean) => (byDefault ? value !== false : Boolean(value));
