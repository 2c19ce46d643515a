import type { MessageEvent } from '../types.js';

/** The events of one `push`, neighbours of one kind joined. */
export class MessageEvents {
  readonly #stream: boolean;
  #events: MessageEvent[] = [];
  #reasoning = '';

  /** @param streamReasoning false collects reasoning until {@link endReasoning}: one event per block */
  constructor(streamReasoning: boolean) {
    this.#stream = streamReasoning;
  }

  reasoning(text: string): void {
    if (this.#stream) this.#text('reasoning', text);
    else this.#reasoning += text;
  }

  /** The block is closed, or the text is at its end. */
  endReasoning(): void {
    this.#text('reasoning', this.#reasoning);
    this.#reasoning = '';
  }

  content(text: string): void {
    this.#text('content', text);
  }

  toolCall(index: number, id: string, name: string): void {
    this.#events.push({ type: 'toolCall', index, id, name });
  }

  toolArguments(index: number, text: string): void {
    if (text === '') return;
    const last = this.#events.at(-1);
    if (last?.type === 'toolArguments' && last.index === index) last.text += text;
    else this.#events.push({ type: 'toolArguments', index, text });
  }

  take(): MessageEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  #text(type: 'reasoning' | 'content', text: string): void {
    if (text === '') return;
    const last = this.#events.at(-1);
    if (last?.type === type) last.text += text;
    else this.#events.push({ type, text });
  }
}
