import { findTag, holdBackFrom } from '../holdback.js';
import type { MessageEvent, MessageParser } from '../types.js';
import { MessageEvents } from './events.js';
import type { ReasoningTags } from './formats.js';

export interface TagReasoningOptions {
  /** The prompt has opened the block: see `startsInReasoning`. */
  startsInReasoning: boolean;
  /** False holds the reasoning back until the block closes, and gives it as one event. Default true. */
  streamReasoning?: boolean;
}

/**
 * before     no block yet: content. The first start tag, wherever it comes, opens the only block.
 * beginning  in the block, before its first word: start tags that the model repeats are dropped.
 * inside     reasoning.
 * undecided  after a tool tag: reasoning that speaks of it if the end tag follows, a tool call if not.
 * after      the rest is content, whatever tags are in it.
 */
type State = 'before' | 'beginning' | 'inside' | 'undecided' | 'after';

/** Splits a text with tags around its reasoning. Tags are dropped; all other text is kept as it is. */
export class TagReasoningParser implements MessageParser {
  readonly #tags: ReasoningTags;
  /** What ends the block at once. */
  readonly #ends: readonly string[];
  /** What has to be seen inside it. */
  readonly #watched: readonly string[];
  readonly #events: MessageEvents;
  #state: State;
  /** Input that could be the beginning of a tag. */
  #held = '';
  /** Input before #held. */
  #taken = 0;
  /** Since the tool tag; in state undecided. Never searched: it may be long. */
  #call = '';
  /** Where the tool tag began, in characters of input. */
  #callAt = 0;
  #reasoningEnd: number | null;

  constructor(tags: ReasoningTags, options: TagReasoningOptions) {
    this.#tags = tags;
    this.#ends = [tags.end, ...tags.callTokens];
    this.#watched = [...this.#ends, ...tags.toolTags];
    this.#events = new MessageEvents(options.streamReasoning ?? true);
    this.#state = options.startsInReasoning ? 'beginning' : 'before';
    this.#reasoningEnd = options.startsInReasoning ? null : 0;
  }

  get reasoningEnd(): number | null {
    return this.#reasoningEnd;
  }

  push(text: string): MessageEvent[] {
    let rest: string | null = this.#held + text;
    this.#held = '';
    while (rest !== null) rest = this.#step(rest);
    return this.#events.take();
  }

  flush(): MessageEvent[] {
    const held = this.#held;
    this.#held = '';
    this.#taken += held.length;
    if (this.#state === 'undecided') {
      this.#close(this.#callAt);
      this.#events.content(this.#call + held);
      this.#call = '';
    } else if (this.#state === 'beginning' || this.#state === 'inside') {
      this.#events.reasoning(held);
      this.#events.endReasoning();
    } else {
      this.#events.content(held);
    }
    return this.#events.take();
  }

  /** Takes what can be decided of `text`; returns what is left for the next state, null for nothing. */
  #step(text: string): string | null {
    switch (this.#state) {
      case 'before':
        return this.#before(text);
      case 'beginning':
        return this.#beginning(text);
      case 'inside':
        return this.#inside(text);
      case 'undecided':
        return this.#undecided(text);
      case 'after':
        this.#taken += text.length;
        this.#events.content(text);
        return null;
    }
  }

  #before(text: string): string | null {
    const { start } = this.#tags;
    const at = text.indexOf(start);
    if (at < 0) return this.#hold(text, [start], (decided) => this.#events.content(decided));
    this.#events.content(text.slice(0, at));
    this.#taken += at + start.length;
    this.#state = 'beginning';
    this.#reasoningEnd = null;
    return text.slice(at + start.length);
  }

  #beginning(text: string): string | null {
    const { start } = this.#tags;
    const blank = text.search(/\S/);
    const words = blank < 0 ? text.length : blank;
    this.#events.reasoning(text.slice(0, words));
    this.#taken += words;
    const rest = text.slice(words);
    if (rest.startsWith(start)) {
      this.#taken += start.length;
      return rest.slice(start.length);
    }
    if (start.startsWith(rest)) {
      this.#held = rest;
      return null;
    }
    this.#state = 'inside';
    return rest;
  }

  #inside(text: string): string | null {
    const found = findTag(text, this.#watched);
    if (!found)
      return this.#hold(text, this.#watched, (decided) => this.#events.reasoning(decided));
    const { at, tag } = found;
    this.#events.reasoning(text.slice(0, at));
    if (!this.#tags.toolTags.includes(tag)) return this.#end(text.slice(at), tag, at);
    this.#callAt = this.#taken + at;
    this.#taken += at;
    this.#state = 'undecided';
    return text.slice(at);
  }

  #undecided(text: string): string | null {
    const found = findTag(text, this.#ends);
    const keep = (decided: string) => {
      this.#call += decided;
    };
    if (!found) return this.#hold(text, this.#ends, keep);
    this.#events.reasoning(this.#call + text.slice(0, found.at));
    this.#call = '';
    return this.#end(text.slice(found.at), found.tag, found.at);
  }

  /** `text` begins with the tag that ends the block, `skipped` characters after what was taken. */
  #end(text: string, tag: string, skipped: number): string {
    const rest = tag === this.#tags.end ? text.slice(tag.length) : text;
    this.#taken += skipped + text.length - rest.length;
    this.#close(this.#taken);
    return rest;
  }

  #close(at: number): void {
    this.#events.endReasoning();
    this.#reasoningEnd = at;
    this.#state = 'after';
  }

  #hold(text: string, tags: readonly string[], take: (decided: string) => void): null {
    const at = holdBackFrom(text, tags);
    take(text.slice(0, at));
    this.#taken += at;
    this.#held = text.slice(at);
    return null;
  }
}
