/** Mixtral: softmax over all experts, the best k, weights renormalised to sum 1. */
import { decoderSpec, type Family, moeFfn, readWindow, sameWindow } from './decoder.js';
import { describe } from './roles.js';

export const mixtral: Family = (config, has) => {
  config.only('attention_bias', [null, false]);
  const ffn = moeFfn(config, {
    numExperts: config.count('num_local_experts'),
    topK: config.count('num_experts_per_tok'),
    intermediateSize: config.count('intermediate_size'),
    renormalize: true,
  });
  const spec = decoderSpec(config, {
    defaultTheta: 1_000_000,
    qkvBias: false,
    outBias: false,
    qkNorm: false,
    windows: sameWindow(config, readWindow(config, null)),
    ffn: () => ({ ...ffn }),
  });
  return describe(spec, has, {
    'moe.router': 'block_sparse_moe.gate',
    'moe.experts.E.gate': 'block_sparse_moe.experts.E.w1',
    'moe.experts.E.up': 'block_sparse_moe.experts.E.w3',
    'moe.experts.E.down': 'block_sparse_moe.experts.E.w2',
  });
};
