/** Llama 1 to 3.3 and everything saved as LlamaForCausalLM. */
import { type Config, isCount } from './config.js';
import { decoderSpec, denseFfn, type Family, sameWindow } from './decoder.js';
import { describe } from './roles.js';

export const llama: Family = (config: Config, has) => {
  const attentionBias = config.flag('attention_bias', false);
  const heads = config.values.num_attention_heads;
  config.only('sliding_window', [null]);
  const ffn = denseFfn(config, config.flag('mlp_bias', false));
  const spec = decoderSpec(config, {
    defaultTheta: 10_000,
    qkvBias: attentionBias,
    outBias: attentionBias,
    qkNorm: false,
    // Llama 1 came before grouped queries.
    defaultKvHeads: isCount(heads) ? heads : undefined,
    windows: sameWindow(config, 0),
    ffn: () => ({ ...ffn }),
  });
  return describe(spec, has);
};
