/**
 * A corpus of JSON Schemas as requests bring them: functions' parameters, records, configurations, documents, each template
 * in a few variants. All of it is our own writing. ajv is the judge of every instance.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { configs } from './configs.js';
import { documents } from './documents.js';
import { type Json, type JsonObject, Kit } from './kit.js';
import { records } from './records.js';
import { tools } from './tools.js';

export interface SchemaCase {
  name: string;
  schema: JsonObject;
  /** Texts of values that fit, in one line, a space behind each comma and colon, properties as the schema has them. */
  valid: string[];
  /** Texts of values that do not: one place of a valid one is changed. */
  invalid: string[];
}

const numVariants = 6;
const numValid = 4;
const numInvalid = 4;
const maxTries = 80;
const depth = 8;

/** More than 300 different schemas, the same ones every time. */
export function schemaCorpus(): SchemaCase[] {
  const templates = Object.entries({ ...tools, ...records, ...configs, ...documents });
  const seen = new Set<string>();
  const cases: SchemaCase[] = [];
  for (let variant = 0; variant < numVariants; variant++)
    for (const [seed, [name, template]] of templates.entries()) {
      const kit = new Kit(seed, variant);
      const { schema, make } = kit.document(name, template(kit));
      const text = JSON.stringify(schema);
      // Some templates have nothing that can vary.
      if (seen.has(text)) continue;
      seen.add(text);
      cases.push(withInstances(`${name}-${variant}`, kit, schema, () => make(depth)));
    }
  return cases;
}

function withInstances(name: string, kit: Kit, schema: JsonObject, make: () => Json): SchemaCase {
  const ajv = new Ajv2020({ strict: false, multipleOfPrecision: 9 });
  addFormats.default(ajv);
  const fits = ajv.compile(schema);
  const values = Array.from({ length: numValid }, make);
  for (const value of values)
    if (!fits(value))
      throw new Error(
        `${name}: ${ajv.errorsText(fits.errors)}: ${JSON.stringify(value)} of ${JSON.stringify(schema)}`,
      );
  const invalid = new Set<string>();
  for (let i = 0; i < maxTries && invalid.size < numInvalid; i++) {
    const broken = withChange(kit, kit.pick(values));
    if (!fits(broken)) invalid.add(inOneLine(broken));
  }
  return { name, schema, valid: values.map(inOneLine), invalid: [...invalid] };
}

/** As models write it. */
function inOneLine(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(inOneLine).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([name, own]) => `${JSON.stringify(name)}: ${inOneLine(own)}`,
  );
  return `{${members.join(', ')}}`;
}

/** A copy that differs somewhere. */
function withChange(kit: Kit, value: Json): Json {
  if (typeof value !== 'object' || value === null) return changed(kit, value);
  const entries: [string, Json][] = Object.entries(value);
  if (entries.length === 0 || kit.chance(25)) return changed(kit, value);
  const [key, own] = kit.pick(entries);
  const inside = withChange(kit, own);
  if (Array.isArray(value)) return value.map((item, i) => (i === Number(key) ? inside : item));
  return { ...value, [key]: inside };
}

function changed(kit: Kit, value: Json): Json {
  if (kit.chance(20)) return kit.pick<Json>([null, 0, -1.5, 'other', true, [], {}]);
  if (typeof value === 'string')
    return kit.pick([`${value}~`, value.slice(1), '', value.padEnd(500, 'x')]);
  if (typeof value === 'number')
    return kit.pick([value + 0.125, -value - 1, value * 1000 + 1_000_000, String(value)]);
  if (Array.isArray(value))
    return kit.pick([[], [...value, ...value], [...value, null], value.slice(1)]);
  if (typeof value !== 'object' || value === null) return 'other';
  if (kit.chance(40)) return { ...value, unexpected_name: 1 };
  const entries = Object.entries(value);
  const gone = kit.below(Math.max(entries.length, 1));
  return Object.fromEntries(entries.filter((_, i) => i !== gone));
}
