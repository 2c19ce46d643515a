/** Mistral 7B, Nemo and everything saved as MistralForCausalLM: Llama with a window in all layers. */
import { decoderSpec, denseFfn, type Family, readWindow, sameWindow } from './decoder.js';
import { describe } from './roles.js';

export const mistral: Family = (config, has) => {
  config.only('attention_bias', [null, false]);
  config.only('mlp_bias', [null, false]);
  const ffn = denseFfn(config);
  const spec = decoderSpec(config, {
    defaultTheta: 10_000,
    qkvBias: false,
    outBias: false,
    qkNorm: false,
    windows: sameWindow(config, readWindow(config, 4096)),
    ffn: () => ({ ...ffn }),
  });
  return describe(spec, has);
};
