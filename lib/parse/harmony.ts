/**
 * gpt-oss writes messages, each with a header: `<|start|>ROLE to=RECIPIENT<|channel|>CHANNEL
 * <|constrain|>TYPE<|message|>TEXT<|end|>`, where nearly every part may be missing and the recipient may
 * stand in either half. `<|call|>` ends a message to a tool, `<|return|>` the last one. The text must have
 * its special tokens: see {@link harmonyMarkers}.
 */
import { findTag, holdBackFrom } from './holdback.js';
import { MessageEvents } from './reasoning/events.js';
import { harmonyMarkers } from './reasoning/formats.js';
import type { MessageEvent, MessageParser } from './types.js';

export interface HarmonyTools {
  /** Declared tools: a recipient of such a name is called without the prefix `functions.` too. */
  names: readonly string[];
  /** The id of a call that begins. */
  callId(name: string, index: number): string;
  /** False makes only the first call a call; later ones stay content as written. Default true. */
  parallel?: boolean;
}

export interface HarmonyOptions {
  /** Null leaves calls in the content, markers and all. */
  tools: HarmonyTools | null;
  /** False leaves everything but calls in the content, markers and all. Default true. */
  separateReasoning?: boolean;
  /** False gives each analysis message as one event, at its end. Default true. */
  streamReasoning?: boolean;
  /** The message that the prompt has begun: {@link harmonyPrefix}. Default none. */
  prefix?: string;
}

/** What becomes of a message. `verbatim` is content with the header and the closing marker. */
type Kind = 'reasoning' | 'content' | 'call' | 'verbatim';

/** What ends a message: its own end, or the beginning of another where the model forgot it. */
const ends: readonly string[] = ['<|end|>', '<|call|>', '<|return|>'];
const bodyMarkers: readonly string[] = [...ends, '<|start|>', '<|channel|>'];

/** Longest header that is waited for, in characters. */
const maxHeader = 256;
const recipientSoFar = String.raw` ?(?:t|to|to=[^\s<]*)`;
const channelSoFar = String.raw`<\|channel\|>[\w-]*(?: +[^\s<]*){0,2} *`;
const constraintSoFar = String.raw`<\|constrain\|>[^\s<]*(?: +[^\s<]*)? *`;
const headerSoFar = new RegExp(
  String.raw`^(?:<\|start\|>[\w.:-]*)?(?:${recipientSoFar})? *(?:${channelSoFar}(?:${constraintSoFar})?){0,2}$`,
);

/** True for every beginning of a header; once false, false for every longer text. */
const couldBeHeader = (text: string) => text.length <= maxHeader && headerSoFar.test(text);

/** The end of a prompt that is an unfinished message, such as `<|start|>assistant`; `''` where none is. */
export function harmonyPrefix(prompt: string): string {
  const at = prompt.lastIndexOf('<|start|>');
  if (at < 0) return '';
  const message = prompt.slice(at);
  return findTag(message, ends) ? '' : message;
}

/** analysis is reasoning; messages to functions are calls; every other channel is content. */
export class HarmonyParser implements MessageParser {
  readonly #tools: HarmonyTools | null;
  readonly #separate: boolean;
  readonly #events: MessageEvents;
  /** The kind of the message whose text comes; null in a header or between messages. */
  #kind: Kind | null = null;
  /** Header so far; '' between messages. */
  #header = '';
  /** As much of it was in the prompt. */
  #given = 0;
  /** Input that could be the beginning of a marker. */
  #held = '';
  /** Input before #held. */
  #taken = 0;
  #calls = 0;
  /** The current call has had a first character of its arguments. */
  #hasArguments = false;
  #reasoningEnd: number | null = 0;

  constructor(options: HarmonyOptions) {
    this.#tools = options.tools;
    this.#separate = options.separateReasoning ?? true;
    this.#events = new MessageEvents(options.streamReasoning ?? true);
    const prefix = options.prefix ?? '';
    const message = prefix.indexOf('<|message|>');
    const header = message < 0 ? prefix : prefix.slice(0, message);
    if (!couldBeHeader(header)) {
      this.#open('content');
    } else if (message < 0) {
      // The role in a prompt is whole: text after it is no part of it.
      this.#header = header.replace(/^<\|start\|>[\w.:-]*/, '');
      this.#given = this.#header.length;
    } else {
      // The rest of a call or of a verbatim message, whose beginning nobody saw, is content.
      const { kind } = this.#read(header);
      this.#open(kind === 'reasoning' ? kind : 'content');
    }
  }

  get reasoningEnd(): number | null {
    return this.#reasoningEnd;
  }

  push(text: string): MessageEvent[] {
    let rest: string | null = this.#held + text;
    this.#held = '';
    while (rest !== null) rest = this.#kind === null ? this.#inHeader(rest) : this.#inBody(rest);
    return this.#events.take();
  }

