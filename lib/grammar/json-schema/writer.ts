/** Alternatives as rules of the grammar language. */
import { TooManyStates } from '../nfa.js';
import { choice, type GrammarSource, never, repeat, sequence } from '../source.js';
import { jsonCharacter, jsonSpelling } from '../write.js';
import { writeArray } from './arrays.js';
import { fault, SchemaFault, type SchemaNode } from './document.js';
import type { Expander } from './expand.js';
import { writeAnyNumber, writeNumbers } from './numbers.js';
import { writeObject } from './objects.js';
import {
  anyString,
  intersectStrings,
  isEveryString,
  type StringPattern,
  type StringSet,
  writeStrings,
} from './strings.js';
import type { Alternative, ArrayValue, Conjunction, ObjectValue } from './values.js';

/** Values nested deeper are written later, not inside of each other. */
const maxInside = 40;
/** Expressions up to this length are repeated where they are used. */
const maxRepeated = 48;

export class SchemaWriter {
  readonly #written = new Map<number, string>();
  readonly #names = new Map<number, string>();
  readonly #equal = new Map<string, string>();
  readonly #open = new Set<number>();
  readonly #later: Conjunction[] = [];

  /**
   * @param anyWhitespace as JSON allows; else a space behind each comma and colon, or none
   * @param exclude what no string may hold, as the text around the JSON would end there
   */
  constructor(
    readonly source: GrammarSource,
    readonly expander: Expander,
    readonly anyWhitespace: boolean,
    private readonly exclude: StringPattern | null = null,
  ) {}

  /** The expression for one value, with every rule that it needs. @throws SchemaFault */
  root(value: Conjunction): string {
    const expression = this.value(value);
    this.finish();
    return expression;
  }

