import { isUtf8 } from 'node:buffer';
import { loadError } from '../errors.js';

/** What tokenizer.json's `decoder` does to the beginning of a decoded text. */
export type LeadingRule =
  | { kind: 'keep' }
  /** Up to `count` times `char` is taken off the front of the whole text (Llama 2's leading space). */
  | { kind: 'strip'; char: string; count: number }
  /** The first token loses every `char` it has (Metaspace: a "▁" at the start of a text is no space). */
  | { kind: 'drop-in-first-token'; char: string };

/** tokenizer.json's `decoder`, reduced to a map from one token's text to bytes, and a rule for the front. */
export interface TokenDecoder {
  leading: LeadingRule;
  /** The bytes of a token of the model's vocabulary (or of a non-special added token). */
  bytes(token: string, added: boolean): Uint8Array;
}

const encoder = new TextEncoder();

/** GPT-2's map of the 256 bytes to printable characters, inverted: char code -> byte, -1 where none. */
export const byteOfChar: Int16Array = (() => {
  const table = new Int16Array(0x144).fill(-1);
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table[printable ? byte : next++] = byte;
  }
  return table;
})();

function byteLevelBytes(token: string, added: boolean): Uint8Array {
  // An added token's text is plain text: "é" is é, not the byte 0xE9 that the map would make of it
  // (which is what Hugging Face's ByteLevel decoder does).
  if (added) return encoder.encode(token);
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfChar[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

const byteToken = /^<0x([0-9A-Fa-f]{2})>$/;

interface DecoderStep {
  type: string;
  [field: string]: unknown;
}

function flatten(decoder: unknown, file: string): DecoderStep[] {
  const step = decoder as DecoderStep | null;
  if (typeof step !== 'object' || step === null || typeof step.type !== 'string')
    throw loadError(
      `${file}: expected a "decoder" with a "type" (ByteLevel, Metaspace or a Sequence), received ${JSON.stringify(decoder ?? null)}. Save the tokenizer again with transformers' save_pretrained.`,
      'tokenizer_invalid',
    );
  if (step.type !== 'Sequence') return [step];
  if (!Array.isArray(step.decoders))
    throw loadError(
      `${file}: expected a list "decoders" in the decoder Sequence`,
      'tokenizer_invalid',
    );
  return step.decoders.flatMap((inner) => flatten(inner, file));
}

/** Reads tokenizer.json's `decoder`; throws on every other kind and order, naming it. */
export function parseDecoder(decoder: unknown, file: string): TokenDecoder {
  const steps = flatten(decoder, file);
  const refuse = (step: DecoderStep, why: string) =>
    loadError(
      `${file}: decoder ${steps.map((s) => s.type).join(' > ')} is not supported: ${step.type} ${why}. Supported: ByteLevel; Metaspace; Replace > ByteFallback > Fuse > Strip.`,
      'tokenizer_invalid',
    );

  if (steps[0]?.type === 'ByteLevel') {
    const other = steps.slice(1).find((step) => step.type !== 'Fuse');
    if (other) throw refuse(other, 'cannot follow ByteLevel');
    return { leading: { kind: 'keep' }, bytes: byteLevelBytes };
  }

  const replacements: [from: string, to: string][] = [];
  let leading: LeadingRule = { kind: 'keep' };
  let byteFallback = false;
  let fused = false;
  for (const step of steps) {
    switch (step.type) {
      case 'Replace': {
        const from = (step.pattern as { String?: unknown } | undefined)?.String;
        if (typeof from !== 'string' || from === '' || typeof step.content !== 'string')
          throw refuse(step, 'needs a pattern of the form {"String": ...} and a content');
        if (fused || byteFallback) throw refuse(step, 'must come before ByteFallback and Fuse');
        replacements.push([from, step.content]);
        break;
      }
      case 'Metaspace': {
        const char = step.replacement;
        if (typeof char !== 'string' || char.length !== 1)
          throw refuse(step, 'needs a "replacement" of one character');
        if (fused || byteFallback) throw refuse(step, 'must come before ByteFallback and Fuse');
        const keepsFirst = step.prepend_scheme === 'never' || step.add_prefix_space === false;
        if (!keepsFirst) leading = { kind: 'drop-in-first-token', char };
        replacements.push([char, ' ']);
        break;
      }
      case 'ByteFallback':
        if (fused) throw refuse(step, 'must come before Fuse');
        byteFallback = true;
        break;
      case 'Fuse':
        fused = true;
        break;
      case 'Strip': {
        if (!fused) throw refuse(step, 'must come after Fuse');
        if (leading.kind !== 'keep') throw refuse(step, 'cannot be combined with Metaspace');
        const { content: char, start, stop } = step;
        if (typeof char !== 'string' || char.length !== 1 || !Number.isInteger(start) || stop !== 0)
          throw refuse(step, 'needs a "content" of one character, a whole "start" and "stop": 0');
        leading = { kind: 'strip', char, count: start as number };
        break;
      }
      default:
        throw refuse(step, 'is unknown');
    }
  }
  return {
    leading,
    bytes(token) {
      let text = token;
      for (const [from, to] of replacements) text = text.replaceAll(from, to);
      const byte = byteFallback ? byteToken.exec(text) : null;
      return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : encoder.encode(text);
    },
  };
}

/** Flags of a token in {@link TokenTable}. */
const present = 1;
const special = 2;
/** Its bytes are valid UTF-8 by themselves. */
const whole = 4;

/** Largest id that is believed: a wrong id must not make the table eat the memory. */
const maxTokenId = (1 << 24) - 1;

export interface TableEntry {
  id: number;
  token: string;
  added: boolean;
  special: boolean;
}

/** Every token's bytes in one buffer: 1.3 MB for 150 k tokens, built in 0.1 s. */
export class TokenTable {
  /** Largest id + 1. */
  readonly size: number;
  readonly #bytes: Uint8Array;
  /** [size + 1] */
  readonly #offsets: Int32Array;
  readonly #flags: Uint8Array;
  /** Texts of whole tokens, made at their first use. */
  readonly #texts: (string | undefined)[];
  /** Only with a rule of kind drop-in-first-token: bytes as the first token of a text, where they differ. */
  readonly #asFirst = new Map<number, Uint8Array>();

  /** A later entry with the same id replaces the earlier one. */
  constructor(entries: Iterable<TableEntry>, decoder: TokenDecoder, file: string) {
    const byId: TableEntry[] = [];
    for (const entry of entries) {
      if (!Number.isInteger(entry.id) || entry.id < 0 || entry.id > maxTokenId)
        throw loadError(
          `${file}: token ${JSON.stringify(entry.token)} has id ${entry.id}; expected an integer from 0 to ${maxTokenId}`,
          'tokenizer_invalid',
        );
      byId[entry.id] = entry;
    }
    this.size = byId.length;
    this.#offsets = new Int32Array(this.size + 1);
    this.#flags = new Uint8Array(this.size);
    this.#texts = new Array(this.size);
    let buffer = new Uint8Array(this.size * 8);
    let end = 0;
    for (let id = 0; id < this.size; id++) {
      const entry = byId[id];
      if (entry) {
        const bytes = entry.special
          ? encoder.encode(entry.token)
          : decoder.bytes(entry.token, entry.added);
        if (end + bytes.length > buffer.length) {
          const larger = new Uint8Array((end + bytes.length) * 2);
          larger.set(buffer);
          buffer = larger;
        }
        buffer.set(bytes, end);
        end += bytes.length;
        this.#flags[id] = present | (entry.special ? special : 0) | (isUtf8(bytes) ? whole : 0);
        const { leading } = decoder;
        if (leading.kind === 'drop-in-first-token' && !entry.special) {
          if (entry.token.includes(leading.char))
            this.#asFirst.set(
              id,
              decoder.bytes(entry.token.replaceAll(leading.char, ''), entry.added),
            );
        }
      }
      this.#offsets[id + 1] = end;
    }
    this.#bytes = buffer.slice(0, end);
  }

  has(id: number): boolean {
    return (this.#flags[id] ?? 0) !== 0;
  }

  isSpecial(id: number): boolean {
    return ((this.#flags[id] ?? 0) & special) !== 0;
  }

  /** A view, not to be written to; empty for an id that no token has. */
  bytes(id: number): Uint8Array {
    if (!this.has(id)) return this.#bytes.subarray(0, 0);
    return this.#bytes.subarray(this.#offsets[id], this.#offsets[id + 1]);
  }

  /** The bytes at the very beginning of a text. */
  bytesAsFirst(id: number): Uint8Array {
    return this.#asFirst.get(id) ?? this.bytes(id);
  }

  /** The text of a token whose bytes are valid UTF-8 by themselves; null for other tokens. */
  wholeText(id: number): string | null {
    const text = this.#texts[id];
    if (text !== undefined) return text;
    if (((this.#flags[id] ?? 0) & whole) === 0) return null;
    const made = utf8Text(this.bytes(id));
    this.#texts[id] = made;
    return made;
  }
}

/** UTF-8 to text; each invalid sequence becomes one U+FFFD, as the WHATWG decoder does. A BOM is kept. */
export function utf8Text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
