/** `npm start` as a user meets it: with a prompt, with a pipe, with nothing, with mistakes. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { device, test } from '../device.js';

const script = fileURLToPath(new URL('../../dist/cli/start.js', import.meta.url));

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** What starts the program on the device under test; a later --device counts instead. */
const command = [script, '--device', device];

/** @param input written to stdin, which is then closed; null: /dev/null */
function start(args: string[], input: string | null = null): Promise<Result> {
  return new Promise((resolve, reject) => {
    const stdin = input === null ? 'ignore' : 'pipe';
    const child = spawn(process.execPath, [...command, ...args], {
      stdio: [stdin, 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout!.on('data', (data: Buffer) => {
      stdout += data.toString();
    });
    child.stderr!.on('data', (data: Buffer) => {
      stderr += data.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin?.end(input);
  });
}

test('a prompt is answered once', async () => {
  const { code, stdout, stderr } = await start(["How many r's are in 'strawberry'?"]);
  expect(code).toBe(0);
  expect(stdout.trim().length).toBeGreaterThan(0);
  expect(stderr).toMatch(/^Loading pocket \.\.\. 8\.\d MB in \d+\.\d s\n$/);
  // Not a terminal: no codes.
  expect(stdout).not.toContain('\u001b');
});

test('words without quotes are one prompt, and flags reach the request', async () => {
  const args = ['What', 'is', '467', '+', '385?', '--temperature', '1', '--seed', '7'];
  // One after the other: each would take most of a GPU's memory.
  const first = await start(args);
  const second = await start(args);
  const other = await start([...args, '--max-tokens', '1']);
  expect(first.stdout).toBe(second.stdout);
  expect(other.stdout.length).toBeLessThan(first.stdout.length);
});

test('without thinking', async () => {
  const { stdout } = await start(['--no-thinking', 'Hello!']);
  expect(stdout).not.toContain('<think>');
});

test('every line of a pipe is answered, empty ones are skipped', async () => {
  const { code, stdout } = await start(['--max-tokens', '1'], 'Hello!\n\nWho are you?\r\nThanks!');
  expect(code).toBe(0);
  expect(stdout.match(/ \(cut off: no tokens left\)\n/g)).toHaveLength(3);
});

test('a pipe longer than the context lets old turns go', async () => {
  const line = `${'What is the capital of France? '.repeat(12)}\n`;
  const { code, stdout, stderr } = await start(['--max-tokens', '2'], line.repeat(15));
  expect(stderr).not.toMatch(/context/);
  expect(code).toBe(0);
  expect(stdout.split('\n').length).toBeGreaterThanOrEqual(15);
});

test.each([
  ['/dev/null', null],
  ['a closed pipe', ''],
])('with %s it shows what it can do', async (_, input) => {
  const { code, stdout } = await start([], input);
  expect(code).toBe(0);
  expect(stdout.match(/^> .+$/gm)!.length).toBeGreaterThan(3);
});

test('mistakes: one line that says what to do, and 1', async () => {
  const missing = await start(['--model', '/nowhere/at/all', 'x']);
  expect(missing.code).toBe(1);
  expect(missing.stderr).toMatch(/\/nowhere\/at\/all/);
  expect(missing.stderr).not.toMatch(/\n {4}at /);
  const flag = await start(['--temprature', '1', 'x']);
  expect(flag.code).toBe(1);
  expect(flag.stderr).toMatch(/unknown option '--temprature'/);
  expect(flag.stderr).toMatch(/Did you mean --temperature/);
  const number = await start(['--seed', 'x', 'hi']);
  expect(number.stderr).toMatch(/expected a number, received 'x'/);
  const unknown = await start(['--device', 'gpu', 'x']);
  expect(unknown.stderr).toMatch(/device must be 'auto', 'cpu'/);
  const long = await start(['x '.repeat(3000)]);
  expect(long.code).toBe(1);
  expect(long.stderr).toMatch(/context length/);
});

test('a pipe that nobody writes to or closes does not hang', async () => {
  const child = spawn(process.execPath, command, { stdio: ['pipe', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  const code = await new Promise((resolve) => {
    child.on('close', resolve);
  });
  expect(code).toBe(0);
  expect(stderr).toMatch(/Nothing on stdin/);
  expect(stdout).toMatch(/^> .+$/m);
});

test('a reader that goes away is no error', async () => {
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  child.stdout.once('data', () => child.stdout.destroy());
  const code = await new Promise((resolve) => {
    child.on('close', resolve);
  });
  expect(code).toBe(0);
  expect(stderr).not.toMatch(/Error/);
});
