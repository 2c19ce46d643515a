/** How an answer looks in a terminal: reasoning is dim, calls of tools stand on lines of their own. */
const dim = '\u001b[2m';
const plain = '\u001b[22m';
const tags = ['<think>', '</think>'];

/** Takes text in any pieces and gives it back with terminal codes; holds back a tag that is not whole yet. */
export class ThinkingPainter {
  readonly #colours: boolean;
  #held = '';

  constructor(colours: boolean) {
    this.#colours = colours;
  }

  push(text: string): string {
    if (!this.#colours) return text;
    this.#held += text;
    const keep = tagStart(this.#held);
    const ready = this.#held.slice(0, this.#held.length - keep);
    this.#held = this.#held.slice(ready.length);
    return ready.replaceAll('<think>', `${dim}<think>`).replaceAll('</think>', `</think>${plain}`);
  }

  /** The rest, and the end of whatever was begun. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return this.#colours ? rest + plain : rest;
  }
}

/** What a chunk of an answer brings, be it of this engine or of another that speaks OpenAI. */
export interface AnswerDelta {
  content?: string | null;
  reasoning_content?: string | null;
  tool_calls?:
    | {
        index: number;
        id?: string | null;
        function?: { name?: string | null; arguments?: string | null } | null;
      }[]
    | null;
}

/**
 * A streamed answer as text. Reasoning that the engine has split off stands between <think> and </think>, as where
 * it stays in the content; a call reads `[tool call] name(arguments)`.
 */
export class AnswerPainter {
  readonly #content: ThinkingPainter;
  readonly #colours: boolean;
  readonly #hideReasoning: boolean;
  #part: 'none' | 'reasoning' | 'content' | number = 'none';
  /** After reasoning, until the content's first other character: models leave empty lines there. */
  #skipsNewlines = false;
  #last = '\n';

  constructor(colours: boolean, hideReasoning = false) {
    this.#content = new ThinkingPainter(colours);
    this.#colours = colours;
    this.#hideReasoning = hideReasoning;
  }

  push(delta: AnswerDelta): string {
    let text = '';
    if (delta.reasoning_content) {
      this.#skipsNewlines = true;
      if (!this.#hideReasoning)
        text += this.#enter('reasoning') + this.#seen(delta.reasoning_content);
    }
    let content = delta.content ?? '';
    if (this.#skipsNewlines) content = content.replace(/^\n+/, '');
    if (content !== '') {
      this.#skipsNewlines = false;
      text += this.#enter('content') + this.#content.push(this.#seen(content));
    }
    for (const { index, function: call } of delta.tool_calls ?? []) {
      text += this.#enter(index);
      text += this.#seen(
        `${call?.name ? `[tool call] ${call.name}(` : ''}${call?.arguments ?? ''}`,
      );
    }
    return text;
  }

  end(): string {
    return this.#enter('none');
  }

  /** What ends one part and begins another. */
  #enter(part: 'none' | 'reasoning' | 'content' | number): string {
    const before = this.#part;
    if (part === before) return '';
    this.#part = part;
    let text = '';
    if (before === 'content') text += this.#content.end();
    if (before === 'reasoning') text += `${this.#seen('</think>')}${this.#colours ? plain : ''}`;
    if (typeof before === 'number') text += this.#seen(')');
    if (part !== 'none' && before !== 'none' && this.#last !== '\n') text += this.#seen('\n');
    if (part === 'reasoning') text += `${this.#colours ? dim : ''}${this.#seen('<think>')}`;
    return text;
  }

  #seen(text: string): string {
    this.#last = text.at(-1) ?? this.#last;
    return text;
  }
}

export function dimmed(text: string, colours: boolean): string {
  return colours && text !== '' ? `${dim}${text}${plain}` : text;
}

/** How many characters at the end may be the beginning of a tag. */
function tagStart(text: string): number {
  for (let length = Math.min(text.length, 7); length > 0; length--) {
    if (tags.some((tag) => tag.length > length && tag.startsWith(text.slice(-length))))
      return length;
  }
  return 0;
}
