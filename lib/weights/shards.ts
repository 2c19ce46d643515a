/** All tensors of a checkpoint folder: one safetensors file, or shards with their index. */
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { loadError } from '../errors.js';
import { isObject, type JsonObject, show } from '../models/values.js';
import { readJsonObject } from './json.js';
import { readHeader, type StoredTensor } from './safetensors.js';

export const SINGLE_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/** Tensors by name. `model.safetensors` wins over an index, as it does in transformers. */
export async function readTensors(
  folder: string,
  signal?: AbortSignal,
): Promise<Map<string, StoredTensor>> {
  if (await exists(join(folder, SINGLE_FILE)))
    return mergeShards([await readHeader(join(folder, SINGLE_FILE))]);
  const indexPath = join(folder, INDEX_FILE);
  const index = await readJsonObject(indexPath);
  if (index === null) throw await noWeights(folder);
  const promised = readWeightMap(index, indexPath);
  const files = [...new Set(promised.values())];
  for (const file of files)
    if (!(await exists(join(folder, file))))
      throw loadError(
        `${indexPath}: expected the shard ${file} (one of ${files.length}) beside the index, received no such file. Download or copy the whole checkpoint.`,
        'checkpoint_invalid',
      );
  const shards: StoredTensor[][] = [];
  for (const file of files) {
    signal?.throwIfAborted();
    shards.push(await readHeader(join(folder, file)));
  }
  const tensors = mergeShards(shards);
  for (const [name, file] of promised) {
    const found = tensors.get(name);
    if (found?.file !== join(folder, file))
      throw loadError(
        `${indexPath}: expected tensor ${show(name)} in ${file}, received ${found ? `it in ${found.file}` : 'no such tensor'}. Index and shards do not belong together; get both again from their source.`,
        'checkpoint_invalid',
      );
  }
  return tensors;
}

/** Tensor name → shard file name. */
export function readWeightMap(index: JsonObject, indexPath: string): Map<string, string> {
  const map = index.weight_map;
  if (!isObject(map) || Object.keys(map).length === 0)
    throw loadError(
      `${indexPath}: expected "weight_map" to map tensor names to files, received ${show(map)}.`,
      'checkpoint_invalid',
    );
  for (const file of Object.values(map))
    if (typeof file !== 'string' || !/^[^/\\]+\.safetensors$/.test(file))
      throw loadError(
        `${indexPath}: expected names of .safetensors files in the same folder, received ${show(file)}.`,
        'checkpoint_invalid',
      );
  return new Map(Object.entries(map as Record<string, string>));
}

function mergeShards(shards: StoredTensor[][]): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const t of shards.flat()) {
    const other = tensors.get(t.name);
    if (other)
      throw loadError(
        `${t.file}: expected tensor ${show(t.name)} in one shard, received it also in ${other.file}.`,
        'checkpoint_invalid',
      );
    tensors.set(t.name, t);
  }
  return tensors;
}

async function noWeights(folder: string): Promise<Error> {
  const seen = (await fs.readdir(folder)).sort();
  return loadError(
    `${folder}: expected ${SINGLE_FILE} or ${INDEX_FILE}, received ${seen.length ? seen.slice(0, 12).join(', ') : 'an empty folder'}. Weights in other formats must be converted to safetensors first.`,
    'checkpoint_invalid',
  );
}

/** Follows links: a dangling one does not exist. */
export async function exists(path: string): Promise<boolean> {
  return fs.stat(path).then(
    () => true,
    () => false,
  );
}
