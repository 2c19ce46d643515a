import { Tokenizer as NativeTokenizer } from 'tokenizers';
import { invalidRequest, loadError } from '../errors.js';
import { IncrementalDetokenizer } from './detokenize.js';
import {
  type LeadingRule,
  parseDecoder,
  type TableEntry,
  TokenTable,
  utf8Text,
} from './token-bytes.js';
import {
  parseJsonObject,
  readTokenizerConfig,
  readTokenizerJson,
  type TokenizerConfig,
} from './tokenizer-files.js';

export interface EncodeOptions {
  /**
   * Adds what the model's tokenizer puts around a text, such as BOS. Default true, right for a bare
   * prompt; pass false for the output of a chat template, which writes these tokens itself.
   */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leaves out special tokens such as `<|im_end|>`. Default false. */
  skipSpecialTokens?: boolean;
  /** See {@link IncrementalDetokenizer}. Default false. */
  continues?: boolean;
}

/**
 * A model's tokenizer. Encoding is Hugging Face's `tokenizers` on libuv's pool; decoding is a table of
 * every token's bytes, so that a stream of tokens can be decoded one by one.
 */
export class Tokenizer {
  /** Largest token id + 1, added tokens included. The model's logits may be wider (padding). */
  readonly vocabSize: number;
  readonly bosToken: string | null;
  readonly eosToken: string | null;
  readonly padToken: string | null;
  readonly unkToken: string | null;
  readonly sepToken: string | null;
  readonly clsToken: string | null;
  readonly maskToken: string | null;
  readonly additionalSpecialTokens: readonly string[];
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  /** name -> Jinja source; a single template is named "default". Empty if the model has none. */
  readonly chatTemplates: ReadonlyMap<string, string>;
  /** How the front of a text differs from its middle: for {@link IncrementalDetokenizer}. */
  readonly leading: LeadingRule;

  readonly #native: NativeTokenizer;
  readonly #table: TokenTable;
  readonly #declared: TokenizerJson['declared'];
  #specialTokens: Map<string, number> | null = null;
  readonly #fromNative: TokenizerJson['fromNative'];
  /** Ids to put around a text instead of what tokenizer.json's post-processor would; null: leave it. */
  readonly #frame: { bos: number[]; eos: number[] } | null;

  private constructor(native: NativeTokenizer, json: TokenizerJson, config: TokenizerConfig) {
    this.#native = native;
    this.#table = json.table;
    this.#declared = json.declared;
    this.#fromNative = json.fromNative;
    this.leading = json.leading;
    this.vocabSize = json.table.size;
    this.bosToken = config.bosToken;
    this.eosToken = config.eosToken;
    this.padToken = config.padToken;
    this.unkToken = config.unkToken;
    this.sepToken = config.sepToken;
    this.clsToken = config.clsToken;
    this.maskToken = config.maskToken;
    this.additionalSpecialTokens = config.additionalSpecialTokens;
    this.chatTemplates = config.chatTemplates;
    const id = (token: string | null) => (token === null ? null : this.tokenToId(token));
    this.bosTokenId = id(this.bosToken);
    this.eosTokenId = id(this.eosToken);
    this.padTokenId = id(this.padToken);
    const side = (on: boolean, token: number | null) => (on && token !== null ? [token] : []);
    this.#frame = config.frame && {
      bos: side(config.frame.bos, this.bosTokenId),
      eos: side(config.frame.eos, this.eosTokenId),
    };
  }

  /**
   * Reads tokenizer.json and, where present, tokenizer_config.json, special_tokens_map.json and the chat
   * template files of a Hugging Face model folder. Parsing 11 MB (150 k tokens) takes about 1 s of this
   * thread.
   *
   * @throws EngineError `tokenizer_invalid`, naming the file.
   */
  static async load(folder: string): Promise<Tokenizer> {
    const { path, text } = await readTokenizerJson(folder);
    const config = await readTokenizerConfig(folder);
    const json = parseJsonObject(text, path);
    let native: NativeTokenizer;
    try {
      native = NativeTokenizer.fromString(text);
      // Some files keep the truncation and padding of a training run; prompts are never cut silently.
      native.disableTruncation();
      native.disablePadding();
    } catch (error) {
      throw loadError(
        `${path} is not a tokenizer that Hugging Face tokenizers 0.23 can read: ${(error as Error).message}. Download it again, or save it again with transformers' save_pretrained.`,
        'tokenizer_invalid',
        error,
      );
    }
    return new Tokenizer(native, buildTable(json, native, config, path), config);
  }

  /**
   * Token ids of a text. The work runs on libuv's pool; only the conversion of the ids runs on this
   * thread: 0.2 ms per 1,000 tokens (1 MB of English, 245 k tokens: 1.1 s on the pool, 55 ms here; a 32 k prompt:
   * 7 ms). A worker would take that off too, but with a tokenizer of its own: 0.7 s and 110 MB more.
   */
  async encode(text: string, options: EncodeOptions = {}): Promise<Int32Array> {
    const special = options.addSpecialTokens ?? true;
    const frame = special ? this.#frame : null;
    let ids: number[];
    try {
      const encoding = await this.#native.encode(text, null, {
        addSpecialTokens: special && frame === null,
      });
      ids = encoding.getIds();
      if (this.#fromNative.size > 0) ids = ids.map((id) => this.#fromNative.get(id) ?? id);
    } catch (error) {
      throw invalidRequest(
        `This model's tokenizer cannot encode the text: ${(error as Error).message}`,
      );
    }
    if (frame === null) return Int32Array.from(ids);
    const framed = new Int32Array(frame.bos.length + ids.length + frame.eos.length);
    framed.set(frame.bos);
    framed.set(ids, frame.bos.length);
    framed.set(frame.eos, frame.bos.length + ids.length);
    return framed;
  }

  /** The text of a list of token ids. Ids that no token has are skipped. */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const detokenizer = new IncrementalDetokenizer(this, {
      skipSpecialTokens: options.skipSpecialTokens ?? false,
      continues: options.continues ?? false,
    });
    let text = '';
    for (let i = 0; i < ids.length; i++) text += detokenizer.push(ids[i]!);
    return text + detokenizer.flush();
  }

  /** Exactly the bytes that a token stands for in the middle of a text; empty for an id without a token. */
  tokenBytes(id: number): Uint8Array {
    return this.#table.bytes(id);
  }

  /** The bytes that a token stands for at the very beginning of a text. */
  firstTokenBytes(id: number): Uint8Array {
    return this.#table.bytesAsFirst(id);
  }

  /** The text of a token whose bytes are valid UTF-8 by themselves, null for any other. O(1). */
  wholeText(id: number): string | null {
    return this.#table.wholeText(id);
  }

  /** Whether any token has this id. */
  hasId(id: number): boolean {
    return this.#table.has(id);
  }

  isSpecial(id: number): boolean {
    return this.#table.isSpecial(id);
  }

  /** Special tokens by their text. */
  get specialTokens(): ReadonlyMap<string, number> {
    if (this.#specialTokens === null) {
      this.#specialTokens = new Map();
      for (let id = 0; id < this.vocabSize; id++)
        if (this.#table.isSpecial(id)) this.#specialTokens.set(this.tokenText(id), id);
    }
    return this.#specialTokens;
  }

  /** The id of a token written as in tokenizer.json, such as `<|im_end|>`; null if there is none. */
  tokenToId(token: string): number | null {
    return this.#declared.get(token) ?? this.#native.tokenToId(token);
  }

  /** A token's text by itself, as logprobs show it; U+FFFD where its bytes are part of a character. */
  tokenText(id: number): string {
    return this.#table.wholeText(id) ?? utf8Text(this.#table.bytes(id));
  }
}

