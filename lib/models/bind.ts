/** Matches a checkpoint's tensors with the weights that its spec calls for. */
import { type EngineError, loadError } from '../errors.js';
import type { Described } from './decoder.js';
import { expectedWeights } from './roles.js';
import type { TensorRef } from './spec.js';
import { show } from './values.js';

/** What binding needs to know of a stored tensor. */
export interface Stored {
  file: string;
  offset: number;
  bytes: number;
  dtype: string;
  shape: number[];
}

/** Stored by some exporters though computed from config.json. */
const IGNORABLE = [/^model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq$/];

/** One TensorRef per role. Throws when a tensor is missing, left over, or has the wrong dtype or shape. */
export function bindTensors(
  { spec, weights, copies }: Described,
  tensors: ReadonlyMap<string, Stored>,
): TensorRef[] {
  const refs: TensorRef[] = [];
  const unused = new Set(tensors.keys());
  const missing: string[] = [];
  for (const [role, shape] of expectedWeights(spec)) {
    const name = weights.get(role)!;
    const stored = tensors.get(name);
    unused.delete(name);
    if (stored === undefined) missing.push(name);
    else refs.push({ role, name, ...checked(name, stored, shape) });
  }
  for (const [name, original] of copies) {
    unused.delete(name);
    const stored = tensors.get(name);
    const shape = tensors.get(original)?.shape;
    if (stored && shape) checked(name, stored, shape);
  }
  const leftOver = [...unused].filter((name) => !IGNORABLE.some((known) => known.test(name)));
  if (missing.length > 0) throw missingTensors(spec.family, missing, leftOver);
  if (leftOver.length > 0)
    throw loadError(
      `Expected only tensors that ${spec.family} with this config.json has, received also ${list(leftOver)}. config.json and weights do not belong together, or the checkpoint is of a kind that is not supported.`,
      'checkpoint_invalid',
    );
  return refs;
}

function checked(name: string, stored: Stored, shape: number[]): Omit<TensorRef, 'role' | 'name'> {
  const { file, offset, bytes, dtype } = stored;
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16')
    throw loadError(
      `${file}: tensor ${show(name)}: expected dtype F32, F16 or BF16, received ${dtype}. Quantized checkpoints are not supported; use the bf16 or f16 one.`,
      'checkpoint_invalid',
    );
  if (stored.shape.length !== shape.length || shape.some((n, i) => n !== stored.shape[i]))
    throw loadError(
      `${file}: tensor ${show(name)}: expected shape ${show(shape)} by config.json, received ${show(stored.shape)}. config.json and weights do not belong together.`,
      'checkpoint_invalid',
    );
  return { file, offset, bytes, dtype, shape };
}

function missingTensors(family: string, missing: string[], leftOver: string[]): EngineError {
  let hint = 'The checkpoint is incomplete, or config.json belongs to another one.';
  if (missing.length === 1 && missing[0] === 'lm_head.weight')
    hint = 'If the model shares it with the embedding, set "tie_word_embeddings": true.';
  else if (leftOver.some((name) => name.endsWith('.experts.gate_up_proj')))
    hint =
      'The experts are stored fused (gate_up_proj); save the checkpoint with one tensor per expert, as published ones are.';
  const others = leftOver.length > 0 ? ` and, not known to ${family}, ${list(leftOver)}` : '';
  return loadError(
    `Expected the tensors of ${family} with this config.json, received a checkpoint without ${list(missing)}${others}. ${hint}`,
    'checkpoint_invalid',
  );
}

function list(names: string[]): string {
  const shown = names.slice(0, 5).map(show).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}
