/** A conversation with an engine: turns, streamed to a terminal or a pipe. */
import {
  type ChatCompletionRequest,
  type ChatMessage,
  type Engine,
  EngineError,
  type ToolCall,
} from '../index.js';
import { CommandError, type Output, write } from './context.js';
import { type AnswerDelta, AnswerPainter, dimmed } from './paint.js';

export interface AnswerOptions {
  system?: string;
  /** false: the chat template is asked to leave thinking out. */
  thinking: boolean;
  hideReasoning?: boolean;
  colours: boolean;
  /** Further fields of every request. */
  fields: Partial<ChatCompletionRequest>;
}

export class Conversation {
  readonly #engine: Engine;
  readonly #options: AnswerOptions;
  readonly #out: Output;
  #turns: ChatMessage[] = [];
  /** Calls of the last answer that have no result yet. */
  #calls: ToolCall[] = [];

  constructor(engine: Engine, options: AnswerOptions, out: Output) {
    this.#engine = engine;
    this.#options = options;
    this.#out = out;
  }

  clear(): void {
    this.#turns = [];
    this.#calls = [];
  }

  /** Asks, writes the answer as it comes, and remembers both. An aborted answer is remembered as far as it came. */
  async ask(prompt: string, signal?: AbortSignal): Promise<void> {
    this.#calls = [];
    await this.#turn({ role: 'user', content: prompt }, signal);
  }

  /** Answers the oldest call that waits; once none does, the model goes on. */
  async answerCall(result: string, signal?: AbortSignal): Promise<void> {
    const call = this.#calls[0];
    if (call === undefined)
      throw new CommandError('/result answers a tool call, and none waits for an answer.');
    const message: ChatMessage = { role: 'tool', tool_call_id: call.id, content: result };
    if (this.#calls.length === 1) return this.#turn(message, signal);
    this.#calls.shift();
    this.#turns.push(message);
  }

  async #turn(message: ChatMessage, signal?: AbortSignal): Promise<void> {
    this.#turns.push(message);
    const { colours, hideReasoning } = this.#options;
    const painter = new AnswerPainter(colours, hideReasoning);
    const answer = new Answer();
    let ended = '';
    try {
      for await (const chunk of await this.#accepted(signal)) {
        const [choice] = chunk.choices;
        const delta: AnswerDelta = choice?.delta ?? {};
        answer.add(delta);
        await write(this.#out, painter.push(delta));
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
    this.#turns.push(answer.message());
    // Half a call cannot be answered.
    this.#calls = ended === '' ? [...answer.calls] : [];
  }

  /** The stream of an answer. Where the conversation is too long, its oldest turns are let go. */
  async #accepted(signal?: AbortSignal) {
    for (;;) {
      try {
        return await this.#engine.chatCompletions({ ...this.#body(), stream: true }, { signal });
      } catch (error) {
        const tooLong = EngineError.is(error) && error.code === 'context_length_exceeded';
        // Up to the next question: what it was asked and all that came of it.
        const next = this.#turns.findIndex(({ role }, index) => index > 0 && role === 'user');
        if (!tooLong || next < 0) throw error;
        this.#turns.splice(0, next);
      }
    }
  }

  #body(): ChatCompletionRequest {
    const { system, thinking, fields } = this.#options;
    const messages: ChatMessage[] = system ? [{ role: 'system', content: system }] : [];
    return {
      ...fields,
      messages: [...messages, ...this.#turns],
      ...(!thinking && {
        chat_template_kwargs: { ...fields.chat_template_kwargs, enable_thinking: false },
      }),
    };
  }
}

/** The message that the chunks of an answer make. */
class Answer {
  readonly calls: ToolCall[] = [];
  #content = '';
  #reasoning = '';

  add(delta: AnswerDelta): void {
    this.#content += delta.content ?? '';
    this.#reasoning += delta.reasoning_content ?? '';
    for (const { index, id, function: part } of delta.tool_calls ?? []) {
      this.calls[index] ??= {
        id: id ?? `call_${index}`,
        type: 'function',
        function: { name: '', arguments: '' },
      };
      const call = this.calls[index].function;
      call.name += part?.name ?? '';
      call.arguments += part?.arguments ?? '';
    }
  }

  message(): ChatMessage {
    return {
      role: 'assistant',
      content: this.#content,
      ...(this.#reasoning !== '' && { reasoning_content: this.#reasoning }),
      ...(this.calls.length > 0 && { tool_calls: this.calls }),
    };
  }
}
