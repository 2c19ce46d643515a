/**
 * A reference for the grammar language of csrc/grammar/grammar.h: Earley's algorithm over code points, for
 * tests. Texts are strings, or lists with special tokens as numbers in between. Raw bytes are not known.
 */
type Ranges = [number, number][];
type GrammarSymbol = { rule: number } | { set: Ranges } | { token: number };
type Production = readonly GrammarSymbol[];

export type Piece = string | number;

export class Recogniser {
  /** Rule -> its alternatives. */
  readonly #rules: Production[][] = [];
  readonly #names = new Map<string, number>();
  readonly #nullable: boolean[];
  readonly #heights: number[];
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
    this.#parse();
    this.#nullable = this.#rules.map(() => false);
    const isNullable = (p: Production) => p.every((s) => 'rule' in s && this.#nullable[s.rule]);
    this.#untilStable((i) => {
      if (this.#nullable[i] || !this.#rules[i]!.some(isNullable)) return false;
      this.#nullable[i] = true;
      return true;
    });
    this.#heights = this.#rules.map(() => Infinity);
    this.#untilStable((i) => {
      const height = 1 + Math.min(...this.#rules[i]!.map((p) => this.#height(p)), Infinity);
      if (height >= this.#heights[i]!) return false;
      this.#heights[i] = height;
      return true;
    });
  }

  get satisfiable(): boolean {
    return this.#heights[this.#root] !== Infinity;
  }

  accepts(text: string | readonly Piece[]): boolean {
    return this.run(text).complete;
  }

  /** `read`: how many symbols are the beginning of something. */
  run(text: string | readonly Piece[]): { read: number; complete: boolean } {
    const pieces: readonly Piece[] = typeof text === 'string' ? [text] : text;
    const symbols = pieces.flatMap((piece): ({ token: number } | { point: number })[] =>
      typeof piece === 'number'
        ? [{ token: piece }]
        : [...piece].map((char) => ({ point: char.codePointAt(0)! })),
    );
    type Item = { rule: number; alternative: number; dot: number; origin: number };
    const sets: { items: Item[]; seen: Set<string>; waiting: Map<number, Item[]> }[] = [];
    const set = (i: number) => {
      sets[i] ??= { items: [], seen: new Set(), waiting: new Map() };
      return sets[i];
    };
    const add = (i: number, item: Item) => {
      const key = `${item.rule},${item.alternative},${item.dot},${item.origin}`;
      const { seen, items } = set(i);
      if (!seen.has(key)) {
        seen.add(key);
        items.push(item);
      }
    };
    for (const alternative of this.#rules[this.#root]!.keys())
      add(0, { rule: this.#root, alternative, dot: 0, origin: 0 });
    for (let i = 0; i <= symbols.length; i++) {
      const { items, waiting } = set(i);
      if (items.length === 0) return { read: i - 1, complete: false };
      for (let k = 0; k < items.length; k++) {
        const item = items[k]!;
        const next = this.#rules[item.rule]![item.alternative]![item.dot];
        const advanced = { ...item, dot: item.dot + 1 };
        if (next === undefined) {
          for (const caller of sets[item.origin]!.waiting.get(item.rule) ?? [])
            add(i, { ...caller, dot: caller.dot + 1 });
        } else if ('rule' in next) {
          const list = waiting.get(next.rule) ?? [];
          list.push(item);
          waiting.set(next.rule, list);
          for (const alternative of this.#rules[next.rule]!.keys())
            add(i, { rule: next.rule, alternative, dot: 0, origin: i });
          if (this.#nullable[next.rule]) add(i, advanced);
        } else if (i < symbols.length) {
          const symbol = symbols[i]!;
          const fits =
            'token' in next
              ? 'token' in symbol && symbol.token === next.token
              : 'point' in symbol &&
                next.set.some(([low, high]) => low <= symbol.point && symbol.point <= high);
          if (fits) add(i + 1, advanced);
        }
      }
    }
    const complete = set(symbols.length).items.some(
      ({ rule, alternative, dot, origin }) =>
        rule === this.#root && origin === 0 && dot === this.#rules[rule]![alternative]!.length,
    );
    return { read: symbols.length, complete };
  }

  /** A text of the language, special tokens as U+FFFC, by a random derivation. */
  sample(random: () => number, depth = 60): string {
    const out: string[] = [];
    let budget = 4000;
    const write = (rule: number, left: number): void => {
      budget--;
      const all = this.#rules[rule]!;
      let fitting = all.filter((p) => this.#height(p) < left);
      if (fitting.length === 0 || budget < 0) {
        const least = Math.min(...all.map((p) => this.#height(p)));
        fitting = all.filter((p) => this.#height(p) === least);
      }
      for (const symbol of fitting[Math.floor(random() * fitting.length)]!) {
        if ('rule' in symbol) write(symbol.rule, left - 1);
        else if ('token' in symbol) out.push('\ufffc');
        else out.push(String.fromCodePoint(pick(symbol.set, random)));
      }
    };
    write(this.#root, depth);
    return out.join('');
  }

  get #root(): number {
    return this.#names.get('root')!;
  }

  #height(production: Production): number {
    return Math.max(
      0,
      ...production.map((s) =>
        'rule' in s ? this.#heights[s.rule]! : 'set' in s && s.set.length === 0 ? Infinity : 0,
      ),
    );
  }

  #untilStable(change: (rule: number) => boolean): void {
    for (let changed = true; changed; ) {
      changed = false;
      for (const i of this.#rules.keys()) if (change(i)) changed = true;
    }
  }

  #parse(): void {
    for (this.#blank(); this.#at < this.#source.length; this.#blank()) {
      const name = this.#take(/[A-Za-z_][A-Za-z0-9_.-]*/y, 'a rule name');
      this.#blank();
      this.#take(/::=/y, '::=');
      const id = this.#rule(name);
      if (this.#rules[id]!.length > 0) throw new Error(`rule ${name} is defined twice`);
      this.#rules[id]!.push(...this.#choice());
    }
    if (!this.#names.has('root')) throw new Error('no root');
    for (const [name, id] of this.#names)
      if (this.#rules[id]!.length === 0) throw new Error(`rule ${name} is not defined`);
  }

  #rule(name: string): number {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    this.#rules.push([]);
    this.#names.set(name, this.#rules.length - 1);
    return this.#rules.length - 1;
  }

  #make(...alternatives: Production[]): GrammarSymbol {
    this.#rules.push(alternatives);
    return { rule: this.#rules.length - 1 };
  }

  #blank(): void {
    this.#try(/(?:[ \t\r\n]|#[^\n]*)*/y);
  }

  #try(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    if (found === null) return null;
    this.#at += found[0].length;
    return found[0];
  }

  #take(pattern: RegExp, expected: string): string {
    const found = this.#try(pattern);
    if (found === null)
      throw new Error(
        `expected ${expected} at ${this.#at}: ${this.#source.slice(this.#at - 20, this.#at + 20)}`,
      );
    return found;
  }

  #choice(): Production[] {
    const alternatives = [this.#sequence()];
    for (this.#blank(); this.#try(/\|/y); this.#blank()) alternatives.push(this.#sequence());
    return alternatives;
  }

  #sequence(): Production {
    const parts: GrammarSymbol[] = [];
    for (;;) {
      this.#blank();
      const atom = this.#atom();
      if (atom === null) break;
      parts.push(...this.#repeated(atom));
    }
    return parts;
  }

  #atom(): GrammarSymbol[] | null {
    if (this.#try(/"/y)) {
      const out: GrammarSymbol[] = [];
      while (!this.#try(/"/y)) {
        const point = this.#character('');
        out.push({ set: [[point, point]] });
      }
      return out;
    }
    if (this.#try(/\[/y)) return [{ set: this.#class() }];
    if (this.#try(/\./y))
      return [
        {
          set: [
            [0, 9],
            [11, 0x10ffff],
          ],
        },
      ];
    if (this.#try(/\(/y)) {
      const inner = this.#choice();
      this.#take(/\)/y, ')');
      return [this.#make(...inner)];
    }
    const token = this.#try(/token\([0-9]+\)/y);
    if (token) return [{ token: Number(token.slice(6, -1)) }];
    const name = this.#try(/[A-Za-z_][A-Za-z0-9_.-]*(?![A-Za-z0-9_.-]|[ \t\r\n]*::=)/y);
    return name === null ? null : [{ rule: this.#rule(name) }];
  }

  #repeated(atom: GrammarSymbol[]): GrammarSymbol[] {
    this.#blank();
    const found = this.#try(/[?*+]|\{[0-9]+(?:,[0-9]*)?\}/y);
    if (found === null) return atom;
    const [low, high] = found.startsWith('{') ? found.slice(1, -1).split(',') : [];
    const least = low === undefined ? (found === '+' ? 1 : 0) : Number(low);
    const most =
      low === undefined
        ? found === '?'
          ? 1
          : Infinity
        : high === undefined
          ? least
          : high === ''
            ? Infinity
            : Number(high);
    if (Math.max(least, most === Infinity ? 0 : most) > 3000) throw new Error('too large a count');
    let tail: GrammarSymbol[] = [];
    if (most === Infinity) {
      const loop = this.#make([]);
      this.#rules[(loop as { rule: number }).rule]!.push([...atom, loop]);
      tail = [loop];
    } else for (let i = least; i < most; i++) tail = [this.#make([], [...atom, ...tail])];
    return this.#repeated([
      this.#make([...Array.from({ length: least }, () => atom).flat(), ...tail]),
    ]);
  }

  #class(): Ranges {
    const negated = this.#try(/\^/y) !== null;
    const set: Ranges = [];
    while (!this.#try(/\]/y)) {
      const known = this.#try(/\\[dws]/y);
      if (known) {
        set.push(...sets[known as keyof typeof sets]);
        continue;
      }
      const low = this.#character(']-^[');
      const high = this.#try(/-(?!\])/y) ? this.#character(']-^[') : low;
      if (high < low) throw new Error('range out of order');
      set.push([low, high]);
    }
    const positive = negated ? inverse(set) : set;
    // No surrogates: they have no UTF-8.
    return positive.flatMap(
      ([low, high]): Ranges => [
        ...(low < 0xd800 ? [[low, Math.min(high, 0xd7ff)] as [number, number]] : []),
        ...(high > 0xdfff ? [[Math.max(low, 0xe000), high] as [number, number]] : []),
      ],
    );
  }

  #character(more: string): number {
    if (this.#at >= this.#source.length) throw new Error('unfinished');
    const point = this.#source.codePointAt(this.#at)!;
    this.#at += point > 0xffff ? 2 : 1;
    if (point === 10 || point === 13) throw new Error('a line break in a literal');
    if (point !== 0x5c) return point;
    const coded = this.#try(/u\{[0-9a-fA-F]{1,6}\}|u[0-9a-fA-F]{4}|x[0-7][0-9a-fA-F]/y);
    if (coded) return Number.parseInt(coded.replace(/[ux{}]/g, ''), 16);
    const char = this.#source[this.#at++]!;
    const at = 'nrtbf"\\/'.indexOf(char);
    if (at >= 0) return '\n\r\t\b\f"\\/'.charCodeAt(at);
    if (more.includes(char)) return char.charCodeAt(0);
    throw new Error(`unknown escape \\${char}`);
  }
}

const sets = {
  '\\d': [[0x30, 0x39]],
  '\\w': [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ],
  '\\s': [
    [9, 13],
    [32, 32],
  ],
} satisfies Record<string, Ranges>;

function inverse(set: Ranges): Ranges {
  const out: Ranges = [];
  let next = 0;
  for (const [low, high] of [...set].sort((a, b) => a[0] - b[0])) {
    if (low > next) out.push([next, low - 1]);
    next = Math.max(next, high + 1);
  }
  if (next <= 0x10ffff) out.push([next, 0x10ffff]);
  return out;
}

/** Mostly ASCII. */
function pick(set: Ranges, random: () => number): number {
  const ascii = set.filter(([low]) => low < 0x7f);
  const from = ascii.length > 0 && random() < 0.9 ? ascii : set;
  const [low, high] = from[Math.floor(random() * from.length)]!;
  const top = from === ascii ? Math.min(high, 0x7e) : high;
  return low + Math.floor(random() * (top - low + 1));
}

/** Numbers in [0, 1) that are the same in every run. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
