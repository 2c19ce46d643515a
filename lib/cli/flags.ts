/** Tables of flags: each row becomes a flag of the command line, and is read back by its key. */
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from './context.js';

/** How a flag's text becomes a value; a list is the values that it can have. */
export type FlagValue =
  | 'text'
  | 'texts'
  | 'number'
  | 'integer'
  | 'integers'
  | 'bytes'
  | 'boolean'
  | 'source'
  | 'json'
  | readonly string[];

export interface Flag {
  value: FlagValue;
  about: string;
  /** The default in words; it is never sent, so that it stays the engine's. `true`: --no-x turns it off. */
  standard?: string | true;
  /** What stands for the value in the help. Default: by its kind. */
  argument?: string;
  /** An environment variable that is read where the flag is not given. */
  env?: string;
}

export type FlagTable = Record<string, Flag | null>;

/** maxModelLen and max_model_len are both --max-model-len. */
export function flagName(key: string): string {
  return key.replaceAll('_', '-').replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Where commander keeps the value of a key's flag. */
function attribute(key: string): string {
  return flagName(key).replaceAll(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

export function addFlags(command: Command, table: FlagTable, heading?: string): void {
  for (const [key, flag] of Object.entries(table)) {
    if (flag === null) continue;
    for (const option of optionsOf(flagName(key), flag)) {
      if (heading !== undefined) option.helpGroup(heading);
      command.addOption(option);
    }
  }
}

function optionsOf(name: string, flag: Flag): Option[] {
  const { value, about, standard, env } = flag;
  if (value === 'boolean') {
    const on = new Option(`--${name}`, about).hideHelp(standard === true);
    const off = new Option(`--no-${name}`, `turn off: ${about}`).hideHelp(standard !== true);
    return [on, off];
  }
  const words = standard === undefined ? '' : ` (default: ${standard})`;
  const choices = typeof value === 'string' ? '' : `: ${value.join(', ')}`;
  const option = new Option(
    `--${name} <${flag.argument ?? argumentOf(value)}>`,
    `${about}${choices}${words}`,
  );
  if (env !== undefined) option.env(env);
  if (typeof value !== 'string') option.argParser((text) => choice(text, value));
  else option.argParser(parsers[value]);
  return [option];
}

/** The values that were given, by the table's keys. */
export function readFlags(
  table: FlagTable,
  options: Record<string, unknown>,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const key of Object.keys(table)) {
    const value = options[attribute(key)];
    if (value !== undefined) values[key] = value;
  }
  return values;
}

function argumentOf(value: FlagValue): string {
  if (typeof value !== 'string') return 'value';
  return {
    text: 'text',
    texts: 'text',
    number: 'number',
    integer: 'integer',
    integers: 'n,n,...',
    bytes: 'size',
    boolean: '',
    source: 'text or @file',
    json: 'json or @file',
  }[value];
}

const parsers: Record<
  Exclude<FlagValue, 'boolean' | readonly string[]>,
  (text: string, previous: unknown) => unknown
> = {
  text: (text) => text,
  texts: (text, previous) => [...((previous as string[] | undefined) ?? []), text],
  number: toNumber,
  integer: toInteger,
  integers: (text) => text.split(',').map(toInteger),
  bytes: toBytes,
  source: textOrFile,
  json: toJson,
};

function choice(text: string, values: readonly string[]): string {
  if (values.includes(text)) return text;
  throw new InvalidArgumentError(`expected one of ${values.join(', ')}, received '${text}'.`);
}

export function toNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value))
    throw new InvalidArgumentError(`expected a number, received '${text}'.`);
  return value;
}

/** A bigint where a number cannot hold it, such as a 64-bit seed. */
export function toInteger(text: string): number | bigint {
  if (!/^[+-]?\d+$/.test(text.trim()))
    throw new InvalidArgumentError(`expected an integer, received '${text}'.`);
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text.trim().replace(/^\+/, ''));
}

/** 4096, 512MiB, 2G: K, M, G and T count in 1024s, KB, MB, GB and TB in 1000s. */
export function toBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])(ib?|b)?|b)?$/i.exec(text.trim());
  if (match === null)
    throw new InvalidArgumentError(
      `expected a size such as 4096, 512MiB or 2G, received '${text}'.`,
    );
  const [, number, unit, ending] = match;
  if (unit === undefined) return Number(number);
  const power = 'kmgt'.indexOf(unit.toLowerCase()) + 1;
  return Math.round(Number(number) * (ending?.toLowerCase() === 'b' ? 1000 : 1024) ** power);
}

/** The text itself, or with a leading @ what the file holds. */
export function textOrFile(text: string): string {
  if (!text.startsWith('@')) return text;
  try {
    return readFileSync(text.slice(1), 'utf8');
  } catch (error) {
    throw new InvalidArgumentError(`cannot read '${text.slice(1)}': ${(error as Error).message}.`);
  }
}

export function toJson(text: string): unknown {
  const source = textOrFile(text);
  try {
    return JSON.parse(source);
  } catch (error) {
    throw new InvalidArgumentError(`expected JSON or @file: ${(error as Error).message}.`);
  }
}

/** A whole number within bounds, for flags of the command line alone. */
export function within(name: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most)
    return value;
  throw new UsageError(
    `--${name}: expected an integer from ${least} to ${most}, received ${String(value)}.`,
  );
}
