/** Qwen3 MoE: Qwen3's attention; experts in every decoder_sparse_step-th layer but mlp_only_layers. */
import type { Config } from './config.js';
import { decoderSpec, denseFfn, type Family, moeFfn, readWindow, sameWindow } from './decoder.js';
import { describe } from './roles.js';

export const qwen3Moe: Family = (config, has) => {
  config.only('mlp_bias', [null, false]);
  const attentionBias = config.flag('attention_bias', false);
  const dense = new Set(config.layerList('mlp_only_layers', config.count('num_hidden_layers')));
  const step = config.count('decoder_sparse_step', 1);
  const ffn = moeFfn(config, {
    numExperts: config.count(numExpertsKey(config)),
    topK: config.count('num_experts_per_tok'),
    intermediateSize: config.count('moe_intermediate_size'),
    renormalize: config.flag('norm_topk_prob', false),
  });
  const spec = decoderSpec(config, {
    defaultTheta: 10_000,
    qkvBias: attentionBias,
    outBias: attentionBias,
    qkNorm: true,
    windows: sameWindow(config, window(config)),
    ffn: (layer) => (!dense.has(layer) && (layer + 1) % step === 0 ? { ...ffn } : denseFfn(config)),
  });
  return describe(spec, has);
};

/** transformers 5 also writes it as num_local_experts. */
function numExpertsKey({ values }: Config): string {
  return values.num_experts == null && values.num_local_experts != null
    ? 'num_local_experts'
    : 'num_experts';
}

/**
 * Releases of transformers differ in which layers the window applies to unless max_window_layers is 0
 * or missing: then it is all of them.
 */
function window(config: Config): number {
  if (!config.flag('use_sliding_window', false)) return 0;
  config.only('max_window_layers', [null, 0]);
  return readWindow(config, 4096);
}
