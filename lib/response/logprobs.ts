/** Logprobs of token ids as OpenAI writes them, on both endpoints. */
import type { Generation, Score } from '../generation.js';
import { IncrementalDetokenizer } from '../text/detokenize.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { ChatLogprobs, CompletionLogprobs, TokenLogprob, TopLogprob } from '../types.js';

/** JSON has no -Infinity; OpenAI writes this for "impossible". */
const impossible = -9999;

/** A token's text by itself; where its bytes are no UTF-8, "bytes:\xe2\x80" keeps them apart, as OpenAI does. */
export function tokenLabel(id: number, tokenizer: Tokenizer | null): string {
  if (tokenizer === null) return `token_id:${id}`;
  const text = tokenizer.wholeText(id);
  if (text !== null) return text;
  let label = 'bytes:';
  for (const byte of tokenizer.tokenBytes(id)) label += `\\x${byte.toString(16).padStart(2, '0')}`;
  return label;
}

function finite(logprob: number): number {
  return logprob > -1e30 ? logprob : impossible; // native code has -3.4e38 for minus infinity
}

export function chatLogprobs(scores: readonly Score[], tokenizer: Tokenizer | null): ChatLogprobs {
  const entry = (id: number, logprob: number): TopLogprob => ({
    token: tokenLabel(id, tokenizer),
    bytes: tokenizer ? [...tokenizer.tokenBytes(id)] : [],
    logprob: finite(logprob),
  });
  const content = scores.map(
    ({ id, logprob, top }): TokenLogprob => ({
      ...entry(id, logprob),
      top_logprobs: top.map((t) => entry(t.id, t.logprob)),
    }),
  );
  return { content, refusal: null };
}

/** @param start UTF-16 units of text before the generated text (the echoed prompt) */
export function completionLogprobs(
  scores: readonly Score[],
  start: number,
  tokenizer: Tokenizer | null,
): CompletionLogprobs {
  const result: CompletionLogprobs = {
    text_offset: [],
    token_logprobs: [],
    tokens: [],
    top_logprobs: [],
  };
  for (const { id, logprob, top, offset } of scores) {
    const label = tokenLabel(id, tokenizer);
    result.text_offset.push(start + offset);
    result.token_logprobs.push(finite(logprob));
    result.tokens.push(label);
    const map: Record<string, number> = {};
    // The likeliest come first; ids that read the same do not overwrite them.
    for (const t of [...top, { id, logprob }])
      map[tokenLabel(t.id, tokenizer)] ??= finite(t.logprob);
    result.top_logprobs.push(map);
  }
  return result;
}

/** The prompt's part with `echo`: its first token has no logprob. */
export function promptLogprobs(
  generation: Generation,
  tokenizer: Tokenizer | null,
): CompletionLogprobs {
  const { promptIds, text } = generation.plan;
  const offsets = textOffsets(promptIds, tokenizer, text.skipSpecialTokens);
  const scores = generation.promptScores.map((s, i) => ({ ...s, offset: offsets[i + 1]! }));
  const rest = completionLogprobs(scores, 0, tokenizer);
  // OpenAI's types know no null here; its API gives it.
  const none = null as unknown as never;
  return {
    text_offset: [0, ...rest.text_offset],
    token_logprobs: [none, ...rest.token_logprobs],
    tokens: [tokenLabel(promptIds[0]!, tokenizer), ...rest.tokens],
    top_logprobs: [none, ...rest.top_logprobs],
  };
}

export function joinLogprobs(a: CompletionLogprobs, b: CompletionLogprobs): CompletionLogprobs {
  return {
    text_offset: [...a.text_offset, ...b.text_offset],
    token_logprobs: [...a.token_logprobs, ...b.token_logprobs],
    tokens: [...a.tokens, ...b.tokens],
    top_logprobs: [...a.top_logprobs, ...b.top_logprobs],
  };
}

function textOffsets(
  ids: Int32Array,
  tokenizer: Tokenizer | null,
  skipSpecialTokens: boolean,
): number[] {
  if (tokenizer === null) return Array.from(ids, () => 0);
  const detokenizer = new IncrementalDetokenizer(tokenizer, { skipSpecialTokens });
  let length = 0;
  return Array.from(ids, (id) => {
    const offset = length;
    length += detokenizer.push(id).length;
    return offset;
  });
}
