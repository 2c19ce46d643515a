/** Qwen3, dense: RMSNorm over each head of q and k before RoPE, no biases. */
import { decoderSpec, denseFfn, type Family, qwenWindows } from './decoder.js';
import { describe } from './roles.js';

export const qwen3: Family = (config, has) => {
  config.only('mlp_bias', [null, false]);
  const attentionBias = config.flag('attention_bias', false);
  const ffn = denseFfn(config);
  const spec = decoderSpec(config, {
    defaultTheta: 10_000,
    qkvBias: attentionBias,
    outBias: attentionBias,
    qkNorm: true,
    // The family's default is 128 whatever the hidden size.
    headDim: config.count('head_dim', 128),
    windows: qwenWindows(config),
    ffn: () => ({ ...ffn }),
  });
  return describe(spec, has);
};