  /** Writes what has been put off. */
  finish(): void {
    for (let next = this.#later.pop(); next; next = this.#later.pop()) this.value(next);
  }

  value(value: Conjunction): string {
    if (value.nothing) return never;
    if (value.literals.length === 0) return this.anyValue();
    const known = this.#written.get(value.id);
    if (known !== undefined) return known;
    const inside = this.#open.has(value.id);
    if (inside || this.#open.size >= maxInside) {
      let name = this.#names.get(value.id);
      if (name === undefined) {
        name = this.source.name(hintOf(value));
        this.#names.set(value.id, name);
        if (!inside) this.#later.push(value);
      }
      return name;
    }
    this.#open.add(value.id);
    const node = value.literals[0]!.node;
    const expression = this.alternatives(this.expander.alternatives(value), node);
    this.#open.delete(value.id);
    const name = this.#names.get(value.id);
    if (name !== undefined) this.source.define(name, expression);
    const reference = name ?? this.named(hintOf(value), expression);
    this.#written.set(value.id, reference);
    return reference;
  }

  /** A rule for an expression, one for equal ones; short ones stay as they are. */
  named(hint: string, expression: string): string {
    if (expression.length <= maxRepeated) return expression;
    let name = this.#equal.get(expression);
    if (name === undefined) {
      name = this.source.rule(hint, expression);
      this.#equal.set(expression, name);
    }
    return name;
  }

  /** @param node to name in errors */
  alternatives(parts: readonly Alternative[], node: SchemaNode): string {
    return choice(parts.map((part) => this.#alternative(part, node)));
  }

  #alternative(part: Alternative, node: SchemaNode): string {
    try {
      switch (part.type) {
        case 'null':
          return '"null"';
        case 'boolean':
          return choice(part.values.map((value) => `"${value}"`));
        case 'string': {
          if (isEveryString(part.set)) return this.anyString();
          const set = this.writable(part.set);
          return set ? quoted(writeStrings(this.source, set, jsonSpelling)) : never;
        }
        case 'number':
          return writeNumbers(this.source, part.set);
        case 'array':
          return isEveryArray(part) ? this.anyArray() : writeArray(this, part);
        default:
          return isEveryObject(part) ? this.anyObject() : writeObject(this, part);
      }
    } catch (error) {
      if (!(error instanceof TooManyStates)) throw error;
      const keyword = part.type === 'number' ? 'multipleOf' : 'pattern';
      return fault(node, keyword, `with all that it is combined with it takes ${error.message}`);
    }
  }

  // Whitespace.

  /** Behind a comma or a colon. */
  get space(): string {
    return this.anyWhitespace ? this.#anySpace() : '" "?';
  }

  /** Behind an opening bracket, a key or a value inside. */
  get gap(): string {
    return this.anyWhitespace ? this.#anySpace() : '""';
  }

  /** Bounded: a model in doubt would write spaces for ever. */
  #anySpace(): string {
    return this.source.shared('ws', () => '[ \\t\\n\\r]{0,64}');
  }

  get comma(): string {
    return this.source.shared('comma', () => sequence(['","', this.space]));
  }

  get colon(): string {
    return this.source.shared('colon', () => sequence([this.gap, '":"', this.space]));
  }

  brackets(open: string, inner: string, close: string): string {
    return inner === never ? never : sequence([`"${open}"`, this.gap, inner, `"${close}"`]);
  }

  /** A value of an object or array, with the whitespace behind it. */
  inside(value: string): string {
    return sequence([value, this.gap]);
  }

  // Any JSON.

  anyValue(): string {
    return this.source.shared('json_value', () =>
      choice([
        this.anyObject(),
        this.anyArray(),
        this.anyString(),
        writeAnyNumber(this.source),
        '"true"',
        '"false"',
        '"null"',
      ]),
    );
  }

  anyString(): string {
    const { source, exclude } = this;
    if (exclude)
      return source.shared(`json_string ${exclude.key}`, () =>
        quoted(writeStrings(source, { ...anyString, patterns: [exclude] }, jsonSpelling)),
      );
    return source.shared('json_string', () => quoted(repeat(jsonCharacter(source), 0, Infinity)));
  }

  /** Null where nothing is left. */
  writable(set: StringSet): StringSet | null {
    const { exclude } = this;
    return exclude ? intersectStrings(set, { ...anyString, patterns: [exclude] }) : set;
  }

  anyArray(): string {
    return this.source.shared('json_array', () =>
      this.brackets('[', this.list(this.inside(this.anyValue()), 0, Infinity), ']'),
    );
  }

  anyObject(): string {
    return this.source.shared('json_object', () => {
      const member = this.source.shared('json_member', () =>
        sequence([this.anyString(), this.colon, this.inside(this.anyValue())]),
      );
      return this.brackets('{', this.list(member, 0, Infinity), '}');
    });
  }

  /** least..most of one thing, with commas between. */
  list(item: string, least: number, most: number): string {
    if (most === 0) return '""';
    if (item === never) return least === 0 ? '""' : never;
    const more = repeat(sequence([this.comma, item]), Math.max(least - 1, 0), most - 1);
    const all = sequence([item, more]);
    return least === 0 ? repeat(all, 0, 1) : all;
  }

  fault(node: SchemaNode, keyword: string, reason: string): never {
    throw new SchemaFault(keyword, node.pointer, reason);
  }
}

export function quoted(inner: string): string {
  return sequence(['"\\""', inner, '"\\""']);
}

function hintOf({ literals }: Conjunction): string {
  return literals[0]!.node.pointer.split('/').at(-1)!.replace('#', 'answer');
}

function isEveryArray({ prefix, rest, least, most, contains, unique }: ArrayValue): boolean {
  const anything = rest.literals.length === 0 && !rest.nothing;
  return (
    prefix.length === 0 &&
    anything &&
    least === 0 &&
    most === Infinity &&
    contains.length === 0 &&
    !unique
  );
}

function isEveryObject({ properties, open, least, most }: ObjectValue): boolean {
  const [kind] = open;
  if (open.length !== 1 || !isEveryString(kind!.names) || kind!.value.literals.length > 0)
    return false;
  return properties.size === 0 && least === 0 && most === Infinity;
}
