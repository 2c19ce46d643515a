/** Arguments that are written one by one, as bare text, such as `<parameter=city>Paris</parameter>`. */
import { invalidRequest } from '../../errors.js';
import type { ParameterFrame } from '../../parse/tools/formats.js';
import { parseRegex, textRegex } from '../regex-tree.js';
import { choice, type GrammarSource, never, optional, repeat, sequence } from '../source.js';
import { forbidden, textUntil } from '../text-until.js';
import { plainSpelling } from '../write.js';
import { SchemaDocument, type SchemaNode, type SchemaObject } from './document.js';
import { Expander } from './expand.js';
import { asError, type JsonOptions } from './index.js';
import {
  anyString,
  intersectStrings,
  isEveryString,
  type StringPattern,
  writeStrings,
} from './strings.js';
import type { Alternative, Conjunction, ObjectValue } from './values.js';
import { SchemaWriter } from './writer.js';

/**
 * @returns an expression for the parameters that a schema declares, in its order; undeclared ones are left out,
 * as nothing would say of what type their text is
 * @throws EngineError, status 400
 */
export function parametersExpression(
  source: GrammarSource,
  schema: SchemaObject | boolean,
  frame: ParameterFrame,
  param: string,
  options: JsonOptions = {},
): string {
  try {
    const expander = new Expander(new SchemaDocument(schema));
    const writer = new SchemaWriter(
      source,
      expander,
      options.anyWhitespace ?? false,
      closing(frame),
    );
    const root = expander.of(expander.document.root);
    const objects = expander.alternatives(root).filter((part) => part.type === 'object');
    const written = objects.map((object) => parameters(writer, object, frame));
    writer.finish();
    const expression = choice(written);
    if (expression === never)
      throw invalidRequest(
        `${options.label ?? param}: no object fits it, and arguments are one.`,
        param,
      );
    return expression;
  } catch (error) {
    throw asError(error, param, options.label);
  }
}

/** Any parameters, of any text. */
export function anyParametersExpression(source: GrammarSource, frame: ParameterFrame): string {
  const name = repeat('[^<>\\n]', 1, 256);
  const one = sequence([
    source.literal(frame.beforeName),
    name,
    source.literal(frame.afterName),
    freeText(source, frame),
  ]);
  return repeat(source.rule('parameter', one), 0, Infinity);
}

/** With what ends it. The tag that closes a value ends it wherever it stands. */
function freeText(source: GrammarSource, { afterValue }: ParameterFrame): string {
  const tag = afterValue.trim();
  const length = afterValue.indexOf(tag) + tag.length;
  const next = source.literal(afterValue.slice(length));
  const triggers = [{ text: afterValue.slice(0, length), next }];
  if (length > tag.length) triggers.push({ text: tag, next: forbidden });
  return textUntil(source, triggers, false);
}

/** What no value may hold. */
function closing({ afterValue }: ParameterFrame): StringPattern {
  const tag = afterValue.trim();
  return { key: tag, tree: textRegex(tag), search: true, not: true };
}

function parameters(writer: SchemaWriter, object: ObjectValue, frame: ParameterFrame): string {
  const { source } = writer;
  const declared = [...object.properties].filter(([, p]) => p.presence !== 'forbidden');
  const required = declared.filter(([, p]) => p.presence === 'required').length;
  if (object.least > required || object.most < declared.length)
    writer.fault(
      object.node,
      'minProperties',
      'numbers of parameters cannot be enforced in this format',
    );
  return sequence(
    declared.map(([name, { value, presence }]) => {
      const one = sequence([
        source.literal(frame.beforeName),
        source.bytes(name),
        source.literal(frame.afterName),
        valueText(writer, value, frame, object.node),
      ]);
      return presence === 'required' ? one : optional(one);
    }),
  );
}

/** Text that is read as something other than a string where the type is among those of a parameter. */
const looks: Readonly<Record<string, string>> = {
  number: '^\\s*-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?\\s*$',
  boolean: '^\\s*(?:true|false|True|False)\\s*$',
  null: '^\\s*(?:null|None)\\s*$',
  array: '^\\s*\\[',
  object: '^\\s*\\{',
};

function valueText(
  writer: SchemaWriter,
  value: Conjunction,
  frame: ParameterFrame,
  node: SchemaNode,
): string {
  const { source } = writer;
  const end = source.literal(frame.afterValue);
  const all: readonly Alternative[] = writer.expander.alternatives(value);
  const others = all.filter((part) => part.type !== 'string');
  const parts = others.length > 0 ? [sequence([writer.alternatives(others, node), end])] : [];
  const notText = [...new Set(others.map((part) => part.type))].map(
    (type): StringPattern => ({
      key: looks[type]!,
      tree: parseRegex(looks[type]!),
      search: true,
      not: true,
    }),
  );
  for (const part of all) {
    if (part.type !== 'string') continue;
    if (isEveryString(part.set) && notText.length === 0) {
      parts.push(freeText(source, frame));
      continue;
    }
    const set = intersectStrings(part.set, {
      ...anyString,
      patterns: [...notText, closing(frame)],
    });
    if (set) parts.push(sequence([writeStrings(source, set, plainSpelling), end]));
  }
  return choice(parts);
}
