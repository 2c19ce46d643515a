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

function run(argument: string, more: Record<string, string> = {}) {
  const env = { ...process.env, DEVICE: device, ...more };
  return spawnSync(program, [argument], { encoding: 'utf8', timeout: 110_000, env });
}

const built = existsSync(program);

always('hotpath_native_tests is built', () => {
  expect(built, `${program} is missing: run \`npm run build:native\``).toBe(true);
});

// Where the program is missing, the test above has failed and says so.
if (built)
  describe(`native tests, those with a model on ${device}`, () => {
    const listed = run('--list');
    const names = listed.stdout.split('\n').filter((name) => name !== '');
    test('lists its tests', () => {
      expect(listed.status, listed.stderr).toBe(0);
      expect(names.length).toBeGreaterThan(0);
    });
    // The scripted back end gives the results of a draw at wait() only, as a GPU does: the engine then
    // runs a step ahead.
    const ahead = { HOTPATH_FAKE_OVERLAP: '1' };
    const runs = [
      ...names.map((name) => ({ name, title: name, env: {} })),
      ...names
        .filter((name) => name.startsWith('engine_'))
        .map((name) => ({ name, title: `${name}, a step ahead`, env: ahead })),
    ];
    test.each(runs)('$title', ({ name, env }) => {
      const { status, signal, stdout, stderr, error } = run(name, env);
      const end = error?.message ?? (signal ? `killed by ${signal}` : `exit ${status}`);
      expect(status, `${end}\n${stdout}${stderr}`).toBe(0);
      expect(stdout).toMatch(/^ok/);
    });
  });
