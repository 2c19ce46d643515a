/** The keywords of strings and numbers. */
import { parseRegex, type Regex, RegexFault } from '../regex-tree.js';
import { decimalOf } from './decimal.js';
import { fault, type SchemaNode, type SchemaObject } from './document.js';
import { formatNames, formatTree, numberFormats } from './formats.js';
import { anyInteger, anyNumber, intersectNumbers, type NumberSet } from './numbers.js';
import type { StringPattern, StringSet } from './strings.js';

export function patternOf(node: SchemaNode, keyword: string, pattern: string): StringPattern {
  let tree: Regex;
  try {
    tree = parseRegex(pattern);
  } catch (error) {
    if (!(error instanceof RegexFault)) throw error;
    return fault(
      node,
      keyword,
      `${error.message} (position ${error.position} of ${JSON.stringify(pattern.slice(0, 200))})`,
    );
  }
  return { key: pattern, tree, search: true, not: false };
}

export function checkFormat(node: SchemaNode, { format }: SchemaObject): void {
  if (format === undefined || formatTree(format as string)) return;
  if (Object.hasOwn(numberFormats, format as string)) return;
  fault(
    node,
    'format',
    `${JSON.stringify(format)} cannot be enforced; known are ${formatNames.join(', ')} and, of numbers, ` +
      Object.keys(numberFormats).join(', '),
  );
}

export function stringSet(node: SchemaNode, schema: SchemaObject): StringSet {
  const patterns: StringPattern[] = [];
  if (schema.pattern !== undefined)
    patterns.push(patternOf(node, 'pattern', schema.pattern as string));
  const format = formatPattern(schema);
  if (format) patterns.push(format);
  return {
    finite: null,
    patterns,
    least: (schema.minLength ?? 0) as number,
    most: (schema.maxLength ?? Infinity) as number,
  };
}

export function formatPattern({ format }: SchemaObject): StringPattern | null {
  const tree = typeof format === 'string' ? formatTree(format) : null;
  return tree && { key: `format ${format}`, tree, search: false, not: false };
}

/** Null where nothing is left. */
export function numberSet(schema: SchemaObject, type: 'number' | 'integer'): NumberSet | null {
  let set: NumberSet | null = type === 'number' ? anyNumber : anyInteger;
  const and = (more: Partial<NumberSet>) => {
    if (set) set = intersectNumbers(set, { ...anyNumber, ...more });
  };
  const bound = (value: unknown, exclusive: boolean) => ({
    value: decimalOf(value as number),
    exclusive,
  });
  if (schema.minimum !== undefined) and({ low: bound(schema.minimum, false) });
  if (schema.exclusiveMinimum !== undefined) and({ low: bound(schema.exclusiveMinimum, true) });
  if (schema.maximum !== undefined) and({ high: bound(schema.maximum, false) });
  if (schema.exclusiveMaximum !== undefined) and({ high: bound(schema.exclusiveMaximum, true) });
  if (schema.multipleOf !== undefined)
    and({ multiples: [{ of: decimalOf(schema.multipleOf as number), not: false }] });
  const range = numberFormats[schema.format as string];
  if (range) {
    const [low, high] = range.map((digits) => ({ value: { digits, scale: 0 }, exclusive: false }));
    and({ kind: 'integer', low: low!, high: high! });
  }
  return set;
}
