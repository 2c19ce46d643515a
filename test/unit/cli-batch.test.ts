import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readTasks } from '../../lib/cli/batch/input.js';
import { isBlank, readLines } from '../../lib/cli/batch/lines.js';
import { type ResultLine, resultLine } from '../../lib/cli/batch/output.js';
import { run, TestContext } from './cli-context.js';
import { bytesOf, collect, type Fake, fakeEngine, imEnd } from './fake-engine.js';

let folder: string;
let input: string;
let output: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hotpath-batch-'));
  input = join(folder, 'in.jsonl');
  output = join(folder, 'out.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

const request = (id: string, prompt = id) => ({
  custom_id: id,
  method: 'POST',
  url: '/v1/completions',
  body: { prompt, max_tokens: 4 },
});

function writeInput(...lines: unknown[]): void {
  const texts = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line)));
  writeFileSync(input, `${texts.join('\n')}\n`);
}

const results = () =>
  readFileSync(output, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as ResultLine);
const success = (id: string) =>
  resultLine({
    custom_id: id,
    response: { status_code: 200, request_id: 'req_1', body: { from: 'earlier' } },
    error: null,
  });
const failure = (id: string) =>
  resultLine({
    custom_id: id,
    response: { status_code: 400, request_id: 'req_1', body: { error: {} } },
    error: null,
  });

/** Answers every request with its own prompt. */
async function echo(): Promise<Fake> {
  const fake = await fakeEngine();
  fake.native.onSubmit = ({ id, promptIds }) => {
    setImmediate(() => {
      fake.native.send(id, { tokens: [...promptIds] });
      fake.native.send(id, { tokens: [imEnd], finish: 'stop' });
    });
  };
  return fake;
}

async function batch(fake: Fake | null, ...flags: string[]) {
  const context = new TestContext();
  if (fake !== null) context.engine = async () => fake.engine;
  const code = await run(context, ['batch', 'm', input, output, '--quiet', ...flags]);
  return { code, err: context.err.text, loaded: context.loaded.length };
}

describe('lines', () => {
  test('of any length, wherever the file is read in pieces', async () => {
    const texts = ['', 'a', 'é'.repeat(70_000), '', 'x'.repeat(200_000), 'end'];
    writeFileSync(input, texts.join('\n'));
    const lines = await collect(readLines(input));
    expect(lines.map(({ bytes }) => bytes.toString())).toEqual(texts);
    expect(lines.map(({ ended }) => ended)).toEqual([true, true, true, true, true, false]);
    const all = readFileSync(input);
    for (const { start, bytes } of lines)
      expect(all.subarray(start, start + bytes.length).equals(bytes)).toBe(true);
  });

  test('blank ones', async () => {
    writeFileSync(input, ' \t\r\n\n x');
    expect((await collect(readLines(input))).map(isBlank)).toEqual([true, true, false]);
  });
});

test('input: what is no request is refused with its line number', async () => {
  const invalid = Buffer.concat([
    Buffer.from('\n{"custom_id":"'),
    Buffer.from([0xff]),
    Buffer.from('"}\n'),
  ]);
  writeFileSync(
    input,
    Buffer.concat([
      Buffer.from(`\ufeff${JSON.stringify(request('a'))}\r\n\n{"custom_id":\n[1]\n`),
      Buffer.from(`${JSON.stringify(request('a'))}\n{"custom_id":""}\n{}\n"text"`),
      invalid,
    ]),
  );
  const tasks = await collect(readTasks(input));
  expect(tasks.map((t) => [t.line, t.kind === 'task' ? t.customId : t.code])).toEqual([
    [1, 'a'],
    [3, 'invalid_json'],
    [4, 'invalid_json'],
    [5, 'duplicate_custom_id'],
    [6, 'invalid_custom_id'],
    [7, 'invalid_custom_id'],
    [8, 'invalid_json'],
    [9, 'invalid_json'],
  ]);
  for (const task of tasks)
    if (task.kind === 'refusal') expect(task.message).toMatch(new RegExp(`^Line ${task.line}: `));
});

