/** How an answer looks in a terminal: what stands between <think> and </think> is dim. */
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
