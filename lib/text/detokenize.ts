import { utf8Text } from './token-bytes.js';
import type { Tokenizer } from './tokenizer.js';

export interface DetokenizerOptions {
  /** Leaves out special tokens such as `<|im_end|>`. */
  skipSpecialTokens: boolean;
  /**
   * The tokens go on from a text (a completion after its prompt) and so keep the leading space that a
   * SentencePiece tokenizer takes off the front of a text. Default false: they are a text of their own
   * (a chat message).
   */
  continues?: boolean;
  /** Special tokens that are not left out. */
  keep?: ReadonlySet<number>;
}

const none = new Uint8Array(0);

/**
 * Turns a stream of token ids into text. Never gives half a character: bytes that begin one wait for
 * the tokens that end it. What all calls return, joined, is `tokenizer.decode(ids)`.
 */
export class IncrementalDetokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #skipSpecial: boolean;
  readonly #keep: ReadonlySet<number> | undefined;
  /** At most 3 bytes: the beginning of a character. */
  #pending: Uint8Array = none;
  /** No token has been taken yet. */
  #atStart: boolean;
  /** How many more leading `#stripChar` are to be taken off. */
  #strip = 0;
  readonly #stripChar: string = '';

  constructor(tokenizer: Tokenizer, options: DetokenizerOptions) {
    this.#tokenizer = tokenizer;
    this.#skipSpecial = options.skipSpecialTokens;
    this.#keep = options.keep;
    const continues = options.continues ?? false;
    this.#atStart = !continues;
    const { leading } = tokenizer;
    if (leading.kind === 'strip' && !continues) {
      this.#strip = leading.count;
      this.#stripChar = leading.char;
    }
  }

  /** The text that this token completes: often its own, empty while a character is incomplete. */
  push(id: number): string {
    const tokenizer = this.#tokenizer;
    if (this.#skipSpecial && tokenizer.isSpecial(id) && !this.#keep?.has(id)) return '';
    if (this.#atStart) {
      if (!tokenizer.hasId(id)) return '';
      this.#atStart = false;
      return this.#stripped(this.#take(tokenizer.firstTokenBytes(id)));
    }
    if (this.#pending.length === 0) {
      const text = tokenizer.wholeText(id);
      if (text !== null) return this.#strip > 0 ? this.#stripped(text) : text;
    }
    const text = this.#take(tokenizer.tokenBytes(id));
    return this.#strip > 0 ? this.#stripped(text) : text;
  }

  /** What is left at the end: bytes of an unfinished character become one U+FFFD. */
  flush(): string {
    const text = utf8Text(this.#pending);
    this.#pending = none;
    return text;
  }

  /** Whether bytes are waiting for the rest of their character. */
  get holdsBack(): boolean {
    return this.#pending.length > 0;
  }

  #take(added: Uint8Array): string {
    let bytes = added;
    if (this.#pending.length > 0) {
      bytes = new Uint8Array(this.#pending.length + added.length);
      bytes.set(this.#pending);
      bytes.set(added, this.#pending.length);
    }
    const cut = bytes.length - incompleteSuffix(bytes);
    this.#pending = cut < bytes.length ? bytes.slice(cut) : none;
    return utf8Text(bytes.subarray(0, cut));
  }

  #stripped(text: string): string {
    let start = 0;
    while (this.#strip > 0 && start < text.length) {
      if (text[start] !== this.#stripChar) {
        this.#strip = 0;
        break;
      }
      start++;
      this.#strip--;
    }
    return text.slice(start);
  }
}

/**
 * How many bytes at the end are the beginning of a UTF-8 character that more bytes could complete. Bytes
 * that no continuation can make valid (a surrogate's ED A0, an overlong E0 80) do not count: they are wrong now.
 */
export function incompleteSuffix(bytes: Uint8Array): number {
  const end = bytes.length;
  for (let back = 1; back <= 3 && back <= end; back++) {
    const lead = bytes[end - back]!;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || back >= length) return 0;
    if (back >= 2) {
      const second = bytes[end - back + 1]!;
      if (lead === 0xe0 && second < 0xa0) return 0;
      if (lead === 0xed && second > 0x9f) return 0;
      if (lead === 0xf0 && second < 0x90) return 0;
      if (lead === 0xf4 && second > 0x8f) return 0;
    }
    return back;
  }
  return 0;
}
