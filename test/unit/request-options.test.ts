/** Options of Engine.load: names, values, devices, the KV cache's size, generation_config.json. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chooseDevice } from '../../lib/engine/device.js';
import { loadParts } from '../../lib/engine/load.js';
import { kvBytesPerToken, planCache } from '../../lib/engine/memory.js';
import type { ModelSpec } from '../../lib/models/spec.js';
import type {
  NativeBinding,
  NativeDeviceInfo,
  NativeEngine,
  NativeEngineOptions,
} from '../../lib/native.js';
import { type LoadOptions, parseLoadOptions } from '../../lib/options.js';
import { FakeNative } from './fake-engine.js';

const config = {
  architectures: ['Qwen2ForCausalLM'],
  model_type: 'qwen2',
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 512,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  eos_token_id: 5,
};
/** Keys and values, two layers, two heads of 16, two bytes each. */
const bytesPerToken = 2 * 2 * 2 * 16 * 2;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hotpath-options-'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
});
afterAll(() => rmSync(folder, { recursive: true }));

const cpu: NativeDeviceInfo = {
  kind: 'cpu',
  index: 0,
  name: 'test CPU',
  totalBytes: 2 ** 34,
  freeBytes: 2 ** 33,
  detail: 'plain',
  unavailable: null,
};
const gpu = (index: number, unavailable: string | null): NativeDeviceInfo => ({
  ...cpu,
  kind: 'cuda',
  index,
  name: 'test GPU',
  unavailable,
});

interface Loaded {
  options: NativeEngineOptions;
  native: FakeNative;
  parts: Awaited<ReturnType<typeof loadParts>>;
}

async function load(
  options: LoadOptions,
  devices = [cpu],
  create?: () => Promise<NativeEngine>,
): Promise<Loaded> {
  const native = new FakeNative();
  let seen: NativeEngineOptions | undefined;
  const binding: NativeBinding = {
    version: '0',
    devices: () => devices,
    createEngine: async (_spec, _tensors, nativeOptions, _onDelivery, onProgress) => {
      seen = nativeOptions;
      onProgress?.(3, 6);
      return create ? create() : native;
    },
  };
  const parts = await loadParts(folder, { loadFormat: 'dummy', ...options }, () => binding);
  return { options: seen!, native, parts };
}

test('defaults', async () => {
  const { options, parts } = await load({});
  expect(options).toEqual({
    device: 'cpu',
    numThreads: 0,
    maxRunningSeqs: 64,
    maxBatchTokens: 512,
    maxModelLen: 4096,
    blockSize: 16,
    // At least 64 MiB, which is more than four sequences here.
    kvCacheBytes: 64 * 2 ** 20,
    memoryShare: 0.5,
    kvCacheDtype: 'bf16',
    activationDtype: 'auto',
    prefixCaching: true,
    captureRoutedExperts: false,
    jumpForward: false,
    vocabulary: null,
    dummyWeights: { dtype: 'bf16', seed: 0 },
  });
  expect(parts.text).toBe(null);
  expect(parts.facts).toMatchObject({ vocabSize: 512, maxModelLen: 4096, eosTokenIds: [5] });
});

