import { describe, expect, test } from 'vitest';
import { SUPPORTED_FAMILIES } from '../../lib/models/index.js';
import { expectedWeights } from '../../lib/models/roles.js';
import type { MoeFfn } from '../../lib/models/spec.js';
import {
  type Config,
  describeOf,
  GOLDEN,
  refused,
  specOf,
  windowsOf,
  wrong,
} from './models-fixtures.js';

test('every family of the registry is tested here', () => {
  expect(Object.keys(GOLDEN).sort()).toEqual([...SUPPORTED_FAMILIES].sort());
});

describe('architecture', () => {
  test.each(['gpt2', undefined, 7, '__proto__'])('model_type %s', (model_type) =>
    refused(
      'llama',
      { model_type },
      'model_type',
      ...SUPPORTED_FAMILIES,
      `received ${JSON.stringify(model_type) ?? 'nothing'}`,
    ),
  );

  test('a head that is not for text', () =>
    refused(
      'llama',
      { architectures: ['LlamaForSequenceClassification'] },
      'expected ["LlamaForCausalLM"]',
      'LlamaForSequenceClassification',
    ));

  test('none named', () => {
    expect(specOf('llama', { architectures: undefined }).family).toBe('llama');
    expect(specOf('llama', { architectures: null }).family).toBe('llama');
  });
});

describe('what every family shares', () => {
  test.each(SUPPORTED_FAMILIES)('%s: values that are not implemented', async (family) => {
    await refused(
      family,
      { hidden_act: 'gelu' },
      'config.json: hidden_act',
      `${family} is supported with "silu"`,
      'received "gelu"',
    );
    await refused(
      family,
      { quantization_config: { quant_method: 'gptq' } },
      'quantization_config',
      'gptq',
    );
    await refused(family, { pretraining_tp: 2 }, 'pretraining_tp', 'null or 1', 'received 2');
    await refused(family, { partial_rotary_factor: 0.5 }, 'partial_rotary_factor');
    await refused(
      family,
      { rope_scaling: { type: 'yarn', factor: 4 } },
      'rope_scaling',
      '"llama3"',
      'yarn',
    );
    await refused(family, { rope_scaling: { rope_type: 'dynamic', factor: 4 } }, 'dynamic');
    await refused(family, { rope_scaling: { type: 'mrope', mrope_section: [1] } }, 'mrope');
    await refused(family, { final_logit_softcapping: 30 }, 'final_logit_softcapping');
    await refused(
      family,
      { mlp_bias: family === 'llama' ? undefined : true, n_shared_experts: 1 },
      /mlp_bias|n_shared_experts/,
    );
  });

  test.each(SUPPORTED_FAMILIES)(
    '%s: values that mean "off", or matter in training only',
    (family) => {
      const changes = {
        quantization_config: null,
        pretraining_tp: 1,
        partial_rotary_factor: 1.0,
        ...(family === 'llama' ? {} : { rope_scaling: null }),
        no_rope_layers: [],
        attention_dropout: 0.1,
        initializer_range: 0.02,
        use_cache: true,
        router_aux_loss_coef: 0.001,
        output_router_logits: false,
        transformers_version: '4.57.1',
        _name_or_path: 'x',
      };
      expect(specOf(family, changes)).toEqual(specOf(family));
    },
  );

  test.each(SUPPORTED_FAMILIES)('%s: values of the wrong kind', async (family) => {
    for (const key of [
      'hidden_size',
      'num_hidden_layers',
      'num_attention_heads',
      'vocab_size',
      'max_position_embeddings',
    ])
      for (const value of [undefined, 0, -4, 2.5, '48', [48], 2 ** 40])
        await wrong(
          family,
          { [key]: value },
          `config.json: ${key}: expected a whole number from 1`,
          `received ${value === undefined ? 'nothing' : JSON.stringify(value)}`,
        );
    await wrong(family, { rms_norm_eps: undefined }, 'rms_norm_eps: expected a number above 0');
    await wrong(
      family,
      { tie_word_embeddings: 'yes' },
      'tie_word_embeddings: expected true or false',
    );
    await wrong(family, { num_key_value_heads: 5 }, 'num_key_value_heads: expected a divisor');
    await wrong(family, { rope_theta: -1 }, 'rope_theta: expected a number above 0');
    await wrong(family, { layer_types: ['full_attention'] }, 'layer_types: expected a list');
    await refused(family, { head_dim: 15 }, 'head_dim', 'even');
  });

  test.each(SUPPORTED_FAMILIES)('%s: each role has a name of its own', (family) => {
    const { spec, weights } = describeOf(family);
    expect([...weights.keys()]).toEqual([...expectedWeights(spec).keys()]);
    expect(new Set(weights.values()).size).toBe(weights.size);
    expect(weights.get('layers.1.attn_norm')).toBe('model.layers.1.input_layernorm.weight');
    expect(weights.get('layers.1.ffn_norm')).toBe('model.layers.1.post_attention_layernorm.weight');
  });
});

