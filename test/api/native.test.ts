/** The boundary itself, over a tiny engine with random weights: lib/native.d.ts is what it must keep. */
import { readFileSync } from 'node:fs';
import { afterEach, expect } from 'vitest';
import type { NativeDelivery, NativeEngine } from '../../lib/native.js';
import { describe, test } from '../device.js';
import { createEngine, native, options, params, prompt, spec } from './fixtures/tiny.mjs';

interface Seen {
  tokens: Map<number, number[]>;
  finishes: [id: number, finish: number][];
  deliveries: NativeDelivery[];
}

/** The records of a delivery without logprobs. */
function* records({ ints }: NativeDelivery) {
  for (let at = 0; at < ints.length; ) {
    const [id = 0, , finish = 0, count = 0, , , , experts = 0] = ints.subarray(at, at + 8);
    yield { id, finish, tokens: ints.subarray(at + 8, at + 8 + count) };
    at += 8 + count + experts;
  }
}

const engines: NativeEngine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

/** An engine whose deliveries are kept apart by request; `finished(n)` waits for n requests. */
async function start() {
  const seen: Seen = { tokens: new Map(), finishes: [], deliveries: [] };
  let wake = () => {};
  const engine = await createEngine((delivery) => {
    seen.deliveries.push(delivery);
    for (const { id, finish, tokens } of records(delivery)) {
      seen.tokens.set(id, [...(seen.tokens.get(id) ?? []), ...tokens]);
      if (finish !== 0) seen.finishes.push([id, finish]);
    }
    wake();
  });
  engines.push(engine);
  const finished = async (count: number) => {
    while (seen.finishes.length < count)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  };
  return { engine, seen, finished };
}

/** What a call throws; its `code` and message are checked. */
function thrown(call: () => unknown): { code: string; message: string } {
  try {
    call();
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('expected an exception');
}

test('version and devices', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(native.version).toBe(version);
  const [cpu] = native.devices();
  expect(cpu).toMatchObject({ kind: 'cpu', index: 0, unavailable: null });
  expect(cpu!.totalBytes).toBeGreaterThan(0);
});

describe('createEngine', () => {
  const layer = spec.layers[0]!;
  test.each<[string, unknown[], string]>([
    ['no spec', [], 'spec: expected an object, received nothing'],
    [
      'a field of the wrong type',
      [{ ...spec, hiddenSize: '64' }, [], options],
      'spec.hiddenSize: expected a number, received "64"',
    ],
    [
      'a missing field deep inside',
      [
        { ...spec, layers: [layer, { ...layer, mixer: { ...layer.mixer, rope: {} } }] },
        [],
        options,
      ],
      'spec.layers[1].mixer.rope.theta: expected a number, received nothing',
    ],
    [
      'an unknown kind',
      [{ ...spec, layers: [{ ...layer, ffn: { kind: 'conv' } }] }, [], options],
      'spec.layers[0].ffn.kind: expected "dense" or "moe", received "conv"',
    ],
    [
      'no layers',
      [{ ...spec, layers: [] }, [], options],
      'spec.layers: expected at least one layer',
    ],
    [
      'a tensor without its shape',
      [spec, [{ role: 'embed', name: 'e', file: 'f', offset: 0, bytes: 4, dtype: 'F32' }], options],
      'tensors[0].shape: expected an array, received nothing',
    ],
    [
      'a negative offset',
      [spec, [{ role: 'embed', name: 'e', file: 'f', offset: -1 }], options],
      'tensors[0].offset: expected an integer in [0, 9007199254740991], received -1',
    ],
    [
      'an option out of range',
      [spec, [], { ...options, maxRunningSeqs: 1.5 }],
      'options.maxRunningSeqs: expected an integer in [1, 1048576], received 1.5',
    ],
    ['no callback', [spec, [], options], 'onDelivery: expected a function, received nothing'],
    [
      'a progress callback that is none',
      [spec, [], options, () => {}, 3],
      'onProgress: expected a function, received 3',
    ],
  ])('rejects %s', async (_, args, message) => {
    const create = native.createEngine as (...args: unknown[]) => Promise<NativeEngine>;
    await expect(create(...args)).rejects.toMatchObject({ code: 'invalid_request', message });
  });

  test('rejects with the code of what failed natively', async () => {
    const load = (changed: object) =>
      native.createEngine(spec, [], { ...options, ...changed }, () => {});
    await expect(load({ device: 'cuda:99' })).rejects.toMatchObject({ code: 'device_unavailable' });
    await expect(load({ dummyWeights: null })).rejects.toMatchObject({
      code: 'checkpoint_invalid',
    });
  });

  test('reports bytes that grow up to their total', async () => {
    const seen: [number, number][] = [];
    const engine = await native.createEngine(
      spec,
      [],
      options,
      () => {},
      (done, total) => seen.push([done, total]),
    );
    engines.push(engine);
    const done = seen.map(([bytes]) => bytes);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    const [bytes, total] = seen.at(-1)!;
    expect(bytes).toBe(total);
    expect(total).toBe(engine.stats().weightBytes);
  });
});

