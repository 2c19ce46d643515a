import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { openCheckpoint } from '../../lib/weights/index.js';
import { copyOf, editJson, loadFailure, rewrite } from './weights-fixtures.js';

const open = (model: string) => openCheckpoint(model, { loadFormat: 'auto', offline: true });

describe('shards', () => {
  const SHARD = 'model-00002-of-00003.safetensors';
  const INDEX = 'model.safetensors.index.json';
  const NAME = 'model.layers.0.mlp.up_proj.weight';

  test('a shard that is missing', () => {
    const folder = copyOf('mistral-window');
    rmSync(join(folder, SHARD));
    return loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      INDEX,
      `expected the shard ${SHARD}`,
      'one of 3',
    );
  });

  test('a shard without a tensor that the index promises', async () => {
    const folder = copyOf('mistral-window');
    for (const file of readdirSync(folder).filter((f) => f.endsWith('.safetensors')))
      rewrite(join(folder, file), (t) => t.delete(NAME));
    await loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      INDEX,
      `expected tensor "${NAME}" in`,
      'received no such tensor',
    );
  });

  test('a tensor in another shard than the index says', async () => {
    const folder = copyOf('mistral-window');
    editJson(join(folder, INDEX), (index) => {
      (index.weight_map as Record<string, string>)['lm_head.weight'] = SHARD;
    });
    await loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      `"lm_head.weight" in ${SHARD}`,
      /received it in .*00003/,
    );
  });

  test('a tensor in two shards', async () => {
    const folder = copyOf('mistral-window');
    const file = join(folder, SHARD);
    rewrite(file, (t) =>
      t.set('lm_head.weight', { dtype: 'F32', shape: [1], data: Buffer.alloc(4) }),
    );
    await loadFailure(
      () => open(folder),
      'checkpoint_invalid',
      '"lm_head.weight" in one shard',
      SHARD,
    );
  });

  test.each([
    [{}, 'weight_map'],
    [{ weight_map: [] }, 'weight_map'],
    [{ weight_map: {} }, 'weight_map'],
    [{ weight_map: { a: 1 } }, 'received 1'],
    [{ weight_map: { a: '../model.safetensors' } }, 'in the same folder'],
    [{ weight_map: { a: '/etc/passwd' } }, 'in the same folder'],
  ])('an index with %j', (index, part) => {
    const folder = copyOf('mistral-window');
    writeFileSync(join(folder, INDEX), JSON.stringify(index));
    return loadFailure(() => open(folder), 'checkpoint_invalid', join(folder, INDEX), part);
  });
});
