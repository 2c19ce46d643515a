import { mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../lib/weights/index.js';
import {
  copyOf,
  editJson,
  goldenFolder,
  loadFailure,
  readParts,
  rewrite,
  tempFolder,
} from './weights-fixtures.js';

const open = (model: string) => openCheckpoint(model, { loadFormat: 'auto', offline: true });
const dummy = (model: string) => openCheckpoint(model, { loadFormat: 'dummy', offline: true });

describe('a folder', () => {
  test('is described, and every role points at its bytes', async () => {
    const folder = goldenFolder('llama-rope3');
    const checkpoint = await open(folder);
    expect(checkpoint).toMatchObject({
      folder,
      name: 'llama-rope3',
      generationConfig: null,
      weightDtype: 'bf16',
      eosTokenIds: [2],
      config: { model_type: 'llama' },
      spec: { family: 'llama', hiddenSize: 48, vocabSize: 160, maxPosition: 512 },
    });
    const file = join(folder, 'model.safetensors');
    const { header, data } = readParts(file);
    const q = checkpoint.tensors.find((t) => t.role === 'layers.1.attn.q')!;
    const entry = header['model.layers.1.self_attn.q_proj.weight']!;
    expect(q).toMatchObject({ file, dtype: 'BF16', shape: [48, 48], bytes: 48 * 48 * 2 });
    const dataStart = q.offset - entry.data_offsets[0];
    expect(checkpoint.tensors.reduce((sum, t) => sum + t.bytes, dataStart)).toBe(
      dataStart + data.length,
    );
  });

  test('may be relative, sharded, and of mixed dtypes', async () => {
    const sharded = await open(relative(process.cwd(), goldenFolder('mistral-window')));
    expect(new Set(sharded.tensors.map((t) => basename(t.file))).size).toBe(3);
    const mixed = await open(goldenFolder('qwen3-types'));
    expect(mixed.weightDtype).toBe('bf16');
    expect(new Set(mixed.tensors.map((t) => t.dtype))).toEqual(new Set(['BF16', 'F32']));
  });

  test('takes EOS ids from generation_config.json first', async () => {
    const folder = copyOf('llama-bias');
    writeFileSync(join(folder, 'generation_config.json'), '{"eos_token_id": [7, 8, 7]}');
    expect((await open(folder)).eosTokenIds).toEqual([7, 8]);
    writeFileSync(join(folder, 'generation_config.json'), '{"temperature": 0.5}');
    expect(await open(folder)).toMatchObject({
      eosTokenIds: [2],
      generationConfig: { temperature: 0.5 },
    });
    editJson(join(folder, 'config.json'), (c) => delete c.eos_token_id);
    expect((await open(folder)).eosTokenIds).toEqual([]);
  });

  test('buffers that old exporters stored are ignored', async () => {
    const folder = copyOf('llama-bias');
    rewrite(join(folder, 'model.safetensors'), (tensors) => {
      const inv = { dtype: 'F32', shape: [8], data: Buffer.alloc(32) };
      tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', inv);
    });
    expect((await open(folder)).tensors).toHaveLength(34);
  });

  test('a tied head that is stored too is used once, if it is the same', async () => {
    const folder = copyOf('llama-bias');
    const file = join(folder, 'model.safetensors');
    rewrite(file, (t) => t.set('lm_head.weight', t.get('model.embed_tokens.weight')!));
    const checkpoint = await open(folder);
    expect(checkpoint.spec.tieEmbeddings).toBe(true);
    expect(checkpoint.tensors.map((t) => t.role)).not.toContain('lm_head');
    rewrite(file, (t) => {
      const head = t.get('lm_head.weight')!;
      t.set('lm_head.weight', { ...head, data: Buffer.from(head.data).fill(0, 0, 8000) });
    });
    await loadFailure(
      () => open(folder),
      'config_unsupported',
      file,
      'lm_head.weight',
      '"tie_word_embeddings": false',
    );
    editJson(join(folder, 'config.json'), (c) => (c.tie_word_embeddings = false));
    expect((await open(folder)).tensors.map((t) => t.role)).toContain('lm_head');
  });

  test('an aborted signal ends it with its reason', async () => {
    const options = { loadFormat: 'auto', signal: AbortSignal.abort('stop') } as const;
    await expect(openCheckpoint(goldenFolder('mixtral'), options)).rejects.toBe('stop');
  });
});

describe('dummy', () => {
  test('needs config.json only, as a folder or as a file of any name', async () => {
    const folder = tempFolder();
    const { config } = await open(goldenFolder('qwen3-moe'));
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    writeFileSync(join(folder, 'other.json'), JSON.stringify(config));
    for (const model of [folder, join(folder, 'config.json'), join(folder, 'other.json')])
      expect(await dummy(model)).toMatchObject({
        folder,
        tensors: [],
        weightDtype: 'bf16',
        spec: { family: 'qwen3_moe' },
      });
    expect((await dummy(join(folder, 'other.json'))).name).toBe('other');
    const f32 = { loadFormat: 'dummy', dummyDtype: 'f32' } as const;
    expect((await openCheckpoint(folder, f32)).weightDtype).toBe('f32');
    await loadFailure(
      () => open(join(folder, 'other.json')),
      'model_not_found',
      "loadFormat 'dummy'",
    );
  });

  test('refuses a dtype that it cannot make', async () => {
    const folder = copyOf('llama-bias');
    editJson(join(folder, 'config.json'), (c) => (c.torch_dtype = 'float8_e4m3fn'));
    await loadFailure(
      () => dummy(folder),
      'config_unsupported',
      'config.json: dtype',
      'float8_e4m3fn',
    );
  });
});

describe('what is not there', () => {
  test.each([
    './no/such/folder',
    '/no/such/folder',
    'a/b/c',
    'gpt2',
    '~/model',
    'org/',
    'org/.x',
    'C:\\model',
  ])('model %s: a path where nothing is', (model) =>
    loadFailure(
      () => open(model),
      'model_not_found',
      'existing folder',
      JSON.stringify(model).slice(1, -1).split('\\')[0]!,
      'Check the path',
    ),
  );

  test.each([['' as unknown], ['a\0b'], [null], [{}]])('model %j', (model) =>
    loadFailure(() => open(model as string), 'model_not_found', 'expected a folder or a hub id'),
  );

  test('a file in place of a folder', () => {
    const file = join(goldenFolder('mixtral'), 'model.safetensors');
    return loadFailure(
      () => open(file),
      'model_not_found',
      file,
      'received a file',
      'Pass the folder',
    );
  });

  test('a folder without config.json', async () => {
    const folder = tempFolder();
    await loadFailure(() => open(folder), 'model_not_found', folder, 'expected config.json');
    writeFileSync(join(folder, 'adapter_config.json'), '{}');
    await loadFailure(() => open(folder), 'model_not_found', 'LoRA adapter');
  });

  test('a folder without weights', async () => {
    const folder = copyOf('llama-bias');
    renameSync(join(folder, 'model.safetensors'), join(folder, 'pytorch_model.bin'));
    await loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      folder,
      'expected model.safetensors',
      'received config.json, pytorch_model.bin',
      'converted',
    );
  });
});

