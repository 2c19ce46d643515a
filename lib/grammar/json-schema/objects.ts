/** Objects: named properties in the schema's order, then others. */
import { exceptDfa, isNothing, listDfa, product } from '../dfa.js';
import { choice, never, optional, repeat, sequence } from '../source.js';
import { jsonSpelling, writeLanguage } from '../write.js';
import { holdsString, isEveryString, type StringSet, stringDfa, writeStrings } from './strings.js';
import type { ObjectValue, OpenKind, Property } from './values.js';
import { quoted, type SchemaWriter } from './writer.js';

interface Member {
  readonly pair: string;
  readonly required: boolean;
}

const maxGrid = 20_000;

export function writeObject(writer: SchemaWriter, object: ObjectValue): string {
  const { properties, open } = withFiniteNames(writer, object);
  const members: Member[] = [];
  for (const [name, { value, presence }] of properties) {
    if (presence === 'forbidden') continue;
    const required = presence === 'required';
    const expression = writer.value(value);
    if (expression === never) {
      if (required) return never;
      continue;
    }
    const pair = sequence([
      writer.source.bytes(JSON.stringify(name)),
      writer.colon,
      writer.inside(expression),
    ]);
    members.push({ pair, required });
  }
  const other = choice(open.map((kind) => writeOther(writer, kind, properties)));
  const inner = isCounted(object, members, other)
    ? counted(writer, object, members, other)
    : uncounted(writer, members, other);
  return writer.brackets('{', inner, '}');
}

/** Names that can be listed are properties like others. */
function withFiniteNames(writer: SchemaWriter, object: ObjectValue) {
  const properties = new Map<string, Property>(object.properties);
  const open: OpenKind[] = [];
  for (const kind of object.open) {
    if (!kind.names.finite) {
      open.push(kind);
      continue;
    }
    for (const name of kind.names.finite)
      if (!properties.has(name))
        properties.set(name, writer.expander.conjunctions.property(object, name));
  }
  return { properties, open };
}

/** A member whose name is none of the properties'. */
function writeOther(
  writer: SchemaWriter,
  { names, value }: OpenKind,
  properties: ReadonlyMap<string, Property>,
): string {
  const expression = writer.value(value);
  if (expression === never) return never;
  const taken = [...properties.keys()].filter((name) => holdsString(names, name));
  const name = writeName(writer, names, taken);
  return name === never ? never : sequence([quoted(name), writer.colon, writer.inside(expression)]);
}

function writeName(writer: SchemaWriter, all: StringSet, taken: readonly string[]): string {
  const names = writer.writable(all);
  if (names === null) return never;
  const { source } = writer;
  if (taken.length === 0)
    return isEveryString(names)
      ? repeat(writeStrings(source, { ...names, least: 1, most: 1 }, jsonSpelling), 0, Infinity)
      : writeStrings(source, names, jsonSpelling);
  const left = isEveryString(names)
    ? exceptDfa(taken)
    : product(stringDfa(names), listDfa(taken), 'minus');
  return isNothing(left)
    ? never
    : writer.named('name', writeLanguage(source, left, jsonSpelling, 'name'));
}

function isCounted(
  { least, most }: ObjectValue,
  members: readonly Member[],
  other: string,
): boolean {
  const required = members.filter((member) => member.required).length;
  const all = other === never ? members.length : Infinity;
  return least > required || most < all;
}

/** Without bounds, or none that matter. */
function uncounted(writer: SchemaWriter, members: readonly Member[], other: string): string {
  const others = other === never ? '""' : repeat(sequence([writer.comma, other]), 0, Infinity);
  const first = members.findIndex((member) => member.required);
  if (first >= 0) {
    const parts = members.map(({ pair, required }, i) => {
      if (i === first) return pair;
      const separated = i < first ? sequence([pair, writer.comma]) : sequence([writer.comma, pair]);
      return required ? separated : optional(separated);
    });
    return sequence([...parts, others]);
  }
  // Whichever comes first has no comma; what may follow it is one rule for all that come before.
  let rest = others;
  const beginnings: string[] = [];
  if (other !== never) beginnings.push(sequence([other, others]));
  for (const { pair } of members.toReversed()) {
    beginnings.unshift(sequence([pair, rest]));
    rest = writer.named('rest', sequence([optional(sequence([writer.comma, pair])), rest]));
  }
  return optional(choice(beginnings));
}

/** With bounds: a rule for each place and number of properties so far. */
function counted(
  writer: SchemaWriter,
  { least, most, node }: ObjectValue,
  members: readonly Member[],
  other: string,
): string {
  const required = members.filter((member) => member.required).length;
  if (other !== never && least - required > 1)
    writer.fault(
      node,
      'minProperties',
      `${least} properties, of which ${required} are required, leave ${least - required} whose names are free; ` +
        'that these differ from each other cannot be enforced. Require more by name, or list the names ' +
        '(additionalProperties: false, or propertyNames with an enum)',
    );
  const cap = most === Infinity ? least : most;
  if (members.length * (Math.min(cap, members.length) + 1) > maxGrid)
    writer.fault(
      node,
      'minProperties',
      'counting its properties takes too many rules; leave the bounds out',
    );
  const known = new Map<string, string>();
  const from = (i: number, so: number): string => {
    const count = most === Infinity ? Math.min(so, least) : so;
    const key = `${i} ${count} ${so > 0}`;
    let expression = known.get(key);
    if (expression === undefined) {
      expression = make(i, count, so > 0);
      if (expression !== never) expression = writer.named('members', expression);
      known.set(key, expression);
    }
    return expression;
  };
  const make = (i: number, count: number, begun: boolean): string => {
    const separated = (pair: string) => (begun ? sequence([writer.comma, pair]) : pair);
    if (i === members.length) {
      const missing = Math.max(least - count, 0);
      if (other === never || most === count) return missing > 0 ? never : '""';
      if (begun) return repeat(separated(other), missing, most - count);
      return writer.list(other, missing, most - count);
    }
    const { pair, required: needed } = members[i]!;
    const parts: string[] = [];
    if (count < most) parts.push(sequence([separated(pair), from(i + 1, count + 1)]));
    if (!needed) parts.push(from(i + 1, count));
    return choice(parts);
  };
  return from(0, 0);
}
