/** The weights that a spec calls for, and the names that most checkpoints give them. */
import type { Described } from './decoder.js';
import type { LayerSpec, ModelSpec, Role } from './spec.js';

/** Role → shape, in the order of computation; the table of spec.ts as code. */
export function expectedWeights(spec: ModelSpec): Map<Role, number[]> {
  const { hiddenSize: hidden, vocabSize: vocab } = spec;
  const shapes = new Map<Role, number[]>([['embed', [vocab, hidden]]]);
  for (const [i, layer] of spec.layers.entries())
    for (const [part, shape] of layerWeights(layer, hidden))
      shapes.set(`layers.${i}.${part}`, shape);
  shapes.set('final_norm', [hidden]);
  if (!spec.tieEmbeddings) shapes.set('lm_head', [vocab, hidden]);
  return shapes;
}

function* layerWeights(layer: LayerSpec, hidden: number): Generator<[string, number[]]> {
  const { numHeads, numKvHeads, headDim, qkvBias, outBias, qkNorm } = layer.mixer;
  yield ['attn_norm', [hidden]];
  for (const [part, heads] of [
    ['q', numHeads],
    ['k', numKvHeads],
    ['v', numKvHeads],
  ] as const) {
    yield [`attn.${part}`, [heads * headDim, hidden]];
    if (qkvBias) yield [`attn.${part}_bias`, [heads * headDim]];
  }
  yield ['attn.o', [hidden, numHeads * headDim]];
  if (outBias) yield ['attn.o_bias', [hidden]];
  if (qkNorm) {
    yield ['attn.q_norm', [headDim]];
    yield ['attn.k_norm', [headDim]];
  }
  yield ['ffn_norm', [hidden]];
  const { ffn } = layer;
  const inner = ffn.intermediateSize;
  if (ffn.kind === 'moe') {
    yield ['moe.router', [ffn.numExperts, hidden]];
    for (let e = 0; e < ffn.numExperts; e++) {
      yield [`moe.experts.${e}.gate`, [inner, hidden]];
      yield [`moe.experts.${e}.up`, [inner, hidden]];
      yield [`moe.experts.${e}.down`, [hidden, inner]];
    }
    return;
  }
  for (const part of ['gate', 'up'] as const) {
    yield [`ffn.${part}`, [inner, hidden]];
    if (ffn.bias) yield [`ffn.${part}_bias`, [inner]];
  }
  yield ['ffn.down', [hidden, inner]];
  if (ffn.bias) yield ['ffn.down_bias', [hidden]];
}

/** Part of a role → module in a checkpoint; `E` stands for the expert. */
export type Names = Record<string, string>;

const STANDARD: Names = {
  embed: 'model.embed_tokens',
  final_norm: 'model.norm',
  lm_head: 'lm_head',
  attn_norm: 'input_layernorm',
  ffn_norm: 'post_attention_layernorm',
  'attn.q': 'self_attn.q_proj',
  'attn.k': 'self_attn.k_proj',
  'attn.v': 'self_attn.v_proj',
  'attn.o': 'self_attn.o_proj',
  'attn.q_norm': 'self_attn.q_norm',
  'attn.k_norm': 'self_attn.k_norm',
  'ffn.gate': 'mlp.gate_proj',
  'ffn.up': 'mlp.up_proj',
  'ffn.down': 'mlp.down_proj',
  'moe.router': 'mlp.gate',
  'moe.experts.E.gate': 'mlp.experts.E.gate_proj',
  'moe.experts.E.up': 'mlp.experts.E.up_proj',
  'moe.experts.E.down': 'mlp.experts.E.down_proj',
};

/** Names every role of the spec as Llama and its relatives do, with the family's own changes. */
export function describe(
  spec: ModelSpec,
  has: (tensor: string) => boolean,
  changes: Names = {},
): Described {
  const names = { ...STANDARD, ...changes };
  const weights = new Map<Role, string>();
  for (const role of expectedWeights(spec).keys()) weights.set(role, checkpointName(role, names));
  const head = `${names.lm_head}.weight`;
  // Many tied checkpoints store the head all the same.
  const copies = new Map<string, string>();
  if (spec.tieEmbeddings && has(head)) copies.set(head, `${names.embed}.weight`);
  return { spec, weights, copies };
}

function checkpointName(role: Role, names: Names): string {
  const layer = /^layers\.(\d+)\./.exec(role);
  const part = layer ? role.slice(layer[0].length) : role;
  const expert = /^moe\.experts\.(\d+)\./.exec(part)?.[1];
  const bias = part.endsWith('_bias');
  const key = part.replace(/_bias$/, '').replace(/^moe\.experts\.\d+/, 'moe.experts.E');
  const module = names[key]!.replace('E', expert ?? 'E');
  const prefix = layer ? `model.layers.${layer[1]}.` : '';
  return `${prefix}${module}.${bias ? 'bias' : 'weight'}`;
}
