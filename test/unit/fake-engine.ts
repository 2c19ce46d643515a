/** An engine over a scripted native part and a small real tokenizer: the whole of lib without the addon. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EngineParts } from '../../lib/engine/load.js';
import { Engine } from '../../lib/engine.js';
import { Mailbox } from '../../lib/mailbox.js';
import type {
  NativeEngine,
  NativeGrammar,
  NativeSamplingParams,
  NativeStats,
} from '../../lib/native.js';
import type { TextModel } from '../../lib/request/render.js';
import { ChatTemplates } from '../../lib/text/template.js';
import { Tokenizer } from '../../lib/text/tokenizer.js';

export const endOfText = 256;
export const imStart = 257;
export const imEnd = 258;
/** A token of several characters: " world". */
export const world = 259;
export const vocabSize = 260;
/** The model's embedding is wider than the tokenizer, as published ones often are. */
export const modelVocabSize = 264;

const template =
  '{% if tools %}TOOLS {{ tools | length }}\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments.city }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{% if enable_thinking is defined and enable_thinking == false %}<think></think>{% endif %}';

/** GPT-2's names for bytes. */
function byteSymbols(): string[] {
  const printable = (b: number) =>
    (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let extra = 0;
  return Array.from({ length: 256 }, (_, b) =>
    String.fromCodePoint(printable(b) ? b : 256 + extra++),
  );
}

/** One token per byte, three special tokens, and " world" as an added token. */
export async function byteTokenizer(): Promise<Tokenizer> {
  const folder = mkdtempSync(join(tmpdir(), 'hotpath-tokenizer-'));
  const added = (id: number, content: string, special: boolean) => ({
    id,
    content,
    special,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      added(endOfText, '<|endoftext|>', true),
      added(imStart, '<|im_start|>', true),
      added(imEnd, '<|im_end|>', true),
      added(world, ' world', false),
    ],
    normalizer: null,
    pre_tokenizer: {
      type: 'ByteLevel',
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: false,
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(byteSymbols().map((s, i) => [s, i])),
      merges: [],
    },
  };
  const config = { eos_token: '<|im_end|>', bos_token: null, chat_template: template };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
  try {
    return await Tokenizer.load(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface Submitted {
  id: number;
  promptIds: Int32Array;
  params: NativeSamplingParams;
}

export interface Step {
  tokens?: number[];
  /** One per token. */
  logprobs?: number[];
  /** Rows of [id, logprob], one row per token. */
  top?: [number, number][][];
  isPrompt?: boolean;
  finish?: 'stop' | 'length' | 'abort';
  cachedTokens?: number;
  experts?: number[];
  error?: { code: string; message: string };
}

const finishCodes = { stop: 1, length: 2, abort: 3 };

/** Answers what a test tells it to, and keeps what it was asked. */
export class FakeNative implements NativeEngine {
  readonly mailbox = new Mailbox();
  readonly submitted: Submitted[] = [];
  readonly aborted: number[] = [];
  readonly live = new Set<number>();
  closed = false;
  /** Called for every request, once it is in. */
  onSubmit: ((request: Submitted) => void) | null = null;
  refuse: (Error & { code?: string }) | null = null;

  submit(id: number, promptIds: Int32Array, params: NativeSamplingParams): void {
    if (this.refuse) throw this.refuse;
    const request = { id, promptIds, params };
    this.submitted.push(request);
    this.live.add(id);
    this.onSubmit?.(request);
  }

  /** What it was asked to compile. */
  readonly grammars: string[] = [];

  async compileGrammar(source: string): Promise<NativeGrammar> {
    if (this.refuse) throw this.refuse;
    this.grammars.push(source);
    return {
      check: () => {
        throw new Error('the fake knows no grammars');
      },
    };
  }

  abort(id: number): void {
    this.aborted.push(id);
    if (this.live.has(id)) setImmediate(() => this.send(id, { finish: 'abort' }));
  }

  /** Delivers one record; nothing for a request that has ended. */
  send(id: number, step: Step): void {
    if (!this.live.has(id)) return;
    this.mailbox.deliver(this.record(id, step));
  }

  /** Several records of one request in one delivery, as when JS is late. */
  sendMerged(id: number, steps: Step[]): void {
    const parts = steps.map((step) => this.record(id, step));
    const floats = parts.flatMap((p) => [...(p.floats ?? [])]);
    this.mailbox.deliver({
      ints: Int32Array.from(parts.flatMap((p) => [...p.ints])),
      floats: floats.length > 0 ? Float32Array.from(floats) : null,
      failures: null,
    });
  }

  private record(id: number, step: Step) {
    const tokens = step.tokens ?? [];
    const topN = step.top?.[0]?.length ?? 0;
    const finish = step.error ? 4 : step.finish ? finishCodes[step.finish] : 0;
    const flags = (step.logprobs ? 1 : 0) | (step.isPrompt ? 2 : 0);
    const matched = step.finish === 'stop' ? tokens.at(-1)! : -1;
    const experts = step.experts ?? [];
    if (finish !== 0) this.live.delete(id);
    const header = [id, flags, finish, tokens.length, topN, matched, step.cachedTokens ?? 0];
    const topIds = (step.top ?? []).flat().map(([token]) => token);
    const topLogprobs = (step.top ?? []).flat().map(([, logprob]) => logprob);
    return {
      ints: Int32Array.from([...header, experts.length, ...tokens, ...topIds, ...experts]),
      floats: step.logprobs ? Float32Array.from([...step.logprobs, ...topLogprobs]) : null,
      failures: step.error ? [{ id, ...step.error }] : null,
    };
  }

  stats(): NativeStats {
    const zeros = {
      steps: 0,
      promptTokens: 0,
      cachedPromptTokens: 0,
      generatedTokens: 0,
      requestsFinished: 0,
      requestsAborted: this.aborted.length,
      preemptions: 0,
      weightBytes: 0,
      kvCacheBytes: 0,
      stepSeconds: 0,
    };
    const blocks = { blocksTotal: 8, blocksFree: 8, blocksCached: 0 };
    return { running: this.live.size, waiting: 0, ...blocks, ...zeros, failure: null };
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const id of [...this.live]) this.send(id, { finish: 'abort' });
  }

  /** Every request gets these steps, one per turn of the event loop. */
  answer(...steps: Step[]): void {
    this.onSubmit = async ({ id }) => {
      for (const step of steps) {
        await new Promise((resolve) => setImmediate(resolve));
        this.send(id, step);
      }
    };
  }
}

/** The bytes of a text, each a token of the byte tokenizer. */
export function bytesOf(text: string): number[] {
  return [...Buffer.from(text)];
}

export interface Fake {
  engine: Engine;
  native: FakeNative;
  parts: EngineParts;
}

let tokenizer: Promise<Tokenizer> | undefined;

export async function fakeEngine(
  facts: Partial<EngineParts['facts']> = {},
  options: { withText?: boolean; text?: Partial<TextModel> } = {},
): Promise<Fake> {
  tokenizer ??= byteTokenizer();
  const native = new FakeNative();
  const loaded = await tokenizer;
  const parts: EngineParts = {
    native,
    mailbox: native.mailbox,
    text:
      options.withText === false
        ? null
        : {
            tokenizer: loaded,
            templates: new ChatTemplates(loaded.chatTemplates, loaded),
            knowsDeveloper: false,
            reasoningParser: null,
            toolParser: null,
            toolFrame: null,
            jsonWhitespace: 'line',
            thinking: null,
            templateKwargs: {},
            ...options.text,
          },
    facts: {
      vocabSize: modelVocabSize,
      maxModelLen: 200,
      eosTokenIds: [imEnd, endOfText],
      samplingDefaults: {},
      captureRoutedExperts: false,
      ...facts,
    },
    servedName: 'fake',
    device: 'cpu',
  };
  return { engine: new Engine(parts), native, parts };
}

export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}
