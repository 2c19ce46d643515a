/** The engine: one loaded model that answers OpenAI requests inside this process. */
import { loadBinding } from './binding.js';
import { devicesOf, type EngineParts, loadParts } from './engine/load.js';
import { fromNative, invalidRequest } from './errors.js';
import { engineClosed } from './generation.js';
import { GenerationGroup } from './generations.js';
import { InFlight, type Ticket } from './in-flight.js';
import type { LoadOptions } from './options.js';
import { refuseAdapters } from './request/adapter.js';
import { parseChat, parseTemplateFields } from './request/chat.js';
import { checkedText, noConstraint, parseConstraint, readable } from './request/check.js';
import { parseCompletion, parseDetokenize, parseTokenize } from './request/completions.js';
import { type CommonFields, checkVocabulary } from './request/fields.js';
import { answerGrammar, compileGrammar } from './request/grammar.js';
import { type Prepared, planChat, planCompletion } from './request/plan.js';
import { needsTokenizer, renderChat, type TextModel } from './request/render.js';
import { describe, isObject, isSignal } from './request/validate.js';
import { chatChunks, chatCompletion } from './response/chat.js';
import { type ResponseContext, responseContext } from './response/common.js';
import { completion, completionChunks } from './response/completions.js';
import { type ChunkSource, ResponseStream } from './response/stream.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
  ChatCompletionRequestNonStreaming,
  ChatCompletionRequestStreaming,
  Completion,
  CompletionChunk,
  CompletionRequest,
  CompletionRequestNonStreaming,
  CompletionRequestStreaming,
  ConstraintCheck,
  ConstraintRequest,
  DetokenizeRequest,
  DetokenizeResult,
  TokenizeRequest,
  TokenizeResult,
} from './types.js';

export interface RequestOptions {
  /** Aborts the request; the call (or the loop over its chunks) then rejects with the signal's reason. */
  signal?: AbortSignal;
  /** @internal Further names of the model: what follows a colon in them is no adapter. */
  modelNames?: readonly string[];
}

/** A device that this machine has, or that the addon was built for. */
export interface DeviceInfo {
  kind: 'cpu' | 'cuda';
  index: number;
  name: string;
  totalBytes: number;
  freeBytes: number;
  /** CPU: instruction set and threads; CUDA: compute capability. */
  detail: string;
  /** Why it cannot be used; null when it can. */
  unavailable: string | null;
}

export interface EngineStats {
  /** Requests that take part in steps, and those that wait for their turn. */
  running: number;
  waiting: number;
  /** Blocks of the KV cache; free + cached + those in use is the total. */
  blocksTotal: number;
  blocksFree: number;
  /** Kept for equal prefixes of later requests, given up when needed. */
  blocksCached: number;
  /** All counters below are since the load. */
  steps: number;
  promptTokens: number;
  cachedPromptTokens: number;
  generatedTokens: number;
  requestsFinished: number;
  requestsAborted: number;
  /** How often a request had to give up its blocks and be computed again. */
  preemptions: number;
  weightBytes: number;
  kvCacheBytes: number;
  /** Time spent in steps. */
  stepSeconds: number;
  /** null, or why the engine no longer takes requests. */
  failure: string | null;
}

/** Every device, usable or not. Throws EngineError `binding_unavailable` where there is no addon. */
export function devices(): DeviceInfo[] {
  return devicesOf(loadBinding());
}

export class Engine implements AsyncDisposable {
  /** `model` of responses to requests that name none. */
  readonly model: string;
  /** Prompt and generated tokens of one request. */
  readonly maxModelLen: number;
  /** "cpu" or "cuda:<index>". */
  readonly device: string;

  readonly #parts: EngineParts;
  readonly #inFlight = new InFlight();
  #closing: Promise<void> | null = null;