  flush(): MessageEvent[] {
    const held = this.#held;
    this.#held = '';
    if (this.#kind === null) {
      // A header that is cut short carries no text, but half a marker is text like any other.
      this.#dropHeader(this.#header);
      this.#events.content(held);
    } else {
      this.#body(held);
      this.#finishBody();
    }
    this.#taken += held.length;
    this.#kind = null;
    this.#header = '';
    return this.#events.take();
  }

  #inHeader(text: string): string | null {
    const found = findTag(text, harmonyMarkers);
    const words = text.slice(0, found ? found.at : holdBackFrom(text, harmonyMarkers));
    const header = this.#header + words;
    this.#taken += words.length;
    if (!couldBeHeader(header)) {
      this.#events.content(header.slice(this.#given));
      this.#open('content');
      return text.slice(words.length);
    }
    this.#header = header;
    if (!found) {
      this.#held = text.slice(words.length);
      return null;
    }
    const { at, tag } = found;
    this.#taken += tag.length;
    const rest = text.slice(at + tag.length);
    if (tag === '<|message|>') {
      this.#openMessage(header);
    } else if (couldBeHeader(header + tag)) {
      this.#header = header + tag;
    } else {
      this.#dropHeader(header);
      this.#header = '';
      if (couldBeHeader(tag)) this.#header = tag;
      else if (!ends.includes(tag) || !this.#separate) this.#events.content(tag);
    }
    return rest;
  }

  #inBody(text: string): string | null {
    const found = findTag(text, bodyMarkers);
    const at = found ? found.at : holdBackFrom(text, bodyMarkers);
    this.#body(text.slice(0, at));
    this.#taken += at;
    if (!found) {
      this.#held = text.slice(at);
      return null;
    }
    // The beginning of another message is left to #inHeader.
    const ended = ends.includes(found.tag);
    if (ended) {
      this.#taken += found.tag.length;
      if (this.#kind === 'verbatim' || !(this.#separate || this.#kind === 'call'))
        this.#events.content(found.tag);
    }
    const reasoned = this.#kind === 'reasoning';
    this.#finishBody();
    if (reasoned) this.#reasoningEnd = this.#taken;
    this.#kind = null;
    this.#header = '';
    return text.slice(at + (ended ? found.tag.length : 0));
  }

  #openMessage(header: string): void {
    const { kind, name } = this.#read(header);
    if (kind === 'verbatim') this.#events.content(`${header.slice(this.#given)}<|message|>`);
    this.#open(kind);
    if (kind !== 'call') return;
    const index = this.#calls++;
    this.#hasArguments = false;
    this.#events.toolCall(index, this.#tools!.callId(name, index), name);
  }

  #open(kind: Kind): void {
    this.#kind = kind;
    this.#header = '';
    this.#given = 0;
    if (kind === 'reasoning') this.#reasoningEnd = null;
  }

  /** What the message under this header is; `name` is the called function's. */
  #read(header: string): { kind: Kind; name: string } {
    const recipient = /to=([^\s<]+)/.exec(header)?.[1] ?? null;
    const name = recipient === null ? null : this.#functionName(recipient, header);
    if (name !== null) {
      const tools = this.#tools;
      const isCall = tools !== null && ((tools.parallel ?? true) || this.#calls === 0);
      return { kind: isCall ? 'call' : 'verbatim', name };
    }
    const toTool = recipient !== null && !people.includes(recipient);
    if (toTool || !this.#separate) return { kind: 'verbatim', name: '' };
    const channel = [...header.matchAll(/<\|channel\|>([\w-]+)/g)].at(-1)?.[1];
    return { kind: channel === 'analysis' ? 'reasoning' : 'content', name: '' };
  }

  /** Null for a recipient that is no function, such as `python`, which gets code and no JSON. */
  #functionName(recipient: string, header: string): string | null {
    const name = /^functions\.(.+)$/s.exec(recipient)?.[1];
    if (name !== undefined) return name;
    if (people.includes(recipient) || recipient === 'functions.') return null;
    const takesJson = /(?:<\|constrain\|>| )json *$/.test(header);
    return takesJson || this.#tools?.names.includes(recipient) ? recipient : null;
  }

  #body(text: string): void {
    if (this.#kind === 'reasoning') this.#events.reasoning(text);
    else if (this.#kind !== 'call') this.#events.content(text);
    else {
      const piece = this.#hasArguments ? text : text.trimStart();
      if (piece === '') return;
      this.#hasArguments = true;
      this.#events.toolArguments(this.#calls - 1, piece);
    }
  }

  #finishBody(): void {
    if (this.#kind === 'reasoning') this.#events.endReasoning();
    // A function without parameters may be called with no text at all.
    else if (this.#kind === 'call' && !this.#hasArguments)
      this.#events.toolArguments(this.#calls - 1, '{}');
  }

  /** A header without a message is format, unless nothing of it is a marker. */
  #dropHeader(header: string): void {
    const isFormat = header.startsWith('<|');
    if (!isFormat || !this.#separate) this.#events.content(header.slice(this.#given));
    this.#given = 0;
  }
}

/** Recipients that are no tools. */
const people: readonly string[] = ['assistant', 'user', 'system', 'developer', 'all'];
