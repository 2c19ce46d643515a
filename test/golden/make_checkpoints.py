"""Writes the random checkpoints of the golden tests: python3 make_checkpoints.py [folder]

Needs numpy only. The committed files came from numpy 2.4; another release may draw other numbers, and then
the goldens must be made again. Each case holds what is hard about its family; weights are scaled so that logits spread by
several units, and the epsilon of the norms is large enough to show.
"""
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}

# name -> (config, dtype of matrices, dtype of norms, shards)
CASES = {
    # llama3 scaling with pairs in all three bands, no head_dim in the config, own head.
    "llama-rope3": ({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 160, "hidden_size": 48,
        "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "rope_scaling": LLAMA3,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False}, "BF16", "BF16", 1),
    # All biases, linear scaling in the newer rope_parameters form, head_dim of its own, tied.
    "llama-bias": ({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 144, "hidden_size": 40,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "head_dim": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-4,
        "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
        "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, "F32", "F32", 1),
    # A window much shorter than the prompt, one KV head, f16, three shards.
    "mistral-window": ({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 160, "hidden_size": 48,
        "intermediate_size": 80, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "sliding_window": 13, "tie_word_embeddings": False}, "F16", "F16", 3),
    # Biases on q, k, v; tied; a window from layer 2 on.
    "qwen2-window": ({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 192, "hidden_size": 56,
        "intermediate_size": 88, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-4, "rope_theta": 1000000.0,
        "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2,
        "tie_word_embeddings": True}, "BF16", "BF16", 1),
    # RMSNorm on q and k, heads * head_dim != hidden_size, layer_types, norms in f32.
    "qwen3-types": ({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 176, "hidden_size": 48,
        "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
        "head_dim": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-4, "rope_theta": 1000000.0,
        "attention_bias": False, "use_sliding_window": True, "sliding_window": 11, "max_window_layers": 3,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "tie_word_embeddings": False}, "BF16", "F32", 1),
    # Two of five experts, grouped queries.
    "mixtral": ({
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 160, "hidden_size": 48,
        "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "sliding_window": None,
        "num_local_experts": 5, "num_experts_per_tok": 2, "tie_word_embeddings": False}, "BF16", "BF16", 1),
    # Three of eight experts, renormalised; the middle layer dense; two shards.
    "qwen3-moe": ({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 160, "hidden_size": 48,
        "intermediate_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-4, "rope_theta": 1000000.0,
        "attention_bias": False, "use_sliding_window": False, "decoder_sparse_step": 1, "mlp_only_layers": [1],
        "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "norm_topk_prob": True,
        "tie_word_embeddings": False}, "BF16", "BF16", 2),
    # Weights not renormalised; experts in every second layer.
    "qwen3-moe-raw": ({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 128, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-4, "rope_theta": 10000.0,
        "attention_bias": False, "use_sliding_window": False, "decoder_sparse_step": 2, "mlp_only_layers": [],
        "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": False,
        "tie_word_embeddings": False}, "F32", "F32", 1),
}


def tensor_shapes(c):
    """Published tensor names -> shapes, in the order in which they are drawn."""
    h, inner = c["hidden_size"], c["intermediate_size"]
    dim = c.get("head_dim") or h // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * dim, c["num_key_value_heads"] * dim
    family = c["model_type"]
    yield "model.embed_tokens.weight", (c["vocab_size"], h)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (h,)
        for part, n in (("q", q), ("k", kv), ("v", kv)):
            yield f"{p}self_attn.{part}_proj.weight", (n, h)
            if family == "qwen2" or c.get("attention_bias"):
                yield f"{p}self_attn.{part}_proj.bias", (n,)
        yield p + "self_attn.o_proj.weight", (h, q)
        if c.get("attention_bias"):
            yield p + "self_attn.o_proj.bias", (h,)
        if family.startswith("qwen3"):
            yield p + "self_attn.q_norm.weight", (dim,)
            yield p + "self_attn.k_norm.weight", (dim,)
        yield p + "post_attention_layernorm.weight", (h,)
        if family == "mixtral":
            yield p + "block_sparse_moe.gate.weight", (c["num_local_experts"], h)
            for e in range(c["num_local_experts"]):
                for part, shape in (("w1", (inner, h)), ("w2", (h, inner)), ("w3", (inner, h))):
                    yield f"{p}block_sparse_moe.experts.{e}.{part}.weight", shape
        elif family == "qwen3_moe" and i not in c["mlp_only_layers"] and (i + 1) % c["decoder_sparse_step"] == 0:
            m = c["moe_intermediate_size"]
            yield p + "mlp.gate.weight", (c["num_experts"], h)
            for e in range(c["num_experts"]):
                for part, shape in (("gate", (m, h)), ("up", (m, h)), ("down", (h, m))):
                    yield f"{p}mlp.experts.{e}.{part}_proj.weight", shape
        else:
            for part, shape in (("gate", (inner, h)), ("up", (inner, h)), ("down", (h, inner))):
                yield f"{p}mlp.{part}_proj.weight", shape
                if c.get("mlp_bias"):
                    yield f"{p}mlp.{part}_proj.bias", (shape[0],)
    yield "model.norm.weight", (h,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], h)


def draw(rng, name, shape):
    if name.endswith("norm.weight"):
        return 1.0 + 0.2 * rng.standard_normal(shape)
    if name.endswith(".bias"):
        return 0.3 * rng.standard_normal(shape)
    # Unit inputs give outputs of this spread: wide enough that routing and attention are decided.
    gain = {"embed_tokens": shape[-1] ** 0.5 * 0.35, "lm_head": 2.0, "gate": 2.5, "q_proj": 2.0, "k_proj": 2.0,
            "o_proj": 2.0, "down_proj": 2.5, "w2": 2.5}
    module = name.split(".")[-2]
    return gain.get(module, 1.2) * rng.standard_normal(shape) / shape[-1] ** 0.5


def encode(array, dtype):
    """Rounds to nearest even, as checkpoints are saved."""
    a = array.astype(np.float32)
    if dtype == "F32":
        return a.astype("<f4").tobytes()
    if dtype == "F16":
        return a.astype("<f2").tobytes()
    bits = a.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_safetensors(path, tensors):
    """tensors: [(name, dtype, shape, bytes)]"""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))


def write_case(folder, name):
    config, matrix_dtype, norm_dtype, num_shards = CASES[name]
    config = {**config, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
              "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[matrix_dtype]}
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    tensors = []
    for tensor, shape in tensor_shapes(config):
        dtype = norm_dtype if tensor.endswith("norm.weight") else matrix_dtype
        tensors.append((tensor, dtype, shape, encode(draw(rng, tensor, shape), dtype)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if num_shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return
    weight_map = {}
    for s in range(num_shards):
        part = tensors[len(tensors) * s // num_shards: len(tensors) * (s + 1) // num_shards]
        file = f"model-{s + 1:05d}-of-{num_shards:05d}.safetensors"
        write_safetensors(folder / file, part)
        weight_map.update((t[0], file) for t in part)
    total = sum(len(t[3]) for t in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "checkpoints"
    for case in CASES:
        write_case(target / case, case)
        print(case, sum(f.stat().st_size for f in (target / case).iterdir()), "bytes")
