/** Reads tables of schemas with values that fit them and values that do not. */
export interface SchemaCase {
  readonly name: string;
  readonly schema: Record<string, unknown> | boolean;
  readonly valid: readonly unknown[];
  readonly invalid: readonly unknown[];
  /** Its name begins with ~: ajv does not know it, or has it wrong. */
  readonly noAjv: boolean;
}

/** `name: schema`, then lines of values: those behind + fit, those behind - do not. */
export function cases(text: string): SchemaCase[] {
  const lines = text.trim().split('\n');
  return Array.from({ length: lines.length / 3 }, (_, i) => {
    const [head, valid, invalid] = lines.slice(3 * i, 3 * i + 3) as [string, string, string];
    const [, mark, name, schema] = /^(~ )?(.+?): ([{t].*)$/.exec(head)!;
    const values = (line: string, sign: string): unknown[] => {
      if (!line.startsWith(`  ${sign} `)) throw new Error(`expected ${sign}: ${line}`);
      return JSON.parse(line.slice(4)) as unknown[];
    };
    return {
      name: name!,
      schema: JSON.parse(schema!) as SchemaCase['schema'],
      valid: values(valid, '+'),
      invalid: values(invalid, '-'),
      noAjv: mark !== undefined,
    };
  });
}
