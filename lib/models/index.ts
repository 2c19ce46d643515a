/** The registry of model families. */
import { loadError } from '../errors.js';
import { Config } from './config.js';
import type { Described, Family } from './decoder.js';
import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { mixtral } from './mixtral.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';
import { qwen3Moe } from './qwen3_moe.js';
import { type JsonObject, show } from './values.js';

export { bindTensors } from './bind.js';
export type { Described, Family } from './decoder.js';
export type { ModelSpec, Role, TensorRef } from './spec.js';

/** By `model_type`, with the architecture that config.json must name. */
const FAMILIES = new Map<string, { architecture: string; family: Family }>([
  ['llama', { architecture: 'LlamaForCausalLM', family: llama }],
  ['mistral', { architecture: 'MistralForCausalLM', family: mistral }],
  ['mixtral', { architecture: 'MixtralForCausalLM', family: mixtral }],
  ['qwen2', { architecture: 'Qwen2ForCausalLM', family: qwen2 }],
  ['qwen3', { architecture: 'Qwen3ForCausalLM', family: qwen3 }],
  ['qwen3_moe', { architecture: 'Qwen3MoeForCausalLM', family: qwen3Moe }],
]);

/** `model_type` of every family that can be loaded. */
export const SUPPORTED_FAMILIES: readonly string[] = [...FAMILIES.keys()];

/**
 * Describes a checkpoint in the terms of spec.ts. `has` tells whether the checkpoint has a tensor;
 * for dummy weights, where there is none, it answers no.
 */
export function describeModel(values: JsonObject, has: (tensor: string) => boolean): Described {
  const { model_type: type, architectures } = values;
  const entry = typeof type === 'string' ? FAMILIES.get(type) : undefined;
  if (typeof type !== 'string' || entry === undefined)
    throw loadError(
      `config.json: model_type: expected one of ${SUPPORTED_FAMILIES.join(', ')}, received ${show(type)}. Other architectures are not supported yet.`,
      'config_unsupported',
    );
  if (architectures != null && !isList(architectures, entry.architecture))
    throw loadError(
      `config.json: architectures: expected ["${entry.architecture}"] for ${type}, received ${show(architectures)}. Only models that generate text are supported.`,
      'config_unsupported',
    );
  return entry.family(new Config(values, type), has);
}

function isList(value: unknown, entry: string): boolean {
  return Array.isArray(value) && value.includes(entry);
}
