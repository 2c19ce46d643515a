/** The native case table, one test per case: build/Release/hotpath_ops says which there are and how they went. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test as always, expect } from 'vitest';
import { describe, device, test } from '../device.js';

const program = fileURLToPath(new URL('../../build/Release/hotpath_ops', import.meta.url));

function lines(...args: string[]): { status: number | null; lines: string[]; stderr: string } {
  const { status, stdout, stderr } = spawnSync(program, ['--device', device, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return { status, lines: stdout.split('\n').filter((line) => line !== ''), stderr };
}

const built = existsSync(program);

always('hotpath_ops is built', () => {
  expect(built, `${program} is missing: run npm run build:native`).toBe(true);
});

// Where the program is missing, the test above has failed and says so.
if (built)
  describe(`ops on ${device}`, () => {
    const names = lines('--list').lines;
    const results = new Map<string, string>();
    let ended = '';

    test('runs every case in every variant of this machine', { timeout: 600_000 }, () => {
      const run = lines();
      ended = `ended with ${run.status} ${run.stderr}`;
      for (const line of run.lines) {
        const [, verdict, rest] = /^(ok|not ok|skip) (.*)$/.exec(line)!;
        const name = verdict === 'ok' ? rest! : names.find((n) => rest!.startsWith(`${n}: `))!;
        results.set(name, verdict === 'ok' ? '' : `${verdict}: ${rest!.slice(name.length + 2)}`);
      }
      expect(names.length).toBeGreaterThan(100);
      expect([...results.keys()], ended).toEqual(names);
    });

    for (const name of names)
      test(name, () => {
        expect(results.get(name) ?? `not reached: the program ${ended}`).toBe('');
      });

    test('answers a wrong flag with what it expects', () => {
      const { status, stderr } = lines('--bnech');
      expect(status).toBe(2);
      expect(stderr).toContain("received '--bnech'");
    });

    test('a device that is not there is skipped, case by case, with the reason', () => {
      const run = lines('--device', 'cuda:99', '--filter', 'rmsnorm f32 t=3 h=7');
      expect(run.status).toBe(0);
      expect(run.lines.length).toBeGreaterThan(0);
      for (const line of run.lines)
        expect(line).toMatch(/^skip .*: cuda:99 is none of the devices/);
    });
  });