interface TokenizerJson {
  table: TokenTable;
  leading: LeadingRule;
  /**
   * Where the ids of added tokens have gaps, `tokenizers` numbers them on without; the model knows them by
   * the ids in the file. Token -> id in the file, and id in `tokenizers` -> id in the file, where they differ.
   */
  declared: Map<string, number>;
  fromNative: Map<number, number>;
}

interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

function* vocabEntries(model: Record<string, unknown>, path: string): Generator<TableEntry> {
  const { vocab, type } = model;
  const kind = type ?? (Array.isArray(vocab) ? 'Unigram' : 'merges' in model ? 'BPE' : 'unknown');
  if (kind !== 'BPE' && kind !== 'Unigram')
    throw loadError(
      `${path}: expected a model of type BPE or Unigram, received ${JSON.stringify(kind)}, which no supported model family uses`,
      'tokenizer_invalid',
    );
  const entry = (token: string, id: number) => ({ id, token, added: false, special: false });
  if (kind === 'Unigram') {
    let id = 0;
    for (const [token] of vocab as [string, number][]) yield entry(token, id++);
  } else {
    for (const [token, id] of Object.entries(vocab as Record<string, number>))
      yield entry(token, id);
  }
}

function buildTable(
  json: Record<string, unknown>,
  native: NativeTokenizer,
  config: TokenizerConfig,
  path: string,
): TokenizerJson {
  // The native parser has checked the file's structure; ids and kinds are checked here.
  const decoder = parseDecoder(json.decoder, path);
  const added = (json.added_tokens ?? []) as AddedToken[];
  const declared = new Map<string, number>();
  const fromNative = new Map<number, number>();
  const holders = new Map<number, string>();
  for (const { id, content } of added) {
    const other = holders.get(id);
    if (other !== undefined && other !== content)
      throw loadError(
        `${path}: added tokens ${JSON.stringify(other)} and ${JSON.stringify(content)} both say id ${id}; expected one token per id`,
        'tokenizer_invalid',
      );
    holders.set(id, content);
    const actual = native.tokenToId(content);
    if (actual === id || actual === null) continue;
    declared.set(content, id);
    fromNative.set(actual, id);
  }

  // Tokens that the configuration calls special but tokenizer.json lists as ordinary ones: transformers
  // makes them special when it loads, so that they are found in a prompt and skipped in an answer.
  const special = new Set(added.filter((token) => token.special).map((token) => token.content));
  const promoted = [
    config.bosToken,
    config.eosToken,
    config.padToken,
    config.unkToken,
    config.sepToken,
    config.clsToken,
    config.maskToken,
    ...config.additionalSpecialTokens,
    ...config.declaredSpecial,
  ].filter((token) => token !== null && !special.has(token) && native.tokenToId(token) !== null);
  const promotedTokens = [...new Set(promoted)] as string[];
  if (promotedTokens.length > 0) native.addSpecialTokens(promotedTokens);
  for (const token of promotedTokens) special.add(token);

  const model = json.model as Record<string, unknown>;
  function* entries(): Generator<TableEntry> {
    yield* vocabEntries(model, path);
    for (const { id, content } of added)
      yield { id, token: content, added: true, special: special.has(content) };
    for (const token of promotedTokens)
      yield {
        id: declared.get(token) ?? native.tokenToId(token)!,
        token,
        added: true,
        special: true,
      };
  }
  return {
    table: new TokenTable(entries(), decoder, path),
    leading: decoder.leading,
    declared,
    fromNative,
  };
}