describe('submit', () => {
  const raw = (engine: NativeEngine) => engine.submit as (...args: unknown[]) => void;
  test.each<[string, unknown[], string]>([
    ['no id', [], 'id: expected a number, received nothing'],
    ['an id of 0', [0, prompt, params], 'id: expected an integer in [1, 2147483647], received 0'],
    [
      'an id of 2^31',
      [2 ** 31, prompt, params],
      'id: expected an integer in [1, 2147483647], received 2147483648',
    ],
    [
      'a Float64Array',
      [1, new Float64Array(2), params],
      'promptIds: expected an Int32Array, received a typed array of another type',
    ],
    ['an array', [1, [1, 2], params], 'promptIds: expected an Int32Array, received an array'],
    [
      'an empty prompt',
      [1, new Int32Array(0), params],
      'promptIds: expected 1 to 32768 token ids (maxModelLen), received 0',
    ],
    [
      'an id outside the vocabulary',
      [1, Int32Array.of(1, 512), params],
      'promptIds[1]: expected a token id in [0, 512), received 512',
    ],
    [
      'a negative id',
      [1, Int32Array.of(-1), params],
      'promptIds[0]: expected a token id in [0, 512), received -1',
    ],
    ['no params', [1, prompt], 'params: expected an object, received nothing'],
    [
      'a missing parameter',
      [1, prompt, { ...params, topP: undefined }],
      'params.topP: expected a number, received nothing',
    ],
    [
      'NaN',
      [1, prompt, { ...params, temperature: Number.NaN }],
      'params.temperature: expected a finite number, received NaN',
    ],
    [
      'a seed that is no BigInt',
      [1, prompt, { ...params, seed: 1 }],
      'params.seed: expected a BigInt, received 1',
    ],
    [
      'a seed of 65 bits',
      [1, prompt, { ...params, seed: 1n << 64n }],
      'params.seed: expected a BigInt in [0, 2^64), received 18446744073709551616n',
    ],
    [
      'a bias outside the vocabulary',
      [
        1,
        prompt,
        { ...params, logitBiasTokens: Int32Array.of(600), logitBiasValues: Float32Array.of(1) },
      ],
      'params.logitBiasTokens[0]: expected a token id in [0, 512), received 600',
    ],
    [
      'bias lists of two lengths',
      [
        1,
        prompt,
        { ...params, logitBiasTokens: Int32Array.of(5), logitBiasValues: new Float32Array(2) },
      ],
      'params.logitBiasValues: expected 1 values, received 2',
    ],
  ])('refuses %s', async (_, args, message) => {
    const { engine } = await start();
    expect(thrown(() => raw(engine).apply(engine, args))).toMatchObject({
      code: 'invalid_request',
      message,
    });
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  test('refuses an id in use, and takes it again once its last record came', async () => {
    const { engine, seen, finished } = await start();
    engine.submit(1, prompt, params);
    expect(thrown(() => engine.submit(1, prompt, params))).toMatchObject({
      code: 'invalid_request',
      message: 'id: expected one that is not in use, received 1',
    });
    engine.abort(1);
    await finished(1);
    engine.submit(1, prompt, { ...params, maxTokens: 1 });
    await finished(2);
    expect(seen.finishes).toEqual([
      [1, 3],
      [1, 2],
    ]);
  });

  test('an exception of a getter passes through and leaves nothing behind', async () => {
    const { engine, finished } = await start();
    const bad = {
      ...params,
      get seed(): bigint {
        throw new RangeError('mine');
      },
    };
    expect(() => engine.submit(1, prompt, bad)).toThrow(new RangeError('mine'));
    engine.submit(1, prompt, { ...params, maxTokens: 1 });
    await finished(1);
  });

  test('methods need their engine', async () => {
    const { engine } = await start();
    for (const self of [undefined, null, 1, {}, [], native, new Proxy(engine, {})])
      expect(thrown(() => engine.stats.call(self as never))).toMatchObject({
        code: 'invalid_request',
        message: 'this: expected the engine that createEngine returned',
      });
  });
});

describe('deliveries', () => {
  test('every token of every request, once', async () => {
    const { engine, seen, finished } = await start();
    for (let id = 1; id <= 12; id++) engine.submit(id, prompt, { ...params, maxTokens: 20 + id });
    await finished(12);
    for (let id = 1; id <= 12; id++) expect(seen.tokens.get(id)).toHaveLength(20 + id);
    expect(seen.finishes.map(([, finish]) => finish)).toEqual(Array(12).fill(2));
    expect(engine.stats().generatedTokens).toBe(12 * 20 + (12 * 13) / 2);
    // Fresh memory each time: what a receiver keeps is not written again.
    expect(new Set(seen.deliveries.map(({ ints }) => ints.buffer)).size).toBe(
      seen.deliveries.length,
    );
  });

  test('between two of them the event loop gets to its other work', async () => {
    const order: string[] = [];
    let done = () => {};
    const finished = new Promise<void>((resolve) => {
      done = resolve;
    });
    const engine = await createEngine((delivery) => {
      order.push('delivery');
      setImmediate(() => order.push('immediate'));
      // A consumer slower than the engine: a next delivery is always ready by now.
      const until = performance.now() + 3;
      while (performance.now() < until);
      for (const { finish } of records(delivery)) if (finish !== 0) done();
    });
    engines.push(engine);
    engine.submit(1, prompt, { ...params, maxTokens: 300 });
    await finished;
    expect(order.filter((what) => what === 'delivery').length).toBeGreaterThan(2);
    for (let i = 1; i < order.length; i++)
      if (order[i] === 'delivery') expect(order[i - 1]).toBe('immediate');
  });
});

describe('close', () => {
  test('aborts what runs, delivers that first, and may be called again', async () => {
    const { engine, seen } = await start();
    for (let id = 1; id <= 12; id++) engine.submit(id, prompt, params);
    await Promise.all([engine.close(), engine.close()]);
    expect(seen.finishes.map(([id]) => id).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
    expect(seen.finishes.every(([, finish]) => finish === 3)).toBe(true);
    await engine.close();
    const stats = engine.stats();
    expect(stats).toMatchObject({ running: 0, waiting: 0, requestsAborted: 12, failure: null });
    expect(stats.blocksFree + stats.blocksCached).toBe(stats.blocksTotal);
  });

  test('afterwards submit throws engine_closed, abort and stats do nothing', async () => {
    const { engine } = await start();
    await engine.close();
    expect(thrown(() => engine.submit(1, prompt, params)).code).toBe('engine_closed');
    engine.abort(1);
    expect(engine.stats().running).toBe(0);
  });
});
