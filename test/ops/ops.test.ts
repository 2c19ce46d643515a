/** The native case table, one test per case: build/Release/hotpath_ops says which there are and how they went. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../build/Release/hotpath_ops', import.meta.url));

function lines(...args: string[]): { status: number | null; lines: string[]; stderr: string } {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return { status, lines: stdout.split('\n').filter((line) => line !== ''), stderr };
}

const built = existsSync(program);

describe('ops', () => {
  it('has its program', () => {
    expect(built, `${program} is missing: run npm run build:native`).toBe(true);
  });
  if (!built) return;

  const names = lines('--list').lines;
  const results = new Map<string, string>();
  let ended = '';

  it('runs every case on every instruction set of this machine', { timeout: 300_000 }, () => {
    const run = lines();
    ended = `ended with ${run.status} ${run.stderr}`;
    for (const line of run.lines) {
      const [, verdict, rest] = /^(ok|not ok) (.*)$/.exec(line)!;
      const name = verdict === 'ok' ? rest! : names.find((n) => rest!.startsWith(`${n}: `))!;
      results.set(name, verdict === 'ok' ? '' : rest!.slice(name.length + 2));
    }
    expect(names.length).toBeGreaterThan(100);
    expect([...results.keys()], ended).toEqual(names);
  });

  for (const name of names)
    it(name, () => {
      expect(results.get(name) ?? `not reached: the program ${ended}`).toBe('');
    });

  it('answers a wrong flag with what it expects', () => {
    const { status, stderr } = lines('--bnech');
    expect(status).toBe(2);
    expect(stderr).toContain("received '--bnech'");
  });
});
