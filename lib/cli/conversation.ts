/** A conversation with an engine: turns, streamed to a terminal or a pipe. */
import {
  type ChatCompletionRequest,
  type ChatMessage,
  type Engine,
  EngineError,
} from '../index.js';
import { dimmed, ThinkingPainter } from './paint.js';

export interface AnswerOptions {
  system?: string;
  thinking: boolean;
  maxTokens?: number;
  temperature?: number;
  seed?: number;
}

export class Conversation {
  readonly #engine: Engine;
  readonly #options: AnswerOptions;
  readonly #out: NodeJS.WriteStream;
  #turns: ChatMessage[] = [];

  constructor(engine: Engine, options: AnswerOptions, out: NodeJS.WriteStream) {
    this.#engine = engine;
    this.#options = options;
    this.#out = out;
  }

  clear(): void {
    this.#turns = [];
  }

  /** Asks, writes the answer as it comes, and remembers both. An aborted answer is remembered as far as it came. */
  async ask(prompt: string, signal?: AbortSignal): Promise<void> {
    this.#turns.push({ role: 'user', content: prompt });
    const colours = this.#out.isTTY;
    const painter = new ThinkingPainter(colours);
    let answer = '';
    let ended = '';
    try {
      for await (const chunk of await this.#accepted(signal)) {
        const [choice] = chunk.choices;
        answer += choice?.delta.content ?? '';
        await write(this.#out, painter.push(choice?.delta.content ?? ''));
        if (choice?.finish_reason === 'length') ended = ' (cut off: no tokens left)';
      }
    } catch (error) {
      if (!signal?.aborted) {
        this.#turns.pop();
        throw error;
      }
      ended = ' (aborted)';
    } finally {
      await write(this.#out, `${painter.end()}${dimmed(ended, colours)}\n`);
    }
    this.#turns.push({ role: 'assistant', content: answer });
  }

  /** The stream of an answer. Where the conversation is too long, its oldest turns are let go. */
  async #accepted(signal?: AbortSignal) {
    for (;;) {
      try {
        return await this.#engine.chatCompletions({ ...this.#body(), stream: true }, { signal });
      } catch (error) {
        const tooLong = EngineError.is(error) && error.code === 'context_length_exceeded';
        if (!tooLong || this.#turns.length < 3) throw error;
        this.#turns.splice(0, 2);
      }
    }
  }

  #body(): ChatCompletionRequest {
    const { system, thinking, maxTokens, temperature, seed } = this.#options;
    const messages: ChatMessage[] = system ? [{ role: 'system', content: system }] : [];
    return {
      messages: [...messages, ...this.#turns],
      max_tokens: maxTokens,
      temperature,
      seed,
      ...(!thinking && { chat_template_kwargs: { enable_thinking: false } }),
    };
  }
}

/** Resolves once the stream has taken the text, so that nothing piles up behind a slow reader. */
export function write(out: NodeJS.WriteStream, text: string): Promise<void> {
  if (text === '') return Promise.resolve();
  return new Promise((resolve) => {
    out.write(text, () => resolve());
  });
}
