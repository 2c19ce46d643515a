import { describe, expect, test } from 'vitest';
import { hasColours } from '../../lib/cli/context.js';
import { bundledModel } from '../../lib/cli/model.js';
import { errorLine, table } from '../../lib/cli/report.js';
import { EngineError } from '../../lib/index.js';
import { run, TestContext } from './cli-context.js';
import { bytesOf, fakeEngine, imEnd } from './fake-engine.js';

async function withAnswer(text: string) {
  const context = new TestContext();
  const fake = await fakeEngine();
  fake.native.answer({ tokens: bytesOf(text) }, { tokens: [imEnd], finish: 'stop' });
  context.engine = async () => fake.engine;
  return { context, native: fake.native };
}

describe('what is wrong with the command line is one line and 2', () => {
  test.each([
    [
      ['complete', '--temprature', '1'],
      /unknown option '--temprature' \(Did you mean --temperature/,
    ],
    [['serv', 'x'], /unknown command 'serv' \(Did you mean serve/],
    [['serve'], /missing required argument 'MODEL'/],
    [['chat', 'a', 'b'], /too many arguments/],
    [['complete', '--seed', 'x', '--prompt', 'a'], /expected an integer, received 'x'/],
    [['complete', '--device', 'gpu', '--prompt', 'a'], /--device: device must be 'auto', 'cpu'/],
    [['complete', '--maxModelLen', '0', '--prompt', 'a'], /--max-model-len: maxModelLen must be/],
    [['complete', 'm', 'a', '--prompt', 'b'], /given twice/],
    [['complete', '--body', '[1]', '--prompt', 'a'], /--body: expected a JSON object/],
    [['complete', '--body', '{"stream":true}', '--prompt', 'a'], /'stream' is set by the command/],
    [['complete', '--body', '{"n":2}', '--prompt', 'a'], /'n' is set by the command/],
    [['chat', '--tools', '{}'], /--tools: expected a JSON array/],
    [['batch', 'm', 'a', 'b', '--concurrency', '0'], /--concurrency: expected an integer from 1/],
    [['bench', 'm', '--concurrency', '1,0'], /--concurrency: expected an integer from 1/],
    [['serve', 'm', '--port', '99999'], /--port: port must be/],
    [['serve', 'm', '--max-queued-requests', '0'], /--max-queued-requests: maxQueuedRequests must/],
    [['devices', 'x'], /too many arguments/],
  ])('%j', async (args, message) => {
    const context = new TestContext();
    expect(await run(context, args)).toBe(2);
    expect(context.err.text).toMatch(message);
    expect(context.err.text.trimEnd()).not.toContain('\n');
    expect(context.out.text).toBe('');
    // Nothing is loaded for it.
    expect(context.loaded).toEqual([]);
  });

  test('no command: the help, and 2', async () => {
    const context = new TestContext();
    expect(await run(context, [])).toBe(2);
    expect(context.err.text).toMatch(/Usage: hotpath/);
  });
});

test.each([
  [[]],
  [['serve']],
  [['chat']],
  [['complete']],
  [['batch']],
  [['bench']],
  [['tokenize']],
  [['devices']],
])('--help of %j goes to stdout', async (command) => {
  const context = new TestContext();
  expect(await run(context, [...command, '--help'])).toBe(0);
  expect(context.out.text).toMatch(/^Usage: hotpath/);
  expect(context.err.text).toBe('');
});

test('--version', async () => {
  const context = new TestContext();
  expect(await run(context, ['--version'])).toBe(0);
  expect(context.out.text).toMatch(/^\d+\.\d+\.\d+\n$/);
});

describe('complete', () => {
  test('flags reach the engine and the request, in either spelling', async () => {
    const { context, native } = await withAnswer('done');
    const flags = ['--maxModelLen', '64', '--kv-cache-bytes=1MiB', '--no-prefix-caching'];
    const sampling = ['--temperature', '0.5', '--top-k', '7', '--max-tokens', '9', '--seed', '3'];
    expect(await run(context, ['complete', 'm', 'Hi', ...flags, ...sampling])).toBe(0);
    expect(context.loaded[0]!.model).toBe('m');
    expect(context.loaded[0]!.options).toMatchObject({
      maxModelLen: 64,
      kvCacheBytes: 2 ** 20,
      prefixCaching: false,
    });
    expect(Object.keys(context.loaded[0]!.options)).not.toContain('device');
    const { params, promptIds } = native.submitted[0]!;
    expect([...promptIds]).toEqual(bytesOf('Hi'));
    expect(params).toMatchObject({ temperature: 0.5, topK: 7, maxTokens: 9 });
    expect(context.out.text).toBe('done');
    expect(native.closed).toBe(true);
  });

  test('the prompt from stdin, less one newline; the bundled model', async () => {
    const { context, native } = await withAnswer('x');
    expect(await run(context, ['complete'], 'a\n\n')).toBe(0);
    expect(context.loaded[0]!.model).toBe(bundledModel);
    expect([...native.submitted[0]!.promptIds]).toEqual(bytesOf('a\n'));
    // 200 tokens are the fake's context.
    expect(native.submitted[0]!.params.maxTokens).toBe(198);
  });

  test('--json prints the response', async () => {
    const { context } = await withAnswer('x');
    expect(await run(context, ['complete', '--json', '--prompt', 'a', '--body', '{"n":2}'])).toBe(
      0,
    );
    const response = JSON.parse(context.out.text);
    expect(response.choices.map((choice: { text: string }) => choice.text)).toEqual(['x', 'x']);
  });

  test('at a terminal without a prompt', async () => {
    const context = new TestContext();
    context.input.isTTY = true;
    expect(await run(context, ['complete'])).toBe(2);
    expect(context.err.text).toMatch(/There is no prompt/);
  });

  test('--quiet: nothing on stderr; otherwise one line without a terminal', async () => {
    const quiet = await withAnswer('x');
    await run(quiet.context, ['complete', '--prompt', 'a', '--quiet']);
    expect(quiet.context.err.text).toBe('');
    const loud = await withAnswer('x');
    await run(loud.context, ['complete', 'some/model', 'a']);
    expect(loud.context.err.text).toMatch(/^Loading model \.\.\. .* s\n$/);
  });
});

describe('errors', () => {
  const failing = (error: unknown) => {
    const context = new TestContext();
    context.engine = () => Promise.reject(error);
    return context;
  };
  const engineError = new EngineError('No such\n  model.', {
    status: 404,
    type: 'not_found_error',
    code: 'model_not_found',
  });

  test('are the message alone, in one line', async () => {
    const context = failing(engineError);
    expect(await run(context, ['complete', 'm', 'a', '--quiet'])).toBe(1);
    expect(context.err.text).toBe('error: No such model.\n');
  });

  test('with --verbose show where they come from', async () => {
    const context = failing(engineError);
    expect(await run(context, ['complete', 'm', 'a', '--quiet', '--verbose'])).toBe(1);
    expect(context.err.text).toMatch(/cli-program\.test/);
    expect(context.err.text).toMatch(/model_not_found/);
  });

  test('of the request: 1, and the engine is closed', async () => {
    const { context, native } = await withAnswer('x');
    expect(await run(context, ['complete', 'm', 'a', '--temperature', '-1'])).toBe(1);
    expect(context.err.text).toMatch(/error: temperature must be/);
    expect(native.closed).toBe(true);
  });

  test('that are none of ours keep their kind', () => {
    expect(errorLine(new TypeError('x is\nundefined'))).toBe('TypeError: x is undefined');
  });
});

test('colours', () => {
  const out = (isTTY?: boolean) => Object.assign(new TestContext().out, { isTTY });
  expect(hasColours(out(true), {})).toBe(true);
  expect(hasColours(out(true), { NO_COLOR: '' })).toBe(true);
  expect(hasColours(out(true), { NO_COLOR: '1' })).toBe(false);
  expect(hasColours(out(true), { TERM: 'dumb' })).toBe(false);
  expect(hasColours(out(), {})).toBe(false);
});

test('tables: numbers stand right, nothing trails', () => {
  const rows = [
    ['a', '1'],
    ['long name', '1,024.5'],
  ];
  expect(table(['name', 'count'], rows)).toBe(
    'name         count\na                1\nlong name  1,024.5\n',
  );
  expect(table(['name', 'x'], [])).toBe('name  x\n');
});