describe('on CUDA', () => {
  const cuda = gpu(0, null);

  test('defaults: more per step, and native code sizes the KV cache', async () => {
    const { options, parts } = await load({}, [cpu, cuda]);
    expect(options).toMatchObject({
      device: 'cuda:0',
      maxRunningSeqs: 256,
      maxBatchTokens: 8192,
      maxModelLen: 4096,
      kvCacheBytes: 0,
      memoryShare: 0.9,
      kvCacheDtype: 'bf16',
      activationDtype: 'auto',
    });
    expect(parts.device).toBe('cuda:0');
    // The fake's cache has eight blocks: requests are no longer than it holds.
    expect(parts.facts.maxModelLen).toBe(8 * 16);
  });

  test('computeDtype is handed on, and the KV cache follows it unless told otherwise', async () => {
    const of = async (options: LoadOptions) => {
      const { activationDtype, kvCacheDtype } = (await load(options, [cuda])).options;
      return [activationDtype, kvCacheDtype];
    };
    expect(await of({ computeDtype: 'f16' })).toEqual(['f16', 'f16']);
    expect(await of({ computeDtype: 'f32', kvCacheDtype: 'bf16' })).toEqual(['f32', 'bf16']);
    expect(await of({ computeDtype: 'auto' })).toEqual(['auto', 'bf16']);
    expect((await load({ computeDtype: 'f16' })).options.kvCacheDtype).toBe('bf16');
  });

  test('the log says what the cache has come to', async () => {
    const lines: string[] = [];
    const logger = { info: (m: string) => lines.push(m), warn: (m: string) => lines.push(m) };
    await load({ logger }, [cuda]);
    expect(lines).toEqual([
      expect.stringMatching(/^maxModelLen is 128, not the checkpoint's 4096, with a KV cache of/),
      expect.stringMatching(/on cuda:0 \(test GPU\)/),
    ]);
  });
});

test('everything is handed on', async () => {
  const given = {
    numThreads: 3,
    maxRunningSeqs: 4,
    maxBatchTokens: 100,
    maxModelLen: 200,
    blockSize: 8,
    prefixCaching: false,
    captureRoutedExperts: true,
  };
  const { options, parts } = await load({
    ...given,
    kvCacheBytes: 2 ** 20,
    kvCacheDtype: 'f32',
    dtype: 'f16',
    servedModelName: 'mine',
  });
  expect(options).toMatchObject({ ...given, kvCacheBytes: 2 ** 20, kvCacheDtype: 'f32' });
  expect(options.dummyWeights!.dtype).toBe('f16');
  expect(parts.servedName).toBe('mine');
});

test('progress, the log, and errors of native code', async () => {
  const seen: unknown[] = [];
  const lines: string[] = [];
  const logger = { info: (m: string) => lines.push(m), warn: (m: string) => lines.push(`! ${m}`) };
  await load({ onProgress: (p) => seen.push(p), logger, kvCacheBytes: 100 * bytesPerToken });
  expect(seen).toEqual([{ phase: 'load', bytesDone: 3, bytesTotal: 6 }]);
  expect(lines[0]).toMatch(/^! maxModelLen is 96, not the checkpoint's 4096/);
  expect(lines[1]).toMatch(/on cpu \(test CPU\)/);
  const failing = () =>
    Promise.reject(Object.assign(new Error('no room'), { code: 'out_of_memory' }));
  await expect(load({}, [cpu], failing)).rejects.toMatchObject({
    name: 'EngineError',
    code: 'out_of_memory',
    status: 503,
  });
});

test('a signal during the load closes what was loaded', async () => {
  const controller = new AbortController();
  const native = new FakeNative();
  const loading = load({ signal: controller.signal }, [cpu], async () => {
    controller.abort(new Error('changed my mind'));
    return native;
  });
  await expect(loading).rejects.toThrow('changed my mind');
  expect(native.closed).toBe(true);
});

describe('generation_config.json', () => {
  const facts = async (file: unknown, options: LoadOptions = {}) => {
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(file));
    try {
      return (await load(options)).parts.facts;
    } finally {
      rmSync(join(folder, 'generation_config.json'));
    }
  };

  test('gives defaults and EOS ids', async () => {
    const file = { temperature: 0.6, top_k: 0, top_p: 0.9, eos_token_id: [7, 8], max_length: 9 };
    expect(await facts(file)).toMatchObject({
      samplingDefaults: { temperature: 0.6, top_k: -1, top_p: 0.9 },
      eosTokenIds: [7, 8],
    });
    expect((await facts(file, { samplingDefaults: 'openai' })).samplingDefaults).toEqual({});
  });

  test('do_sample: false is greedy', async () => {
    const file = { do_sample: false, temperature: 0.9 };
    expect((await facts(file)).samplingDefaults).toEqual({ temperature: 0 });
  });

  test('a value that no request may have is an error that names it', async () => {
    await expect(facts({ top_p: 7 })).rejects.toMatchObject({
      code: 'config_unsupported',
      message:
        "generation_config.json: top_p must be in (0, 1], got 7. Correct the file, or load with samplingDefaults: 'openai'.",
    });
  });
});

describe('devices', () => {
  const broken = gpu(0, 'no driver');
  test.each([
    ['auto', [cpu], cpu],
    ['auto', [cpu, broken], cpu],
    ['auto', [cpu, broken, gpu(1, null)], gpu(1, null)],
    ['cpu', [gpu(0, null), cpu], cpu],
    ['cuda', [cpu, broken, gpu(1, null)], gpu(1, null)],
    ['cuda:1', [gpu(0, null), gpu(1, null)], gpu(1, null)],
  ])('%s', (wanted, devices, expected) => {
    expect(chooseDevice(devices, wanted)).toEqual(expected);
  });

  test.each([
    ['cuda', [cpu, broken]],
    ['cuda:0', [cpu, broken, gpu(1, null)]],
    ['cuda:2', [cpu, gpu(1, null)]],
    ['cpu', []],
  ])('%s that cannot be used is an error that says why', (wanted, devices) => {
    try {
      chooseDevice(devices, wanted);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'device_unavailable', status: 503, param: 'device' });
      if (devices.includes(broken)) expect(String(error)).toMatch(/no driver/);
    }
  });

  test('an addon without the CUDA back end is told apart from a machine without a GPU', () => {
    expect(() => chooseDevice([cpu], 'cuda')).toThrow(/no CUDA back end.*npm run build:cuda/);
    expect(() => chooseDevice([cpu, broken], 'cuda')).not.toThrow(/no CUDA back end/);
  });
});

