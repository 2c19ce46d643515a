/** Qwen2 and Qwen2.5: biases on q, k and v only. */
import { decoderSpec, denseFfn, type Family, qwenWindows } from './decoder.js';
import { describe } from './roles.js';

export const qwen2: Family = (config, has) => {
  config.only('attention_bias', [null, true]);
  config.only('mlp_bias', [null, false]);
  const ffn = denseFfn(config);
  const spec = decoderSpec(config, {
    defaultTheta: 10_000,
    qkvBias: true,
    outBias: false,
    qkNorm: false,
    windows: qwenWindows(config),
    ffn: () => ({ ...ffn }),
  });
  return describe(spec, has);
};
