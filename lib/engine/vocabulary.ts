/** The bytes of a model's tokens, as native code needs them for grammars. */
import type { NativeVocabulary } from '../native.js';
import type { Tokenizer } from '../text/tokenizer.js';

/** @param size tokens that the model has logits of; those that the tokenizer lacks have no bytes */
export function nativeVocabulary(
  tokenizer: Tokenizer,
  size: number,
  stopIds: readonly number[],
): NativeVocabulary {
  const offsets = new Uint32Array(size + 1);
  const special = new Uint8Array(size);
  const parts: Uint8Array[] = [];
  let end = 0;
  for (let id = 0; id < size; id++) {
    const bytes = tokenizer.tokenBytes(id);
    parts.push(bytes);
    end += bytes.length;
    offsets[id + 1] = end;
    if (tokenizer.isSpecial(id)) special[id] = 1;
  }
  const bytes = new Uint8Array(end);
  for (let id = 0; id < size; id++) bytes.set(parts[id]!, offsets[id]);
  return { bytes, offsets, special, stopIds: Int32Array.from(stopIds) };
}