describe('the KV cache', () => {
  const layer = {
    mixer: { numKvHeads: 2, headDim: 16 },
    ffn: { kind: 'dense' },
  };
  const spec = { maxPosition: 4096, layers: [layer, layer] } as unknown as ModelSpec;
  const weights = { bytes: 1e6, dtype: 'bf16' as const };
  const device = (freeBytes: number, kind: 'cpu' | 'cuda' = 'cpu') => ({ kind, freeBytes });
  const plan = (options: LoadOptions, free = 2 ** 33) =>
    planCache(spec, weights, device(free), options);

  test('bytes per token', () => {
    expect(kvBytesPerToken(spec, 'bf16')).toBe(bytesPerToken);
    expect(kvBytesPerToken(spec, 'f32')).toBe(2 * bytesPerToken);
  });

  test('four sequences, where that is more than 64 MiB', () => {
    const long = { ...spec, maxPosition: 2 ** 20 };
    const { kvCacheBytes, maxModelLen } = planCache(long, weights, device(2 ** 40), {});
    expect(kvCacheBytes).toBe(4 * 2 ** 20 * bytesPerToken);
    expect(maxModelLen).toBe(2 ** 20);
  });

  test('never more than half of what is free, and requests no longer than it holds', () => {
    const { kvCacheBytes, maxModelLen } = plan({}, 1e6 + 200_000);
    expect(kvCacheBytes).toBeLessThanOrEqual(100_000);
    expect(maxModelLen).toBe(kvCacheBytes / bytesPerToken);
  });

  test('a share of what is free once weights are loaded, in whole blocks', () => {
    const { kvCacheBytes } = plan({ kvCacheMemoryShare: 0.25 }, 1e6 + 2 ** 30);
    expect(kvCacheBytes).toBe(2 ** 28);
    expect(plan({ kvCacheBytes: 10_000 }).kvCacheBytes).toBe(2 * 16 * bytesPerToken);
  });

  test('on CUDA: settled by native code, requests of at most 32768 tokens unless asked', () => {
    const long = { ...spec, maxPosition: 2 ** 17 };
    const cuda = (options: LoadOptions, free = 2 ** 33) =>
      planCache(long, weights, device(free, 'cuda'), options);
    expect(cuda({})).toMatchObject({ kvCacheBytes: 0, memoryShare: 0.9, maxModelLen: 32_768 });
    expect(cuda({ maxModelLen: 2 ** 17 }).maxModelLen).toBe(2 ** 17);
    expect(cuda({ kvCacheMemoryShare: 0.5 })).toMatchObject({ kvCacheBytes: 0, memoryShare: 0.5 });
    const exact = cuda({ kvCacheBytes: 100 * 16 * bytesPerToken });
    expect(exact).toMatchObject({
      kvCacheBytes: 100 * 16 * bytesPerToken,
      maxModelLen: 1600,
    });
    // Little memory: half of the share is certain, the rest may be working memory.
    expect(cuda({}, 1e6 + 1000 * bytesPerToken).maxModelLen).toBe(28 * 16);
  });

  test('on CUDA: weights that do not fit are refused before they are loaded', () => {
    const refused = () => planCache(spec, weights, device(900_000, 'cuda'), {});
    expect(refused).toThrow(/^Not enough memory/);
    expect(() =>
      planCache(spec, weights, device(1e6 + 2 ** 17, 'cuda'), { maxModelLen: 4000 }),
    ).toThrow(/Pass a smaller maxModelLen/);
  });

  test('too small for what is asked', () => {
    expect(() => plan({ kvCacheBytes: 100 })).toThrow(/^kvCacheBytes: .* Pass more/);
    expect(() => plan({ kvCacheBytes: 2 ** 16, maxModelLen: 1000 })).toThrow(/smaller maxModelLen/);
    expect(() => plan({ maxModelLen: 4097 })).toThrow(/at most 4096/);
    try {
      plan({}, 500_000);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'out_of_memory', status: 503 });
    }
  });
});

test('undefined is absent', () => {
  expect(parseLoadOptions({ device: undefined, kvCacheBytes: undefined })).toEqual({});
  expect(parseLoadOptions(undefined)).toEqual({});
});
