/**
 * The process, or a worker, ends while engines live: nothing may hang, crash or be lost. Every scenario runs
 * several times in child processes, because what it looks for are races.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { test } from '../device.js';

const script = fileURLToPath(new URL('fixtures/exit.mjs', import.meta.url));
const runs = 5;
/** Far above what a run takes on a loaded machine: reaching it means a hang. */
const hangAfterMs = 60_000;

interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

function run(scenario: string, onOutput?: (kill: (signal: NodeJS.Signals) => void) => void) {
  return new Promise<Outcome>((resolve, reject) => {
    const child = spawn(process.execPath, ['--expose-gc', script, scenario]);
    let [stdout, stderr, hung] = ['', '', false];
    const guard = setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, hangAfterMs);
    child.stdout.on('data', (chunk: Buffer) => {
      if (stdout === '') onOutput?.((signal) => child.kill(signal));
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(guard);
      if (hung) reject(new Error(`${scenario} hangs; stdout: ${stdout}; stderr: ${stderr}`));
      else resolve({ code, signal, stdout, stderr });
    });
  });
}

const sigint = (kill: (signal: NodeJS.Signals) => void) => kill('SIGINT');

test.each<[string, Partial<Outcome>, typeof sigint?]>([
  ['process.exit', { code: 7 }],
  ['process.exit while loading', { code: 7 }],
  ['signal by default', { signal: 'SIGINT', code: null, stdout: 'generating\n' }, sigint],
  ['signal handled', { code: 130, stdout: 'generating\n' }, sigint],
  ['callback throws, handled', { code: 0, stdout: 'uncaught: mine\nclosed\n' }],
  ['callback throws', { code: 1, stderr: expect.stringContaining('Error: mine') as string }],
  ['natural exit, never used', { code: 0, stdout: 'loaded\n' }],
  ['natural exit, all finished', { code: 0, stdout: 'end 1\n' }],
  ['natural exit, aborted', { code: 0 }],
  ['close keeps the process until it is done', { code: 0, stdout: 'closed\n' }],
  ['worker terminated', { code: 0, stdout: 'done\n' }],
  ['worker terminated, main without the addon', { code: 0, stdout: 'done\n' }],
  ['worker terminated while loading', { code: 0, stdout: 'done\n' }],
  [
    'worker calls process.exit beside main',
    { code: 0, stdout: `${'worker 5\n'.repeat(3)}main, after its workers: true\n` },
  ],
  ['process.exit beside a working worker', { code: 7 }],
  ['engine collected', { code: 0, stdout: 'done\n' }],
])(`%s, ${runs} times`, { timeout: runs * hangAfterMs }, async (scenario, expected, onOutput) => {
  const complete = { code: null, signal: null, stdout: '', stderr: '', ...expected };
  for (let i = 0; i < runs; i++) expect(await run(scenario, onOutput)).toEqual(complete);
});
