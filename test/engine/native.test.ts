import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test as always, expect } from 'vitest';
import { describe, device, test } from '../device.js';

// The C++ tests of cache, scheduler, sampler rows and engine: one `test` per native test.
const suffix = process.platform === 'win32' ? '.exe' : '';
const program = fileURLToPath(
  new URL(`../../build/Release/hotpath_native_tests${suffix}`, import.meta.url),
);

function run(argument: string) {
  const env = { ...process.env, DEVICE: device };
  return spawnSync(program, [argument], { encoding: 'utf8', timeout: 110_000, env });
}

const built = existsSync(program);

always('hotpath_native_tests is built', () => {
  expect(built, `${program} is missing: run \`npm run build:native\``).toBe(true);
});

(built ? describe : describe.skip)(`native tests, those with a model on ${device}`, () => {
  const listed = built ? run('--list') : null;
  const names = listed?.stdout.split('\n').filter((name) => name !== '') ?? [];
  test('lists its tests', () => {
    expect(listed?.status, listed?.stderr).toBe(0);
    expect(names.length).toBeGreaterThan(0);
  });
  test.each(names)('%s', (name) => {
    const { status, signal, stdout, stderr, error } = run(name);
    const end = error?.message ?? (signal ? `killed by ${signal}` : `exit ${status}`);
    expect(status, `${end}\n${stdout}${stderr}`).toBe(0);
    expect(stdout).toMatch(/^ok/);
  });
});