describe('llama', () => {
  test('head_dim, biases and KV heads', () => {
    expect(specOf('llama').layers[0]!.mixer).toMatchObject({
      headDim: 12,
      numHeads: 4,
      numKvHeads: 2,
      qkvBias: false,
      outBias: false,
      qkNorm: false,
      window: 0,
    });
    expect(specOf('llama', { head_dim: 32 }).layers[0]!.mixer.headDim).toBe(32);
    expect(specOf('llama', { head_dim: null }).layers[0]!.mixer.headDim).toBe(12);
    for (const num_key_value_heads of [undefined, null])
      expect(specOf('llama', { num_key_value_heads }).layers[0]!.mixer.numKvHeads).toBe(4);
    const biased = describeOf('llama', { attention_bias: true, mlp_bias: true });
    expect(biased.spec.layers[0]).toMatchObject({
      mixer: { qkvBias: true, outBias: true },
      ffn: { bias: true },
    });
    expect(biased.weights.get('layers.0.attn.o_bias')).toBe('model.layers.0.self_attn.o_proj.bias');
    expect(biased.weights.get('layers.2.ffn.gate_bias')).toBe('model.layers.2.mlp.gate_proj.bias');
  });

  test('heads that do not divide the hidden size', () =>
    wrong(
      'llama',
      { num_attention_heads: 5, num_key_value_heads: 5 },
      'num_attention_heads: expected a divisor of hidden_size (48)',
    ));

  test('no window', async () => {
    await refused('llama', { sliding_window: 8 }, 'sliding_window');
    await refused(
      'llama',
      { layer_types: ['full_attention', 'sliding_attention', 'full_attention'] },
      'layer_types',
      '"full_attention" in all layers',
    );
  });
});

describe('mistral', () => {
  test('the window is that of all layers; null is none', async () => {
    expect(windowsOf('mistral')).toEqual([13, 13, 13, 13]);
    expect(windowsOf('mistral', { sliding_window: null })).toEqual([0, 0, 0, 0]);
    expect(windowsOf('mistral', { sliding_window: undefined })).toEqual([4096, 4096, 4096, 4096]);
    await wrong('mistral', { sliding_window: 0 }, 'sliding_window: expected a whole number from 1');
    await refused('mistral', { attention_bias: true }, 'attention_bias');
  });
});

describe('qwen2 and qwen3', () => {
  test('biases', () => {
    expect(specOf('qwen2').layers[0]!.mixer).toMatchObject({
      qkvBias: true,
      outBias: false,
      qkNorm: false,
    });
    expect(specOf('qwen3').layers[0]!.mixer).toMatchObject({
      qkvBias: false,
      outBias: false,
      qkNorm: true,
    });
    expect(describeOf('qwen2').weights.get('layers.0.attn.v_bias')).toBe(
      'model.layers.0.self_attn.v_proj.bias',
    );
    expect(describeOf('qwen3').weights.get('layers.0.attn.k_norm')).toBe(
      'model.layers.0.self_attn.k_norm.weight',
    );
  });

  test('which layers have a window', async () => {
    expect(windowsOf('qwen2')).toEqual([0, 0, 9]);
    expect(windowsOf('qwen2', { max_window_layers: 0 })).toEqual([9, 9, 9]);
    expect(windowsOf('qwen2', { max_window_layers: 3 })).toEqual([0, 0, 0]);
    expect(windowsOf('qwen2', { use_sliding_window: false })).toEqual([0, 0, 0]);
    expect(windowsOf('qwen2', { sliding_window: null })).toEqual([0, 0, 0]);
    expect(windowsOf('qwen3')).toEqual([0, 11, 0]);
    expect(windowsOf('qwen3', { layer_types: null, max_window_layers: 1 })).toEqual([0, 11, 11]);
    await refused(
      'qwen3',
      { use_sliding_window: false },
      'layer_types',
      'while use_sliding_window is off',
    );
    await refused(
      'qwen3',
      { layer_types: ['full_attention', 'chunked_attention', 'full_attention'] },
      'chunked_attention',
    );
  });

  test('qwen3 heads are 128 wide unless said otherwise', () => {
    expect(specOf('qwen3', { head_dim: undefined }).layers[0]!.mixer.headDim).toBe(128);
  });
});

