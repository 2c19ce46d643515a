import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

// The C++ tests of cache, scheduler, sampler rows and engine: one `it` per native test.
const suffix = process.platform === 'win32' ? '.exe' : '';
const program = fileURLToPath(
  new URL(`../../build/Release/hotpath_native_tests${suffix}`, import.meta.url),
);

function run(argument: string) {
  return spawnSync(program, [argument], { encoding: 'utf8', timeout: 110_000 });
}

describe('native', () => {
  if (!existsSync(program)) {
    it('was built', () => {
      expect.fail(`${program} is missing: run \`npm run build:native -- --tests\``);
    });
    return;
  }
  const listed = run('--list');
  const names = listed.stdout.split('\n').filter((name) => name !== '');
  it('lists its tests', () => {
    expect(listed.status, listed.stderr).toBe(0);
    expect(names.length).toBeGreaterThan(0);
  });
  it.each(names)('%s', (name) => {
    const { status, signal, stdout, stderr, error } = run(name);
    const end = error?.message ?? (signal ? `killed by ${signal}` : `exit ${status}`);
    expect(status, `${end}\n${stdout}${stderr}`).toBe(0);
  });
});
