/**
 * Tags in a text that comes in pieces. Both functions want tags whose first character occurs nowhere else
 * in them (`<think>`, `◁/think▷`, `<|end|>`): then no two tags overlap, and what was found first stays so
 * whatever follows.
 */

export interface FoundTag {
  /** Where it begins. */
  at: number;
  tag: string;
}

/** The tag that begins first in `text`, at `from` or later; null where there is none. */
export function findTag(text: string, tags: readonly string[], from = 0): FoundTag | null {
  let found: FoundTag | null = null;
  for (const tag of tags) {
    const at = text.indexOf(tag, from);
    if (at >= 0 && (found === null || at < found.at)) found = { at, tag };
  }
  return found;
}

/**
 * Where the longest end of `text` begins that could become one of `tags`: what lies before is decided, the
 * rest has to be held back. `text.length` where nothing has. Nothing before `from` is looked at.
 */
export function holdBackFrom(text: string, tags: readonly string[], from = 0): number {
  let at = text.length;
  for (const tag of tags) {
    for (let start = Math.max(from, text.length - tag.length + 1); start < at; start++) {
      if (tag.startsWith(text.slice(start))) {
        at = start;
        break;
      }
    }
  }
  return at;
}