  /** @internal See {@link Engine.load}. */
  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.model = parts.servedName;
    this.maxModelLen = parts.facts.maxModelLen;
    this.device = parts.device;
  }

  /**
   * Loads a model: a folder in Hugging Face's form, or a hub id, which is looked up in the local cache and
   * otherwise downloaded into it. Rejects with an EngineError that says what is wrong and what to do.
   */
  static async load(model: string, options?: LoadOptions): Promise<Engine> {
    return new Engine(await loadParts(model, options, loadBinding));
  }

  /**
   * Answers a conversation. Without `stream` a promise of the whole answer; with `stream: true` an async
   * iterable of chunks. Reasoning and tool calls are taken out of the content by the parsers that fit the model
   * (options `reasoningParser` and `toolParser`).
   */
  chatCompletions(
    body: ChatCompletionRequestStreaming,
    options?: RequestOptions,
  ): ResponseStream<ChatCompletionChunk>;
  chatCompletions(
    body: ChatCompletionRequestNonStreaming,
    options?: RequestOptions,
  ): Promise<ChatCompletion>;
  chatCompletions(
    body: ChatCompletionRequest,
    options?: RequestOptions,
  ): Promise<ChatCompletion> | ResponseStream<ChatCompletionChunk>;
  chatCompletions(
    body: ChatCompletionRequest,
    options?: RequestOptions,
  ): Promise<ChatCompletion> | ResponseStream<ChatCompletionChunk> {
    const context = this.#start(options, () => {
      const fields = parseChat(body);
      const text = this.#text('messages');
      return { fields, plan: () => planChat(fields, text, this.#parts.facts) };
    });
    return body?.stream === true ? streamed(context, chatChunks) : whole(context, chatCompletion);
  }

  /** Continues texts: as {@link Engine.chatCompletions}, without a chat template. */
  completions(
    body: CompletionRequestStreaming,
    options?: RequestOptions,
  ): ResponseStream<CompletionChunk>;
  completions(body: CompletionRequestNonStreaming, options?: RequestOptions): Promise<Completion>;
  completions(
    body: CompletionRequest,
    options?: RequestOptions,
  ): Promise<Completion> | ResponseStream<CompletionChunk>;
  completions(
    body: CompletionRequest,
    options?: RequestOptions,
  ): Promise<Completion> | ResponseStream<CompletionChunk> {
    const context = this.#start(options, () => {
      const fields = parseCompletion(body);
      return { fields, plan: () => planCompletion(fields, this.#parts.text, this.#parts.facts) };
    });
    return body?.stream === true ? streamed(context, completionChunks) : whole(context, completion);
  }

  /** The token ids of a text, or of a conversation as its chat template renders it. */
  async tokenize(body: TokenizeRequest): Promise<TokenizeResult> {
    this.#checkOpen();
    const isChat = isObject(body) && 'messages' in body;
    const text = this.#text(isChat ? 'messages' : 'prompt');
    const ids = isChat
      ? (await renderChat(parseTemplateFields(body), text)).ids
      : await encode(text, parseTokenize(body));
    return { tokens: [...ids], count: ids.length, max_model_len: this.maxModelLen };
  }

  /** The text of token ids. */
  async detokenize(body: DetokenizeRequest): Promise<DetokenizeResult> {
    this.#checkOpen();
    const { tokens, skip_special_tokens: skipSpecialTokens = true } = parseDetokenize(body);
    const { tokenizer } = this.#text('tokens');
    checkVocabulary(tokens, this.#parts.facts.vocabSize, 'tokens');
    return { text: tokenizer.decode(tokens, { skipSpecialTokens }) };
  }

  /**
   * Runs a text through what a request's fields ask for, without a model step: what a constrained answer could have
   * been. `failedAt` is the offset of the first byte of the text's UTF-8 that is not allowed (its length where all
   * are), `expected` a few of the things that could have come there.
   */
  async checkConstraint(body: ConstraintRequest, text: string): Promise<ConstraintCheck> {
    this.#checkOpen();
    const model = this.#text('text');
    const checked = checkedText(text);
    const grammar = answerGrammar(parseConstraint(body), model, this.#parts.facts);
    if (grammar === null) throw noConstraint();
    const compiled = await compileGrammar(this.#parts.native, grammar);
    try {
      const { expected, ...result } = compiled.check(checked);
      return { ...result, expected: expected.map((each) => readable(each, model.tokenizer)) };
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * Ends the request with this `rid` (or, where it gave none, with the `id` of its response): its answer ends
   * with the finish_reason "abort" and what it has so far. False where no such request is in flight.
   */
  abort(rid: string): boolean {
    return this.#inFlight.abort(rid);
  }

  /** As {@link Engine.abort}, for all requests in flight; returns how many there were. */
  abortAll(): number {
    return this.#inFlight.abortAll();
  }

  /** A snapshot; waits for nothing. */
  stats(): EngineStats {
    this.#checkOpen();
    try {
      return this.#parts.native.stats();
    } catch (error) {
      throw fromNative(error);
    }
  }

  /**
   * Ends what is in flight (its callers get EngineError `engine_closed`), frees the memory, and makes
   * every later call fail so. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#parts.native.close().catch((error) => {
      throw fromNative(error);
    });
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Validates and tokenises, then submits everything in one go. */
  async #start<Fields extends CommonFields>(
    options: RequestOptions | undefined,
    read: () => { fields: Fields; plan: () => Promise<Prepared<Fields>> },
  ): Promise<ResponseContext<Fields>> {
    const signal = signalOf(options);
    signal?.throwIfAborted();
    this.#checkOpen();
    const { fields, plan } = read();
    refuseAdapters(fields, [this.#parts.servedName, ...(options?.modelNames ?? [])]);
    const ticket = this.#inFlight.enter(fields.rid);
    try {
      return await this.#submit(ticket, plan, signal);
    } catch (error) {
      ticket.leave();
      throw error;
    }
  }

  async #submit<Fields extends CommonFields>(
    ticket: Ticket,
    plan: () => Promise<Prepared<Fields>>,
    signal: AbortSignal | undefined,
  ): Promise<ResponseContext<Fields>> {
    const started = performance.now();
    const prepared = await plan();
    await this.#constrain(prepared);
    // Tokenising takes its time: the engine may be closed by now, or the request be given up.
    signal?.throwIfAborted();
    this.#checkOpen();
    const { text, servedName } = this.#parts;
    const tokenizer = text?.tokenizer ?? null;
    const backend = { ...this.#parts, tokenizer };
    const group = new GenerationGroup(prepared.plans, backend, { signal, onEnd: ticket.leave });
    ticket.onAbort(() => group.abort());
    return responseContext({ id: ticket.id, started, prepared, group, tokenizer, servedName });
  }

  /** Compiled off this thread, or found among those compiled before. */
  async #constrain({ grammar, plans }: Prepared): Promise<void> {
    if (grammar === null) return;
    const compiled = await compileGrammar(this.#parts.native, grammar);
    for (const { params } of plans) {
      params.grammar = compiled;
      params.grammarStart = grammar.startAfter ?? '';
    }
    const limit = plans[0]?.message?.thinkingLimit;
    if (limit && grammar.withoutThinking)
      limit.grammar = await compileGrammar(this.#parts.native, grammar.withoutThinking());
  }

  #text(param: string): TextModel {
    if (this.#parts.text === null) throw needsTokenizer(param);
    return this.#parts.text;
  }

  #checkOpen(): void {
    if (this.#closing !== null) throw engineClosed();
  }
}

async function whole<Fields extends CommonFields, T>(
  starting: Promise<ResponseContext<Fields>>,
  build: (context: ResponseContext<Fields>) => T,
): Promise<T> {
  const context = await starting;
  await context.group.finished();
  return build(context);
}

function streamed<Fields extends CommonFields, T>(
  starting: Promise<ResponseContext<Fields>>,
  chunks: (context: ResponseContext<Fields>) => AsyncGenerator<T>,
): ResponseStream<T> {
  const source = starting.then(
    (context): ChunkSource<T> => ({
      chunks: chunks(context),
      cancel: () => context.group.cancel(),
    }),
  );
  return new ResponseStream(source);
}

function signalOf(options: RequestOptions | undefined): AbortSignal | undefined {
  const signal = options?.signal ?? undefined;
  if (signal === undefined || isSignal(signal)) return signal;
  throw invalidRequest(
    `Invalid type for 'signal': expected an AbortSignal, but got ${describe(signal)} instead.`,
    'signal',
    'invalid_type',
  );
}

async function encode(
  { tokenizer }: TextModel,
  { prompt, add_special_tokens }: ReturnType<typeof parseTokenize>,
): Promise<Int32Array> {
  return tokenizer.encode(prompt, { addSpecialTokens: add_special_tokens ?? true });
}