describe('a run', () => {
  test('answers every line once, in OpenAI’s form', async () => {
    writeInput(request('a', 'one'), {
      custom_id: 'b',
      method: 'POST',
      url: '/v1/chat/completions',
      body: { messages: [{ role: 'user', content: 'two' }], model: 'named' },
    });
    const { code } = await batch(await echo());
    expect(code).toBe(0);
    const byId = new Map(results().map((result) => [result.custom_id, result]));
    expect([...byId.keys()].sort()).toEqual(['a', 'b']);
    const a = byId.get('a')!;
    expect(a).toMatchObject({
      id: expect.stringMatching(/^batch_req_[0-9a-f]{24}$/),
      response: { status_code: 200, request_id: expect.stringMatching(/^req_/) },
      error: null,
    });
    expect(a.response!.body).toMatchObject({
      object: 'text_completion',
      choices: [{ text: 'one' }],
    });
    expect(byId.get('b')!.response!.body).toMatchObject({
      object: 'chat.completion',
      model: 'named',
    });
  });

  test('never has more in flight than it is told', async () => {
    const ids = Array.from({ length: 20 }, (_, i) => `r${i}`);
    writeInput(...ids.map((id) => request(id)));
    const fake = await echo();
    const answer = fake.native.onSubmit!;
    let most = 0;
    let asked = 0;
    const waiting: Parameters<typeof answer>[0][] = [];
    // Nothing is answered before three wait for it.
    fake.native.onSubmit = (submitted) => {
      most = Math.max(most, fake.native.live.size);
      waiting.push(submitted);
      if (++asked === ids.length || waiting.length === 3)
        for (const one of waiting.splice(0)) answer(one);
    };
    expect((await batch(fake, '--concurrency', '3')).code).toBe(0);
    expect(most).toBe(3);
    expect(
      results()
        .map((r) => r.custom_id)
        .sort(),
    ).toEqual([...ids].sort());
  });

  test('failed requests are results too, and the exit code is 1', async () => {
    writeInput(
      request('good'),
      { ...request('hot'), body: { prompt: 'x', temperature: -1 } },
      { ...request('get'), method: 'GET' },
      { ...request('url'), url: '/v1/embeddings' },
      { ...request('stream'), body: { prompt: 'x', stream: true } },
      { custom_id: 'empty', method: 'POST', url: '/v1/completions' },
      'nonsense',
      request('good', 'again'),
    );
    const { code, err } = await batch(await echo());
    expect(code).toBe(1);
    expect(err).toMatch(/1 succeeded, 7 failed/);
    const status = new Map(
      results().map((r) => [
        r.error?.line ?? r.custom_id,
        r.response?.status_code ?? r.error?.code,
      ]),
    );
    expect(Object.fromEntries(status)).toEqual({
      good: 200,
      hot: 400,
      get: 405,
      url: 404,
      stream: 400,
      empty: 400,
      7: 'invalid_json',
      8: 'duplicate_custom_id',
    });
    const hot = results().find((r) => r.custom_id === 'hot')!;
    expect(hot.response!.body).toMatchObject({
      error: { type: 'invalid_request_error', code: 'invalid_value', param: 'temperature' },
    });
  });
});

describe('a second run', () => {
  test('asks for what is missing only, and cuts off half a line', async () => {
    writeInput(request('a'), request('b'), request('c'));
    const half = success('c').slice(0, -20);
    writeFileSync(output, success('b') + half);
    const fake = await echo();
    const { code, err } = await batch(fake);
    expect(code).toBe(0);
    expect(err).toMatch(new RegExp(`ended in half a line: its ${half.length} bytes were cut off`));
    // Two at a time, in whatever order they are tokenised and answered.
    const asked = fake.native.submitted.map(({ promptIds }) => String([...promptIds]));
    expect(asked.sort()).toEqual([String(bytesOf('a')), String(bytesOf('c'))]);
    const [kept, ...others] = results().map((r) => r.custom_id);
    expect(kept).toBe('b');
    expect(others.sort()).toEqual(['a', 'c']);
    expect(results()[0]!.response!.body).toEqual({ from: 'earlier' });
  });

  test('wherever the last line was cut', async () => {
    writeInput(request('a'));
    const line = success('a');
    for (let length = 1; length < line.length; length += 7) {
      writeFileSync(output, line.slice(0, length));
      expect((await batch(await echo())).code).toBe(0);
      expect(results()).toHaveLength(1);
      expect(results()[0]!.response!.body).not.toEqual({ from: 'earlier' });
    }
  });

  test('with nothing missing loads no model and changes nothing', async () => {
    writeInput('nonsense', request('a'), request('a'));
    await batch(await echo());
    const before = readFileSync(output, 'utf8');
    const { code, loaded, err } = await batch(null);
    expect({ code, loaded }).toEqual({ code: 1, loaded: 0 });
    expect(err).toMatch(/All 3 requests were answered already, 2 of them failed/);
    expect(readFileSync(output, 'utf8')).toBe(before);
  });

  test('a refused line that was mended is missing again', async () => {
    writeInput('nonsense');
    await batch(await echo());
    writeInput(request('a'));
    await batch(await echo());
    expect(results().map((r) => r.custom_id)).toEqual([null, 'a']);
  });

  test('--retry-failed asks the failed ones again', async () => {
    writeInput(request('a'), request('b'));
    writeFileSync(output, failure('a') + success('b'));
    expect((await batch(await echo())).code).toBe(1);
    const { code } = await batch(await echo(), '--retry-failed');
    expect(code).toBe(0);
    expect(results().map((r) => [r.custom_id, r.response!.status_code])).toEqual([
      ['b', 200],
      ['a', 200],
    ]);
  });
});

