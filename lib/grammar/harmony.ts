/**
 * gpt-oss's messages around what is constrained: first any number of messages of analysis (before a call
 * also of commentary to the user, which is content), then the one that counts. The constraint cannot wait for the end of reasoning here, as the header
 * of the next message belongs to it.
 */
import { choice, type GrammarSource, repeat, sequence } from './source.js';
import { anyText } from './text-until.js';

const start = '<|start|>assistant';
const channel = '<|channel|>';
const message = '<|message|>';
const end = '<|end|>';

export interface HarmonyParts {
  /** The text of a final message; null: there is none. */
  readonly final: string | null;
  /** A call, with its header; null: none may be made. */
  readonly call: string | null;
}

/** @param prefix the message that the prompt has begun, such as `<|start|>assistant`; '' for none */
export function harmonyExpression(
  source: GrammarSource,
  { final, call }: HarmonyParts,
  prefix: string,
): string {
  const text = source.rule('message', anyText(source));
  const header = (name: string) => source.literal(`${channel}${name}${message}`);
  const again = source.literal(end + start);
  const openings = [header('analysis'), ...(call === null ? [] : [header('commentary')])];
  const before = sequence([choice(openings), text, again]);
  const last: string[] = [];
  if (final !== null)
    last.push(
      sequence([
        source.literal(`${channel}final`),
        choice([source.literal(message), source.literal(` <|constrain|>json${message}`)]),
        final,
      ]),
    );
  if (call !== null) last.push(call);
  const answer = source.rule('harmony', sequence([repeat(before, 0, Infinity), choice(last)]));
  const at = prefix.lastIndexOf(message);
  if (at < 0) {
    // The prompt leaves the model to write the header, or the beginning of the message too.
    const rest = prefix === '' ? start : '';
    return sequence([source.literal(rest), answer]);
  }
  const isFinal = prefix.includes(`${channel}final`);
  return isFinal && final !== null ? final : sequence([text, again, answer]);
}