describe('broken files', () => {
  test.each([
    ['{"model_type": ', 'not JSON'],
    ['', 'not JSON'],
    ['[1, 2]', 'received [1,2]'],
    ['null', 'received null'],
  ])('config.json: %s', (text, part) => {
    const folder = copyOf('llama-bias');
    writeFileSync(join(folder, 'config.json'), text);
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      join(folder, 'config.json'),
      'expected a JSON object',
      part,
    );
  });

  test('config.json is a folder', () => {
    const folder = copyOf('llama-bias');
    rmSync(join(folder, 'config.json'));
    mkdirSync(join(folder, 'config.json'));
    return loadFailure(() => open(folder), 'checkpoint_invalid', 'config.json', 'expected a file');
  });

  test('generation_config.json', async () => {
    const folder = copyOf('llama-bias');
    const file = join(folder, 'generation_config.json');
    writeFileSync(file, '{');
    await loadFailure(() => open(folder), 'checkpoint_invalid', file, 'not JSON');
    for (const ids of ['"</s>"', '[2, 100000]', '-1', '2.5']) {
      writeFileSync(file, `{"eos_token_id": ${ids}}`);
      await loadFailure(
        () => open(folder),
        'checkpoint_invalid',
        'generation_config.json: eos_token_id',
        'below 144',
      );
    }
  });

  test('truncated weights', () => {
    const folder = copyOf('llama-bias');
    const file = join(folder, 'model.safetensors');
    truncateSync(file, 100_000);
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      file,
      /expected \d+ bytes, received 100000: \d+ bytes are missing/,
    );
  });
});

describe('weights that are not those of config.json', () => {
  const NAME = 'model.layers.1.self_attn.q_proj.weight';

  function edited(edit: Parameters<typeof rewrite>[1]): string {
    const folder = copyOf('llama-bias');
    rewrite(join(folder, 'model.safetensors'), edit);
    return folder;
  }

  test('a wrong dtype', () => {
    const folder = edited((t) => {
      t.set(NAME, { ...t.get(NAME)!, dtype: 'I32' });
    });
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      join(folder, 'model.safetensors'),
      NAME,
      'expected dtype F32, F16 or BF16, received I32',
      'Quantized',
    );
  });

  test.each([[[40, 32]], [[1280]], [[32, 40, 1]]])('a wrong shape: %j', (shape) => {
    const folder = edited((t) => {
      t.set(NAME, { ...t.get(NAME)!, shape });
    });
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      NAME,
      `expected shape [32,40] by config.json, received ${JSON.stringify(shape)}`,
    );
  });

  test('a missing tensor', async () => {
    const one = edited((t) => t.delete(NAME));
    await loadFailure(() => open(one), 'checkpoint_invalid', `without "${NAME}"`, 'incomplete');
    const many = edited((t) => {
      for (const name of t.keys()) if (name.includes('layers.1.')) t.delete(name);
    });
    await loadFailure(() => open(many), 'checkpoint_invalid', 'and 11 more');
  });

  test('a missing head names the setting that may be wrong', () => {
    const folder = copyOf('llama-rope3');
    rewrite(join(folder, 'model.safetensors'), (t) => t.delete('lm_head.weight'));
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      'without "lm_head.weight"',
      '"tie_word_embeddings": true',
    );
  });

  test('a left-over tensor', () => {
    const folder = edited((t) => {
      t.set('model.layers.0.self_attn.q_norm.weight', {
        dtype: 'F32',
        shape: [1],
        data: Buffer.alloc(4),
      });
    });
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      'received also "model.layers.0.self_attn.q_norm.weight"',
    );
  });

  test('experts stored fused', () => {
    const folder = copyOf('mixtral');
    rewrite(join(folder, 'model.safetensors'), (t) => {
      for (const name of t.keys()) if (name.includes('layers.0.block')) t.delete(name);
      t.set('model.layers.0.mlp.experts.gate_up_proj', {
        dtype: 'F32',
        shape: [1],
        data: Buffer.alloc(4),
      });
    });
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      'stored fused',
      'one tensor per expert',
    );
  });

  test('config.json of another size', () => {
    const folder = copyOf('llama-bias');
    editJson(join(folder, 'config.json'), (c) => (c.vocab_size = 145));
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      'embed_tokens',
      'expected shape [145,40]',
      'received [144,40]',
    );
  });
});