describe('a run that ends early', () => {
  test('a signal: what is in flight is given up and stays missing, 130', async () => {
    writeInput(request('a'), request('b'), request('c'));
    const fake = await echo();
    const answer = fake.native.onSubmit!;
    const context = new TestContext();
    context.engine = async () => fake.engine;
    fake.native.onSubmit = (submitted) => {
      if (submitted.promptIds[0] !== 'b'.charCodeAt(0)) return answer(submitted);
      setImmediate(() => context.signal('SIGINT'));
    };
    const args = ['batch', 'm', input, output, '--quiet', '--concurrency', '1'];
    expect(await run(context, args)).toBe(130);
    expect(results().map((r) => r.custom_id)).toEqual(['a']);
    expect(fake.native.aborted).toHaveLength(1);
    expect(context.err.text).toMatch(/Interrupted: 1 succeeded/);
    expect(context.listening).toBe(0);
    expect((await batch(await echo())).code).toBe(0);
    expect(
      results()
        .map((r) => r.custom_id)
        .sort(),
    ).toEqual(['a', 'b', 'c']);
  });

  test('a second signal ends the process at once', async () => {
    writeInput(request('a'));
    const fake = await fakeEngine();
    const context = new TestContext();
    context.engine = async () => fake.engine;
    fake.native.onSubmit = () =>
      setImmediate(() => {
        context.signal('SIGTERM');
        context.signal('SIGTERM');
      });
    expect(await run(context, ['batch', 'm', input, output, '--quiet'])).toBe(130);
    expect(context.exits).toEqual([130]);
  });

  test('an engine that failed: an error, and no lines for what it could not answer', async () => {
    writeInput(request('a'), request('b'), request('c'));
    const fake = await echo();
    const answer = fake.native.onSubmit!;
    fake.native.onSubmit = (submitted) => {
      if (submitted.promptIds[0] !== 'b'.charCodeAt(0)) return answer(submitted);
      const error = { code: 'engine_failed', message: 'The device is lost.' };
      setImmediate(() => fake.native.send(submitted.id, { error }));
    };
    const { code, err } = await batch(fake, '--concurrency', '1');
    expect(code).toBe(1);
    expect(err).toBe('error: The device is lost.\n');
    expect(results().map((r) => r.custom_id)).toEqual(['a']);
  });
});

describe('files that are none', () => {
  test('an output of something else is left as it is', async () => {
    writeInput(request('a'));
    for (const text of ['important\n', 'important', '{"id":"x"}\n', `${success('b')}\n{}\n`]) {
      writeFileSync(output, text);
      const { code, err, loaded } = await batch(null);
      expect({ code, loaded }).toEqual({ code: 1, loaded: 0 });
      expect(err).toMatch(/expected a result of an earlier batch run/);
      expect(readFileSync(output, 'utf8')).toBe(text);
    }
  });

  test('the input as output, no input, a folder', async () => {
    writeInput(request('a'));
    const context = new TestContext();
    expect(await run(context, ['batch', 'm', input, input])).toBe(2);
    expect(context.err.text).toMatch(/same file/);
    rmSync(input);
    expect((await batch(null)).err).toMatch(/Cannot read .*there is no such file/);
    input = folder;
    expect((await batch(null)).err).toMatch(/Cannot read .*it is a folder/);
  });
});
