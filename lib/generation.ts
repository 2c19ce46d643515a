/**
 * One choice in flight: token ids come in from the mailbox, text comes out. What nobody has taken yet grows
 * by the text itself, however slowly it is read, so that a reader who stops slows nothing down.
 */
import { EngineError } from './errors.js';
import type { FinishEvent, Receiver, TokenEvent } from './mailbox.js';
import type { Plan } from './request/plan.js';
import { IncrementalDetokenizer } from './text/detokenize.js';
import { StopStrings } from './text/stop-strings.js';
import type { Tokenizer } from './text/tokenizer.js';
import type { FinishReason } from './types.js';

/** A token with its logprob and the likeliest ones at its place. */
export interface Score {
  id: number;
  logprob: number;
  top: { id: number; logprob: number }[];
  /** UTF-16 units of generated text before the token. */
  offset: number;
}

/**
 * What has come since the last `take`. Reasoning and tool-call parsers (lib/parse) belong between the stop
 * strings and this: they would split `content` into more fields.
 */
export interface Output {
  content: string;
  tokenIds: number[];
  /** Empty when no logprobs were asked for. */
  scores: Score[];
}

export interface Finish {
  reason: FinishReason;
  matchedStop: number | string | null;
  routedExperts: Int32Array | null;
}

export interface GenerationEvents {
  /** There is something to take, or the end. */
  changed(generation: Generation): void;
  /** A stop string was found: native code need not go on. */
  stopped(generation: Generation): void;
}

export class Generation implements Receiver {
  readonly plan: Plan;
  completionTokens = 0;
  /** Prompt tokens that came from the prefix cache. */
  cachedTokens = 0;
  /** Null until the end. */
  finish: Finish | null = null;
  error: EngineError | null = null;
  /** Positions 1 .. of the prompt; empty when not asked for. */
  readonly promptScores: Score[] = [];

  readonly #events: GenerationEvents;
  readonly #detokenizer: IncrementalDetokenizer | null;
  readonly #stops: StopStrings;
  readonly #stopTokens: ReadonlySet<number>;
  /** The last token, when it is a stop token: whether its text is shown is known at the end. */
  #heldToken: number | null = null;
  /** UTF-16 units of text so far, what the stop strings hold back included. */
  #decoded = 0;
  #output: Output = { content: '', tokenIds: [], scores: [] };

  constructor(plan: Plan, tokenizer: Tokenizer | null, events: GenerationEvents) {
    const { text, params } = plan;
    this.plan = plan;
    this.#events = events;
    this.#detokenizer =
      tokenizer &&
      new IncrementalDetokenizer(tokenizer, {
        skipSpecialTokens: text.skipSpecialTokens,
        continues: text.continues,
      });
    this.#stops = new StopStrings(text.stops, { include: text.keepStop });
    this.#stopTokens = new Set(params.ignoreEos ? [] : params.stopTokenIds);
  }

  get done(): boolean {
    return this.finish !== null || this.error !== null;
  }

  /** The output since the last call. */
  take(): Output {
    const output = this.#output;
    this.#output = { content: '', tokenIds: [], scores: [] };
    return output;
  }

  onPromptLogprobs(event: TokenEvent): void {
    if (this.done) return;
    this.cachedTokens = event.cachedTokens;
    for (let i = 0; i < event.tokens.length; i++) this.promptScores.push(scoreAt(event, i, 0));
  }

  onTokens(event: TokenEvent): void {
    if (this.done) return;
    this.cachedTokens = event.cachedTokens;
    for (let i = 0; i < event.tokens.length && !this.done; i++) this.#onToken(event, i);
    if (this.done) this.#events.stopped(this);
    this.#events.changed(this);
  }

  onFinish(event: FinishEvent): void {
    if (this.done) return;
    if (event.finish === 'error' || event.finish === 'abort') {
      this.fail(event.finish === 'error' ? event.error : engineClosed());
      return;
    }
    const matched = event.finish === 'stop' ? event.matchedToken : null;
    if (this.#heldToken !== matched || this.plan.text.keepStop) this.#releaseHeldToken();
    if (!this.done) this.#endText(matched, '', event.finish, event.routedExperts);
    this.#events.changed(this);
  }

  /** Ends it with an error; what native code says later is ignored. */
  fail(error: EngineError): void {
    if (this.done) return;
    this.error = error;
    this.#events.changed(this);
  }

  #onToken(event: TokenEvent, i: number): void {
    this.#releaseHeldToken();
    if (this.done) return;
    const id = event.tokens[i]!;
    this.completionTokens++;
    this.#output.tokenIds.push(id);
    if (event.logprobs) this.#output.scores.push(scoreAt(event, i, this.#decoded));
    const { stopTokens, keepStop } = this.plan.text;
    const stop = stopTokens.get(id);
    if (stop !== undefined) this.#endText(stop, keepStop ? stop : '');
    else if (this.#stopTokens.has(id)) this.#heldToken = id;
    else this.#appendToken(id);
  }

  #releaseHeldToken(): void {
    if (this.#heldToken === null) return;
    const id = this.#heldToken;
    this.#heldToken = null;
    this.#appendToken(id);
  }

  #appendToken(id: number): void {
    this.#append(this.#detokenizer?.push(id) ?? '');
  }

  #append(text: string): void {
    if (text === '') return;
    this.#decoded += text.length;
    const { text: shown, matched } = this.#stops.push(text);
    this.#output.content += shown;
    if (matched !== null) this.#end('stop', matched, null);
  }

  /** Lets go of what was held back. A stop string in it ends the text before `matched` does. */
  #endText(
    matched: number | string | null,
    suffix: string,
    reason: FinishReason = 'stop',
    routedExperts: Int32Array | null = null,
  ): void {
    this.#append(this.#detokenizer?.flush() ?? '');
    if (this.done) return;
    const rest = this.#stops.flush();
    this.#output.content += rest.text;
    if (rest.matched !== null) this.#end('stop', rest.matched, routedExperts);
    else {
      this.#output.content += suffix;
      this.#end(reason, matched, routedExperts);
    }
  }

  #end(
    reason: FinishReason,
    matchedStop: number | string | null,
    routedExperts: Int32Array | null,
  ): void {
    this.finish = { reason, matchedStop, routedExperts };
  }
}

export function engineClosed(): EngineError {
  return new EngineError(
    'The engine was closed: it takes no requests, and those in flight ended unfinished. Load another.',
    { status: 503, type: 'service_unavailable', code: 'engine_closed' },
  );
}

function scoreAt(event: TokenEvent, i: number, offset: number): Score {
  const top: Score['top'] = [];
  for (let j = i * event.topN; j < (i + 1) * event.topN; j++)
    top.push({ id: event.topIds![j]!, logprob: event.topLogprobs![j]! });
  return { id: event.tokens[i]!, logprob: event.logprobs![i]!, top, offset };
}
