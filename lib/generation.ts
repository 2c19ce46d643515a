/**
 * One choice in flight: token ids come in from the mailbox, text comes out, taken apart into reasoning, content
 * and tool calls. What nobody has taken yet grows by the text itself, however slowly it is read, so that a reader
 * who stops slows nothing down.
 */
import { EngineError } from './errors.js';
import type { FinishEvent, Receiver, TokenEvent } from './mailbox.js';
import { addContent, addEvents } from './message-events.js';
import type { MessageEvent, MessageParser } from './parse/types.js';
import type { Plan } from './request/plan.js';
import { IncrementalDetokenizer } from './text/detokenize.js';
import { type StopFound, Stops } from './text/stops.js';
import type { Tokenizer } from './text/tokenizer.js';
import { type NativeRequest, ThinkingBudget } from './thinking-budget.js';

/** A token with its logprob and the likeliest ones at its place. */
export interface Score {
  id: number;
  logprob: number;
  top: { id: number; logprob: number }[];
  /** UTF-16 units of generated text before the token. */
  offset: number;
}

/** What has come since the last `take`. */
export interface Output {
  /** In their order, neighbours of one kind joined. Without parsers only content. */
  events: MessageEvent[];
  tokenIds: number[];
  /** Empty when no logprobs were asked for. */
  scores: Score[];
}

export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'abort';

export interface Finish {
  reason: FinishReason;
  /** Null also where the answer ends in tool calls. */
  matchedStop: number | string | null;
  /** What a stop_regex matched. */
  matchedText: string | null;
  routedExperts: Int32Array | null;
}

export interface GenerationEvents {
  /** There is something to take, or the end. */
  changed(generation: Generation): void;
  /** A stop string was found: native code need not go on. */
  stopped(generation: Generation): void;
  /** `generation.request` is another one: it takes the place of the one that runs. */
  restarted(generation: Generation): void;
}

export class Generation implements Receiver {
  readonly plan: Plan;
  /** What native code is asked for now. */
  request: NativeRequest;
  completionTokens = 0;
  /** Prompt tokens that came from the prefix cache. */
  cachedTokens = 0;
  /** Of all generated tokens that have one. */
  logprobSum = 0;
  /** Null until the end. */
  finish: Finish | null = null;
  error: EngineError | null = null;
  /** Positions 1 .. of the prompt; empty when not asked for. */
  readonly promptScores: Score[] = [];

  readonly #events: GenerationEvents;
  readonly #detokenizer: IncrementalDetokenizer | null;
  readonly #stops: Stops;
  readonly #parser: MessageParser | null;
  readonly #budget: ThinkingBudget | null;
  readonly #stopTokens: ReadonlySet<number>;
  /** The last token, when it is a stop token: whether its text is shown is known at the end. */
  #heldToken: number | null = null;
  /** UTF-16 units of text so far, what the stop strings hold back included. */
  #decoded = 0;
  /** Where the text of each token began; kept where a parser says how much of it is reasoning. */
  readonly #tokenStarts: number[] = [];
  #calls = false;
  #output: Output = { events: [], tokenIds: [], scores: [] };

