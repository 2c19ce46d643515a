import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { engineFlags } from '../../lib/cli/engine-flags.js';
import {
  addFlags,
  type Flag,
  flagName,
  readFlags,
  toBytes,
  toInteger,
  toJson,
  toNumber,
} from '../../lib/cli/flags.js';
import { createCli } from '../../lib/cli/program.js';
import { requestFlags } from '../../lib/cli/request-flags.js';
import { EngineError } from '../../lib/errors.js';
import { parseLoadOptions } from '../../lib/options.js';
import { parseCompletion } from '../../lib/request/completions.js';
import { TestContext } from './cli-context.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hotpath-flags-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** As the message for an unknown option lists them. */
function engineOptionNames(): string[] {
  try {
    parseLoadOptions({ '~': 1 });
  } catch (error) {
    const names = EngineError.is(error) && /Options are (.*)\.$/.exec(error.message)?.[1];
    if (names) return names.split(', ');
  }
  throw new Error('parseLoadOptions did not list its options');
}

test('every option of the engine has a row, and every row is an option', () => {
  expect(Object.keys(engineFlags).sort()).toEqual(engineOptionNames().sort());
});

test('only what a program alone can pass has no flag', () => {
  const without = Object.entries(engineFlags).filter(([, flag]) => flag === null);
  expect(without.map(([name]) => name).sort()).toEqual(['logger', 'onProgress', 'signal']);
});

test.each(['serve', 'chat', 'complete', 'batch', 'bench'])('%s has every engine flag', (name) => {
  const command = createCli(new TestContext()).program.commands.find((c) => c.name() === name)!;
  const flags = command.options.map(({ long }) => long);
  for (const [option, flag] of Object.entries(engineFlags))
    if (flag !== null) expect(flags).toContain(`--${flagName(option)}`);
});

test('no two flags of a command share a name, and all are described', () => {
  for (const command of createCli(new TestContext()).program.commands) {
    const flags = command.options.map(({ long }) => long);
    expect(new Set(flags).size).toBe(flags.length);
    for (const option of command.options) expect(option.description).not.toBe('');
  }
});

test('every request flag is a field that the engine takes', () => {
  const { body: _, ...fields } = requestFlags('');
  const values: Record<string, unknown> = { stop: ['x'], stop_token_ids: [1] };
  for (const [name, { value }] of Object.entries(fields) as [string, Flag][]) {
    const given = values[name] ?? (value === 'boolean' ? true : 1);
    expect(() => parseCompletion({ prompt: 'x', [name]: given })).not.toThrow();
  }
});

describe('values', () => {
  test('names', () => {
    expect(flagName('kvCacheBytes')).toBe('kv-cache-bytes');
    expect(flagName('stop_token_ids')).toBe('stop-token-ids');
  });

  test('numbers', () => {
    expect(toNumber('1e-3')).toBe(0.001);
    expect(toInteger('-7')).toBe(-7);
    expect(toInteger('18446744073709551615')).toBe(18446744073709551615n);
    for (const bad of ['', ' ', 'x', '1x']) expect(() => toNumber(bad)).toThrow(/received/);
    for (const bad of ['', '1.5', '0x10', '1e3', 'ten'])
      expect(() => toInteger(bad)).toThrow(/expected an integer, received/);
  });

  test.each([
    ['4096', 4096],
    ['512MiB', 512 * 2 ** 20],
    ['512m', 512 * 2 ** 20],
    ['2G', 2 ** 31],
    ['1.5 GiB', 1.5 * 2 ** 30],
    ['3GB', 3e9],
    ['10kb', 10_000],
    ['7B', 7],
  ])('%s is %d bytes', (text, bytes) => {
    expect(toBytes(text)).toBe(bytes);
  });

  test.each(['', 'G', '-1', '1X', '1GiBB', '1e9', '0x10'])('%j is no size', (text) => {
    expect(() => toBytes(text)).toThrow(/expected a size/);
  });

  test('JSON, also from a file', () => {
    const file = join(folder, 'tools.json');
    writeFileSync(file, '[1, 2]');
    expect(toJson('{"a": 1}')).toEqual({ a: 1 });
    expect(toJson(`@${file}`)).toEqual([1, 2]);
    expect(() => toJson('{')).toThrow(/expected JSON or @file/);
    expect(() => toJson(`@${folder}/none`)).toThrow(/cannot read/);
  });
});

describe('tables', () => {
  const table: Record<string, Flag | null> = {
    maxLen: { value: 'integer', about: 'a' },
    stop: { value: 'texts', about: 'b' },
    ids: { value: 'integers', about: 'c' },
    caching: { value: 'boolean', about: 'd', standard: true },
    offline: { value: 'boolean', about: 'e' },
    format: { value: ['x', 'y'], about: 'f' },
    nothing: null,
  };
  const read = (...args: string[]) => {
    const command = new Command().exitOverride().configureOutput({ writeErr: () => {} });
    addFlags(command, table);
    return readFlags(table, command.parse(args, { from: 'user' }).opts());
  };

  test('what is not given is not there: defaults are the engine’s', () => {
    expect(read()).toEqual({});
  });

  test('each kind', () => {
    const args = '--max-len 3 --stop a --stop b --ids 1,2 --no-caching --offline --format y';
    expect(read(...args.split(' '))).toEqual({
      maxLen: 3,
      stop: ['a', 'b'],
      ids: [1, 2],
      caching: false,
      offline: true,
      format: 'y',
    });
  });

  test('each switch has both forms, the later counts', () => {
    expect(read('--no-offline')).toEqual({ offline: false });
    expect(read('--no-caching', '--caching')).toEqual({ caching: true });
  });

  test('a value that is none of the list', () => {
    expect(() => read('--format', 'z')).toThrow(/expected one of x, y, received 'z'/);
    expect(() => read('--nothing', 'z')).toThrow(/unknown option/);
  });
});