describe('mixture of experts', () => {
  test('mixtral: w1 is gate, w3 is up, w2 is down; weights sum to 1', () => {
    const { spec, weights } = describeOf('mixtral');
    expect(spec.layers.map((l) => l.ffn)).toEqual(
      Array(2).fill({
        kind: 'moe',
        numExperts: 5,
        topK: 2,
        intermediateSize: 56,
        renormalize: true,
      }),
    );
    const expert = 'model.layers.1.block_sparse_moe.experts.3';
    expect(weights.get('layers.1.moe.experts.3.gate')).toBe(`${expert}.w1.weight`);
    expect(weights.get('layers.1.moe.experts.3.up')).toBe(`${expert}.w3.weight`);
    expect(weights.get('layers.1.moe.experts.3.down')).toBe(`${expert}.w2.weight`);
    expect(weights.get('layers.1.moe.router')).toBe('model.layers.1.block_sparse_moe.gate.weight');
  });

  test('qwen3_moe: which layers have experts', () => {
    const kinds = (changes: Config) => specOf('qwen3_moe', changes).layers.map((l) => l.ffn.kind);
    expect(kinds({})).toEqual(['moe', 'dense', 'moe']);
    expect(kinds({ mlp_only_layers: null })).toEqual(['moe', 'moe', 'moe']);
    expect(kinds({ mlp_only_layers: [], decoder_sparse_step: 2 })).toEqual([
      'dense',
      'moe',
      'dense',
    ]);
    expect(kinds({ decoder_sparse_step: 2 })).toEqual(['dense', 'dense', 'dense']);
    const [moe, dense] = specOf('qwen3_moe').layers.map((l) => l.ffn);
    expect(moe).toEqual({
      kind: 'moe',
      numExperts: 8,
      topK: 3,
      intermediateSize: 24,
      renormalize: true,
    });
    expect(dense).toEqual({ kind: 'dense', intermediateSize: 72, bias: false });
    const { weights } = describeOf('qwen3_moe');
    expect(weights.get('layers.2.moe.experts.7.down')).toBe(
      'model.layers.2.mlp.experts.7.down_proj.weight',
    );
    expect(weights.get('layers.2.moe.router')).toBe('model.layers.2.mlp.gate.weight');
  });

  test('qwen3_moe: norm_topk_prob is off unless set; num_experts has two names', () => {
    const ffn = (changes: Config) => specOf('qwen3_moe', changes).layers[0]!.ffn as MoeFfn;
    expect(ffn({ norm_topk_prob: undefined }).renormalize).toBe(false);
    expect(ffn({ num_experts: undefined, num_local_experts: 6 }).numExperts).toBe(6);
  });

  test('what does not fit', async () => {
    await wrong(
      'mixtral',
      { num_experts_per_tok: 6 },
      'num_experts_per_tok: expected at most the number of experts (5)',
    );
    await wrong('qwen3_moe', { num_experts: undefined }, 'num_experts: expected a whole number');
    await wrong(
      'qwen3_moe',
      { mlp_only_layers: [3] },
      'mlp_only_layers: expected a list of layer numbers from 0 to 2',
    );
    await refused(
      'qwen3_moe',
      { shared_expert_intermediate_size: 8 },
      'shared_expert_intermediate_size',
    );
    await refused(
      'qwen3_moe',
      { use_sliding_window: true, sliding_window: 8, max_window_layers: 2 },
      'max_window_layers',
    );
    expect(windowsOf('qwen3_moe', { use_sliding_window: true, sliding_window: 8 })).toEqual([
      8, 8, 8,
    ]);
  });
});
