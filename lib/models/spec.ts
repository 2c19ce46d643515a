/**
 * What a checkpoint is, in the terms that native code runs: a list of layers, each a mixer and a
 * feed-forward part, with their facts as fields. `csrc/model/spec.h` has the same names.
 */

export interface RopeSpec {
  theta: number;
  /** Rotated dimensions of a head: even, at most headDim. Pairs are (i, i + rotaryDim / 2). */
  rotaryDim: number;
  scaling: 'none' | 'linear' | 'llama3';
  /** linear and llama3. */
  factor?: number;
  /** llama3 only. */
  lowFreqFactor?: number;
  highFreqFactor?: number;
  originalMaxPosition?: number;
}

/** Grouped-query attention. */
export interface GqaMixer {
  kind: 'gqa';
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  qkvBias: boolean;
  outBias: boolean;
  /** RMSNorm over each head of q and k, before RoPE. */
  qkNorm: boolean;
  /** A query at position p sees keys in (p - window, p]; 0: all before it. */
  window: number;
  rope: RopeSpec;
}

/** down(silu(gate(x)) * up(x)). */
export interface DenseFfn {
  kind: 'dense';
  intermediateSize: number;
  bias: boolean;
}

/** Softmax routing over all experts, the best topK run, weights optionally renormalised to sum 1. */
export interface MoeFfn {
  kind: 'moe';
  numExperts: number;
  topK: number;
  intermediateSize: number;
  renormalize: boolean;
}

export interface LayerSpec {
  mixer: GqaMixer;
  ffn: DenseFfn | MoeFfn;
}

export interface ModelSpec {
  /** `model_type` of config.json. */
  family: string;
  hiddenSize: number;
  vocabSize: number;
  /** The longest sequence the checkpoint is made for, in tokens. */
  maxPosition: number;
  normEps: number;
  tieEmbeddings: boolean;
  layers: LayerSpec[];
}

/**
 * Roles of weights. `N` is the layer, `E` the expert:
 *
 * | role | shape |
 * |---|---|
 * | `embed` | [vocabSize, hiddenSize] |
 * | `final_norm` | [hiddenSize] |
 * | `lm_head` | [vocabSize, hiddenSize]; absent when tieEmbeddings |
 * | `layers.N.attn_norm`, `layers.N.ffn_norm` | [hiddenSize] |
 * | `layers.N.attn.q`, `.k`, `.v` (`.q_bias` ...) | [heads * headDim, hiddenSize] ([heads * headDim]) |
 * | `layers.N.attn.o` (`.o_bias`) | [hiddenSize, numHeads * headDim] ([hiddenSize]) |
 * | `layers.N.attn.q_norm`, `.k_norm` | [headDim] |
 * | `layers.N.ffn.gate`, `.up` (`.gate_bias` ...) | [intermediateSize, hiddenSize] |
 * | `layers.N.ffn.down` (`.down_bias`) | [hiddenSize, intermediateSize] |
 * | `layers.N.moe.router` | [numExperts, hiddenSize] |
 * | `layers.N.moe.experts.E.gate`, `.up`, `.down` | as in the dense ffn |
 */
export type Role = string;

/** Where one weight's bytes are; the data itself is read by native code only. */
export interface TensorRef {
  role: Role;
  /** The checkpoint's own name, for messages. */
  name: string;
  file: string;
  /** Bytes from the start of the file. */
  offset: number;
  bytes: number;
  dtype: 'F32' | 'F16' | 'BF16';
  shape: number[];
}