  constructor(plan: Plan, tokenizer: Tokenizer | null, events: GenerationEvents) {
    const { text, params, message, promptIds } = plan;
    this.plan = plan;
    this.request = { promptIds, params };
    this.#events = events;
    this.#detokenizer =
      tokenizer &&
      new IncrementalDetokenizer(tokenizer, {
        skipSpecialTokens: text.skipSpecialTokens,
        continues: text.continues,
        keep: message?.markers,
      });
    this.#stops = new Stops({ stops: text.stops, regexes: text.regexes, include: text.keepStop });
    this.#parser = message?.createParser() ?? null;
    this.#budget = message?.thinkingLimit ? new ThinkingBudget(message.thinkingLimit) : null;
    this.#stopTokens = new Set(params.ignoreEos ? [] : params.stopTokenIds);
    // A budget of nothing, and a prompt that has opened the block.
    if (this.#thinkingIsSpent()) this.#closeThinking();
  }

  get done(): boolean {
    return this.finish !== null || this.error !== null;
  }

  /** Up to and including the one that ends the reasoning; all, as long as none does. */
  get reasoningTokens(): number {
    if (this.#parser === null) return 0;
    const end = this.#parser.reasoningEnd;
    return end === null ? this.completionTokens : countBelow(this.#tokenStarts, end);
  }

  /** The output since the last call. */
  take(): Output {
    const output = this.#output;
    this.#output = { events: [], tokenIds: [], scores: [] };
    return output;
  }

  onPromptLogprobs(event: TokenEvent): void {
    if (this.done) return;
    this.cachedTokens = event.cachedTokens;
    for (let i = 0; i < event.tokens.length; i++) this.promptScores.push(scoreAt(event, i, 0));
  }

  onTokens(event: TokenEvent): void {
    if (this.done) return;
    const { request } = this;
    // A request that goes on from another one finds its own tokens in the cache.
    if (request.promptIds === this.plan.promptIds) this.cachedTokens = event.cachedTokens;
    for (let i = 0; i < event.tokens.length; i++) {
      this.#onToken(event, i);
      if (this.done || this.request !== request) break;
    }
    if (this.done) this.#events.stopped(this);
    else if (this.request !== request) this.#events.restarted(this);
    this.#events.changed(this);
  }

  onFinish(event: FinishEvent): void {
    if (this.done) return;
    if (event.finish === 'error' || event.finish === 'abort') {
      this.fail(event.finish === 'error' ? event.error : engineClosed());
      return;
    }
    const matched = event.finish === 'stop' ? event.matchedToken : null;
    const shown = this.plan.text.keepStop || this.plan.message?.endMarkers.has(matched ?? -1);
    if (this.#heldToken !== matched || shown) this.#releaseHeldToken();
    if (!this.done) this.#endText(matched, '', event.finish, event.routedExperts);
    this.#events.changed(this);
  }

  /** Ends it where it is, with what has come. */
  abort(): void {
    if (this.done) return;
    this.#releaseHeldToken();
    if (!this.done) this.#endText(null, '', 'abort');
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
    if (event.logprobs) this.logprobSum += event.logprobs[i]!;
    this.#count(id, event.logprobs && scoreAt(event, i, this.#decoded));
    const { stopTokens, keepStop } = this.plan.text;
    const stop = stopTokens.get(id);
    if (stop !== undefined) this.#endText(stop, keepStop ? stop : '');
    else if (this.#stopTokens.has(id)) this.#heldToken = id;
    else this.#appendToken(id);
    if (this.#thinkingIsSpent()) this.#closeThinking();
  }

  #count(id: number, score: Score | null): void {
    this.completionTokens++;
    this.#budget?.add(id);
    this.#output.tokenIds.push(id);
    if (score) this.#output.scores.push(score);
    if (this.#parser) this.#tokenStarts.push(this.#decoded);
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
    const { text: shown, found } = this.#stops.push(text);
    this.#show(shown);
    if (found !== null) this.#end('stop', found, null);
  }

  #show(text: string): void {
    if (text === '') return;
    this.#budget?.see(text);
    if (this.#parser) this.#add(this.#parser.push(text));
    else addContent(this.#output.events, text);
  }

  #add(events: MessageEvent[]): void {
    for (const { type } of events) this.#calls ||= type === 'toolCall';
    addEvents(this.#output.events, events);
  }

  #thinkingIsSpent(): boolean {
    if (this.#budget === null || this.done || this.#heldToken !== null) return false;
    // Half a character is waited for.
    if (this.#detokenizer?.holdsBack) return false;
    const thinking = this.#parser !== null && this.#parser.reasoningEnd === null;
    return this.#budget.isSpent(thinking, this.plan.params.maxTokens);
  }

  /** Its tokens were not drawn: nothing else could have come, so that each has the probability 1. */
  #closeThinking(): void {
    const budget = this.#budget!;
    this.request = budget.close({ ...this.plan });
    const { numLogprobs } = this.plan.params;
    for (const id of budget.closeIds) {
      if (this.done) break;
      const top = numLogprobs > 0 ? [{ id, logprob: 0 }] : [];
      this.#count(id, numLogprobs < 0 ? null : { id, logprob: 0, top, offset: this.#decoded });
      this.#appendToken(id);
    }
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
    const { text, found } = this.#stops.flush();
    this.#show(text);
    if (found === null) this.#show(suffix);
    const last = { matched, matchedText: null };
    this.#end(found === null ? reason : 'stop', found ?? last, routedExperts);
  }

  #end(
    reason: FinishReason,
    { matched, matchedText }: StopFound | { matched: number | string | null; matchedText: null },
    routedExperts: Int32Array | null,
  ): void {
    if (this.#parser) this.#add(this.#parser.flush());
    const calls = this.#calls && reason === 'stop';
    this.finish = {
      reason: calls ? 'tool_calls' : reason,
      matchedStop: calls ? null : matched,
      matchedText,
      routedExperts,
    };
  }
}

export function engineClosed(): EngineError {
  return new EngineError(
    'The engine was closed: it takes no requests, and those in flight ended unfinished. Load another.',
    { status: 503, type: 'service_unavailable', code: 'engine_closed' },
  );
}

/** How many of a rising list are less than `limit`. */
function countBelow(list: readonly number[], limit: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle]! < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function scoreAt(event: TokenEvent, i: number, offset: number): Score {
  const top: Score['top'] = [];
  for (let j = i * event.topN; j < (i + 1) * event.topN; j++)
    top.push({ id: event.topIds![j]!, logprob: event.topLogprobs![j]! });
  return { id: event.tokens[i]!, logprob: event.logprobs![i]!, top, offset };
}
