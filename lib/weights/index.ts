/** Opens a checkpoint: finds it, reads config.json and the weights' headers, checks one against the other. */
import { dirname, join } from 'node:path';
import { loadError } from '../errors.js';
import { bindTensors, describeModel, type ModelSpec, type TensorRef } from '../models/index.js';
import { type JsonObject, show } from '../models/values.js';
import { checkCopies } from './copies.js';
import { type HubOptions, resolveHub } from './hub.js';
import { readJsonObject } from './json.js';
import { locate } from './locate.js';
import { exists, readTensors } from './shards.js';

export interface LoadProgress {
  /** `download`: files come from the hub; `load`: native code reads the weights. */
  phase: 'download' | 'load';
  /** The file at work, where there is one. */
  file?: string;
  bytesDone: number;
  bytesTotal: number;
}

export type WeightDtype = 'bf16' | 'f16' | 'f32';

export interface Checkpoint {
  /** Where the files are. */
  folder: string;
  /** The hub id, or the folder's own name. */
  name: string;
  /** config.json, as it is. */
  config: JsonObject;
  /** generation_config.json, as it is; null where there is none. */
  generationConfig: JsonObject | null;
  spec: ModelSpec;
  /** One per role of `spec`; empty with loadFormat 'dummy'. */
  tensors: TensorRef[];
  /** That of most of the weights' bytes. */
  weightDtype: WeightDtype;
  /** Any of them ends a text; from generation_config.json, else config.json; may be empty. */
  eosTokenIds: number[];
}

export interface OpenOptions extends HubOptions {
  /** 'auto': all files; 'dummy': config.json only, for random weights made in place. */
  loadFormat: 'auto' | 'dummy';
  /** With loadFormat 'dummy'; default: `dtype` or `torch_dtype` of config.json, else bf16. */
  dummyDtype?: WeightDtype;
}

/**
 * Opens a checkpoint. `model`: a folder (with loadFormat 'dummy' a path to a config.json will do), or a hub
 * id `org/name`, looked up in the Hugging Face cache and otherwise downloaded into it. No weight data is
 * read. Throws EngineError: model_not_found, download_failed, checkpoint_invalid, config_unsupported; and
 * the signal's reason when aborted.
 */
export async function openCheckpoint(model: string, options: OpenOptions): Promise<Checkpoint> {
  const { signal, loadFormat } = options;
  signal?.throwIfAborted();
  const { folder, configPath, name } = await findFiles(model, options);
  const config = await readJsonObject(configPath);
  if (config === null) throw await noConfig(folder);
  const generationConfig = await readJsonObject(join(folder, 'generation_config.json'));
  const stored = loadFormat === 'dummy' ? new Map() : await readTensors(folder, signal);
  const described = describeModel(config, (tensor) => stored.has(tensor));
  const tensors = loadFormat === 'dummy' ? [] : bindTensors(described, stored);
  await checkCopies(described.copies, stored);
  signal?.throwIfAborted();
  const dtype = () => options.dummyDtype ?? configDtype(config);
  return {
    folder,
    name,
    config,
    generationConfig,
    spec: described.spec,
    tensors,
    weightDtype: loadFormat === 'dummy' ? dtype() : mostBytes(tensors),
    eosTokenIds: readEos(generationConfig, config, described.spec.vocabSize),
  };
}

async function findFiles(
  model: string,
  options: OpenOptions,
): Promise<{ folder: string; configPath: string; name: string }> {
  const place = await locate(model);
  if (place.kind === 'config') {
    if (options.loadFormat !== 'dummy')
      throw loadError(
        `${place.file}: expected the folder of a checkpoint, received a JSON file. A config alone can only be loaded with loadFormat 'dummy'.`,
        'model_not_found',
      );
    return { folder: dirname(place.file), configPath: place.file, name: place.name };
  }
  const folder = place.kind === 'folder' ? place.folder : await resolveHub(place.id, options);
  const name = place.kind === 'folder' ? place.name : place.id;
  return { folder, configPath: join(folder, 'config.json'), name };
}

async function noConfig(folder: string): Promise<Error> {
  const adapter = await exists(join(folder, 'adapter_config.json'));
  const gguf =
    'Pass a folder in the Hugging Face form: config.json, tokenizer.json, *.safetensors.';
  return loadError(
    `${folder}: expected config.json, received a folder without it. ${adapter ? 'This is a LoRA adapter; load its base model.' : gguf}`,
    'model_not_found',
  );
}

function readEos(generation: JsonObject | null, config: JsonObject, vocabSize: number): number[] {
  const [file, value] =
    generation?.eos_token_id != null
      ? ['generation_config.json', generation.eos_token_id]
      : ['config.json', config.eos_token_id];
  if (value == null) return [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  if (!ids.every((id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < vocabSize))
    throw loadError(
      `${file}: eos_token_id: expected a token id below ${vocabSize} or a list of them, received ${show(value)}.`,
      'checkpoint_invalid',
    );
  return [...new Set(ids as number[])];
}

const DTYPES: Record<string, WeightDtype> = {
  bfloat16: 'bf16',
  float16: 'f16',
  float32: 'f32',
  BF16: 'bf16',
  F16: 'f16',
  F32: 'f32',
};

function configDtype(config: JsonObject): WeightDtype {
  const value = config.dtype ?? config.torch_dtype ?? 'bfloat16';
  const dtype = typeof value === 'string' ? DTYPES[value] : undefined;
  if (!dtype)
    throw loadError(
      `config.json: dtype: expected bfloat16, float16 or float32, received ${show(value)}.`,
      'config_unsupported',
    );
  return dtype;
}

function mostBytes(tensors: TensorRef[]): WeightDtype {
  const bytes = new Map<string, number>();
  for (const t of tensors) bytes.set(t.dtype, (bytes.get(t.dtype) ?? 0) + t.bytes);
  const [dtype] = [...bytes].reduce((a, b) => (b[1] > a[1] ? b : a));
  return DTYPES[dtype]!;
}
