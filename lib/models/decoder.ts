/** What the supported families have in common: a pre-norm decoder with grouped-query attention. */
import type { Config } from './config.js';
import { readRope } from './rope.js';
import type { DenseFfn, ModelSpec, MoeFfn, Role } from './spec.js';

/** A family's answer: the description, and the checkpoint's name for each role. */
export interface Described {
  spec: ModelSpec;
  weights: Map<Role, string>;
  /** Stored although not needed: must hold the same values as the named tensor. */
  copies: Map<string, string>;
}

/** A family: a pure function of config.json and of the tensor names that the checkpoint has. */
export type Family = (config: Config, has: (tensor: string) => boolean) => Described;

export interface Traits {
  /** rope_theta where config.json has none. */
  defaultTheta: number;
  qkvBias: boolean;
  outBias: boolean;
  qkNorm: boolean;
  /** num_key_value_heads where config.json has none; absent: it must be there. */
  defaultKvHeads?: number;
  headDim?: number;
  /** Per layer, see GqaMixer.window. */
  windows: number[];
  ffn: (layer: number) => DenseFfn | MoeFfn;
}

export function decoderSpec(config: Config, traits: Traits): ModelSpec {
  const hiddenSize = config.count('hidden_size');
  const numHeads = config.count('num_attention_heads');
  const numKvHeads = config.count(
    'num_key_value_heads',
    config.values.num_key_value_heads === null ? numHeads : traits.defaultKvHeads,
  );
  if (numHeads % numKvHeads !== 0)
    throw config.wrong('num_key_value_heads', `a divisor of num_attention_heads (${numHeads})`);
  const headDim = traits.headDim ?? readHeadDim(config);
  const rope = readRope(config, headDim, traits.defaultTheta);
  const { qkvBias, outBias, qkNorm } = traits;
  const layers = traits.windows.map((window, layer) => ({
    mixer: {
      kind: 'gqa' as const,
      numHeads,
      numKvHeads,
      headDim,
      qkvBias,
      outBias,
      qkNorm,
      window,
      rope: { ...rope },
    },
    ffn: traits.ffn(layer),
  }));
  return {
    family: config.family,
    hiddenSize,
    vocabSize: config.count('vocab_size'),
    maxPosition: config.count('max_position_embeddings'),
    normEps: config.number('rms_norm_eps'),
    tieEmbeddings: config.flag('tie_word_embeddings', false),
    layers,
  };
}

/** `head_dim`, or hidden_size / num_attention_heads where it is missing or null. */
export function readHeadDim(config: Config): number {
  if (config.values.head_dim != null) return config.count('head_dim');
  const hiddenSize = config.count('hidden_size');
  const numHeads = config.count('num_attention_heads');
  if (hiddenSize % numHeads !== 0)
    throw config.wrong('num_attention_heads', `a divisor of hidden_size (${hiddenSize})`);
  return hiddenSize / numHeads;
}

export function denseFfn(config: Config, bias = false): DenseFfn {
  return { kind: 'dense', intermediateSize: config.count('intermediate_size'), bias };
}

/** Checks what is true of every router. */
export function moeFfn(config: Config, ffn: Omit<MoeFfn, 'kind'>): MoeFfn {
  if (ffn.topK > ffn.numExperts)
    throw config.wrong('num_experts_per_tok', `at most the number of experts (${ffn.numExperts})`);
  return { kind: 'moe', ...ffn };
}

/** One window for all layers (0: none); `layer_types`, where present, must agree. */
export function sameWindow(config: Config, window: number): number[] {
  const numLayers = config.count('num_hidden_layers');
  const expected = window ? 'sliding_attention' : 'full_attention';
  if (readLayerTypes(config, numLayers)?.some((type) => type !== expected))
    throw config.unsupported('layer_types', `"${expected}" in all layers`);
  return Array<number>(numLayers).fill(window);
}

/** `sliding_window`: null is none. */
export function readWindow(config: Config, fallback: number | null): number {
  const value =
    config.values.sliding_window === undefined ? fallback : config.values.sliding_window;
  return value === null ? 0 : config.count('sliding_window', fallback);
}

/**
 * Qwen's way: `use_sliding_window` switches it on for the layers that `layer_types` names, without
 * it for those from `max_window_layers` on.
 */
export function qwenWindows(config: Config): number[] {
  const numLayers = config.count('num_hidden_layers');
  const types = readLayerTypes(config, numLayers);
  const window = config.flag('use_sliding_window', false) ? readWindow(config, 4096) : 0;
  if (window === 0) {
    if (types?.includes('sliding_attention'))
      throw config.unsupported(
        'layer_types',
        '"full_attention" in all layers while use_sliding_window is off',
      );
    return Array<number>(numLayers).fill(0);
  }
  if (types) return types.map((type) => (type === 'sliding_attention' ? window : 0));
  const from = config.values.max_window_layers === 0 ? 0 : config.count('max_window_layers', 28);
  return Array.from({ length: numLayers }, (_, layer) => (layer >= from ? window : 0));
}

function readLayerTypes(config: Config, numLayers: number): string[] | null {
  const types = config.values.layer_types;
  if (types == null) return null;
  if (!Array.isArray(types) || types.length !== numLayers)
    throw config.wrong('layer_types', `a list of ${numLayers} entries, one per layer`);
  for (const type of types)
    if (type !== 'full_attention' && type !== 'sliding_attention')
      throw config.unsupported('layer_types', '"full_attention" and "sliding_attention"', type);
  return types;
}
