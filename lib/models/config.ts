/** Typed access to config.json: every value is checked, and one that the engine cannot run is refused. */
import { type EngineError, loadError } from '../errors.js';
import { isObject, type JsonObject, show } from './values.js';

/**
 * Keys of other families or of options that change the mathematics, with the values that mean "off".
 * A checkpoint that sets one to anything else would run and be wrong.
 */
const NEUTRAL: Record<string, readonly unknown[]> = {
  quantization_config: [null],
  compression_config: [null],
  pretraining_tp: [null, 1],
  partial_rotary_factor: [null, 1],
  rope_interleaved: [null, false],
  use_mrope: [null, false],
  alibi: [null, false],
  is_encoder_decoder: [null, false],
  is_causal: [null, true],
  use_parallel_residual: [null, false],
  parallel_attn: [null, false],
  use_qk_norm: [null, false],
  qk_layernorm: [null, false],
  clip_qkv: [null],
  sinks: [null, false],
  attn_logit_softcapping: [null],
  final_logit_softcapping: [null],
  query_pre_attn_scalar: [null],
  logit_scale: [null, 1],
  logits_scaling: [null, 1],
  embedding_multiplier: [null, 1],
  residual_multiplier: [null, 1],
  attention_multiplier: [null],
  scale_emb: [null, 1],
  scale_depth: [null],
  attention_chunk_size: [null],
  no_rope_layers: [null],
  no_rope_layer_interval: [null],
  attn_temperature_tuning: [null, false],
  n_shared_experts: [null, 0],
  num_shared_experts: [null, 0],
  shared_expert_intermediate_size: [null, 0],
  n_group: [null, 1],
  topk_group: [null, 1],
  scoring_func: [null, 'softmax'],
  routed_scaling_factor: [null, 1],
  zero_expert_num: [null, 0],
  kv_lora_rank: [null],
  q_lora_rank: [null],
  cross_attention_layers: [null],
};

export class Config {
  constructor(
    readonly values: JsonObject,
    readonly family: string,
  ) {
    for (const [key, neutral] of Object.entries(NEUTRAL)) this.only(key, neutral);
    this.only('hidden_act', ['silu'], 'silu');
  }

  /** Refuses every value of `key` but those listed; a missing key counts as `fallback`. */
  only(key: string, allowed: readonly unknown[], fallback: unknown = null): void {
    const value = this.values[key] ?? fallback;
    if (isEmpty(value) && allowed.includes(null)) return;
    if (!allowed.includes(value)) throw this.unsupported(key, allowed.map(show).join(' or '));
  }

  /** A whole number from 1. Without a fallback the key must be there. */
  count(key: string, fallback?: number | null): number {
    const value = this.values[key] ?? fallback;
    if (!isCount(value)) throw this.wrong(key, 'a whole number from 1');
    return value;
  }

  number(key: string, fallback?: number): number {
    const value = this.values[key] ?? fallback;
    if (typeof value !== 'number' || !(value > 0) || !Number.isFinite(value))
      throw this.wrong(key, 'a number above 0');
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.values[key] ?? fallback;
    if (typeof value !== 'boolean') throw this.wrong(key, 'true or false');
    return value;
  }

  /** A list of layer numbers; missing or null: none. */
  layerList(key: string, numLayers: number): number[] {
    const value = this.values[key] ?? [];
    const isLayer = (n: unknown) => Number.isInteger(n) && Number(n) >= 0 && Number(n) < numLayers;
    if (!Array.isArray(value) || !value.every(isLayer))
      throw this.wrong(key, `a list of layer numbers from 0 to ${numLayers - 1}`);
    return value;
  }

  /** The value has the wrong type or range, or contradicts another. */
  wrong(key: string, expected: string): EngineError {
    return loadError(
      `config.json: ${key}: expected ${expected}, received ${show(this.values[key])}.`,
      'checkpoint_invalid',
    );
  }

  /** The value may be right, but nothing here computes it. */
  unsupported(key: string, supported: string, received: unknown = this.values[key]): EngineError {
    return loadError(
      `config.json: ${key}: ${this.family} is supported with ${supported}, received ${show(received)}. Use a checkpoint without it.`,
      'config_unsupported',
    );
  }
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) < 2 ** 31;
}

function isEmpty(value: unknown): boolean {
  return (
    value === null ||
    (Array.isArray(value) && value.length === 0) ||
    (isObject(value) && Object.keys(value).length === 0)
  );
}
