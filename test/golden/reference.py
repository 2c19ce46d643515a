"""Goldens by an independent float64 implementation: python3 reference.py [folder]

Needs numpy only. Written from the published sources of the models (Hugging Face transformers' modeling files),
not from hotpath's code; one sequence at a time, no cache, every step from the start.
"""
import json
import struct
import sys
from pathlib import Path

import numpy as np

import record

SOURCE = "numpy float64 reference"


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = (8 + length + o for o in entry["data_offsets"])
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        yield name, values.astype(np.float64).reshape(entry["shape"])


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1.0 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def inverse_frequencies(config, dim):
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta"))
    inv = theta ** (-np.arange(0, dim, 2) / dim)
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        return inv / rope["factor"]
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        original = rope["original_max_position_embeddings"]
        out = []
        for f in inv:
            wavelength = 2 * np.pi / f
            if wavelength < original / high:
                out.append(f)
            elif wavelength > original / low:
                out.append(f / rope["factor"])
            else:
                smooth = (original / wavelength - low) / (high - low)
                out.append((1 - smooth) * f / rope["factor"] + smooth * f)
        return np.array(out)
    assert kind == "default", kind
    return inv


def rotate(x, angles):
    """x [n, heads, dim], angles [n, dim / 2]; pairs are (i, i + dim / 2)."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class Model:
    def __init__(self, folder):
        self.config = c = json.loads((folder / "config.json").read_text())
        self.weights = {n: w for f in sorted(folder.glob("*.safetensors")) for n, w in read_safetensors(f)}
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        self.dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.eps = c["rms_norm_eps"]
        self.inv = inverse_frequencies(c, self.dim)

    def linear(self, x, name):
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

    def window(self, layer):
        c = self.config
        if c["model_type"] in ("mistral", "mixtral"):
            return c.get("sliding_window")
        if not c.get("use_sliding_window"):
            return None
        if "layer_types" in c:
            return c["sliding_window"] if c["layer_types"][layer] == "sliding_attention" else None
        return c["sliding_window"] if layer >= c["max_window_layers"] else None

    def attention(self, x, layer):
        p, n = f"model.layers.{layer}.self_attn.", len(x)
        q = self.linear(x, p + "q_proj").reshape(n, self.heads, self.dim)
        k = self.linear(x, p + "k_proj").reshape(n, self.kv_heads, self.dim)
        v = self.linear(x, p + "v_proj").reshape(n, self.kv_heads, self.dim)
        if self.config["model_type"].startswith("qwen3"):
            q = rms_norm(q, self.weights[p + "q_norm.weight"], self.eps)
            k = rms_norm(k, self.weights[p + "k_norm.weight"], self.eps)
        angles = np.arange(n)[:, None] * self.inv[None]
        q, k = rotate(q, angles), rotate(k, angles)
        window = self.window(layer)
        out = np.zeros_like(q)
        for h in range(self.heads):
            kv = h // (self.heads // self.kv_heads)
            for i in range(n):
                first = 0 if window is None else max(0, i - window + 1)
                scores = k[first:i + 1, kv] @ q[i, h] / self.dim ** 0.5
                out[i, h] = softmax(scores) @ v[first:i + 1, kv]
        return self.linear(out.reshape(n, -1), p + "o_proj")

    def mlp(self, x, gate, up, down):
        return self.linear(silu(self.linear(x, gate)) * self.linear(x, up), down)

    def is_moe(self, layer):
        c = self.config
        if c["model_type"] == "mixtral":
            return True
        return (c["model_type"] == "qwen3_moe" and layer not in c["mlp_only_layers"]
                and (layer + 1) % c["decoder_sparse_step"] == 0)

    def moe(self, x, layer):
        """Returns the sum over chosen experts, the choices [n, k] and their margins [n]."""
        c = self.config
        if c["model_type"] == "mixtral":
            p, names, renormalize = f"model.layers.{layer}.block_sparse_moe.", ("w1", "w3", "w2"), True
        else:
            p, names = f"model.layers.{layer}.mlp.", ("gate_proj", "up_proj", "down_proj")
            renormalize = c["norm_topk_prob"]
        k = c["num_experts_per_tok"]
        probs = softmax(self.linear(x, p + "gate"))
        order = np.argsort(-probs, axis=1, kind="stable")
        out, margins = np.zeros_like(x), []
        for i, row in enumerate(order):
            chosen = probs[i, row[:k]]
            margins.append(float(chosen[-1] - probs[i, row[k]]))
            if renormalize:
                chosen = chosen / chosen.sum()
            for e, weight in zip(row[:k], chosen):
                out[i] += weight * self.mlp(x[i], *(f"{p}experts.{e}.{name}" for name in names))
        return out, order[:, :k].tolist(), margins

    def forward(self, ids):
        x = self.weights["model.embed_tokens.weight"][ids]
        experts = [[] for _ in ids]
        margins = [[] for _ in ids]
        for layer in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            x = x + self.attention(rms_norm(x, self.weights[p + "input_layernorm.weight"], self.eps), layer)
            y = rms_norm(x, self.weights[p + "post_attention_layernorm.weight"], self.eps)
            if self.is_moe(layer):
                out, chosen, margin = self.moe(y, layer)
            else:
                out = self.mlp(y, *(f"{p}mlp.{name}_proj" for name in ("gate", "up", "down")))
                chosen, margin = [None] * len(ids), [None] * len(ids)
            for i in range(len(ids)):
                experts[i].append(chosen[i])
                margins[i].append(margin[i])
            x = x + out
        x = rms_norm(x, self.weights["model.norm.weight"], self.eps)
        head = "model.embed_tokens.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"
        return x @ self.weights[head].T, experts, margins


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else record.HERE / "expected"
    for folder in sorted((record.HERE / "checkpoints").iterdir()):
        model = Model(folder)
        golden = record.build(SOURCE, folder.name, model.config["vocab_size"], model.forward)
        record.save(golden, target)
        p = golden["prompts"][0]
        print(f"{folder.name}: top logprob {np.mean(p['top'], 0)[0]:.2f}, 20th {np.mean(p['top'], 0)[-1]:.2f}, "
              f"own {np.mean(p['own']):.2f}, margins {np.quantile(p['margins'], [0, 0.5]).round(3).tolist()}, "
              f"distinct greedy {len(set(p['greedy']))}")
