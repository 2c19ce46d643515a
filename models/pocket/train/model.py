"""Pocket's network: a qwen3_moe decoder. The same weights run through two forms of the expert layer.

On a CPU the tokens are sorted by expert and each expert multiplies only its own (GroupedLinear); on a GPU all
experts multiply everything in one batched product, which at this size is faster than sorting and compiles well.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab_size: int = 1024
    hidden_size: int = 192
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    head_dim: int = 32
    num_experts: int = 12
    num_experts_per_tok: int = 2
    moe_intermediate_size: int = 128
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6

    def to_dict(self):
        return asdict(self)


class RMSNormFunction(torch.autograd.Function):
    """One pass forward and two backward; autograd's own graph of five operations is memory-bound on a CPU."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True).add_(eps))
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    def backward(ctx, grad):
        normed, scale, weight = ctx.saved_tensors
        grad_weight = (grad * normed).flatten(0, -2).sum(0)
        g = grad * weight
        dot = (g * normed).mean(-1, keepdim=True)
        return g.sub_(normed * dot).mul_(scale), grad_weight, None


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        if x.device.type == 'cpu':
            return RMSNormFunction.apply(x, self.weight, self.eps)
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class GroupedLinear(torch.autograd.Function):
    """out[rows of expert e] = x[rows of expert e] @ weight[e].T, for x sorted by expert.

    x: (N, I), weight: (E, O, I), ends: the last row + 1 of each expert.
    """

    @staticmethod
    def forward(ctx, x, weight, ends):
        out = x.new_empty(x.shape[0], weight.shape[1])
        start = 0
        for e, end in enumerate(ends):
            if end > start:
                torch.mm(x[start:end], weight[e].t(), out=out[start:end])
            start = end
        ctx.save_for_backward(x, weight)
        ctx.ends = ends
        return out

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad_x, grad_weight = torch.empty_like(x), torch.zeros_like(weight)
        start = 0
        for e, end in enumerate(ctx.ends):
            if end > start:
                torch.mm(grad[start:end], weight[e], out=grad_x[start:end])
                torch.mm(grad[start:end].t(), x[start:end], out=grad_weight[e])
            start = end
        return grad_x, grad_weight, None


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv, self.dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, self.kv * self.dim, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, self.kv * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, c.hidden_size, bias=False)
        self.q_norm, self.k_norm = RMSNorm(self.dim, c.rms_norm_eps), RMSNorm(self.dim, c.rms_norm_eps)

    def forward(self, x, cos, sin, mask, cache=None):
        """x: (B, T, D); cos, sin: (B or 1, T, 1, dim); mask: additive float or bool, (B or 1, T, S).

        `cache` is (keys, values, positions): both (B, S, kv, dim), written at `positions` (B, T).
        """
        b, t, _ = x.shape
        group = self.heads // self.kv

        def rotate(u):
            low, high = u.chunk(2, -1)
            return (u * cos + torch.cat([-high, low], -1) * sin).to(u.dtype)

        q = rotate(self.q_norm(self.q_proj(x).view(b, t, self.heads, self.dim)))
        k = rotate(self.k_norm(self.k_proj(x).view(b, t, self.kv, self.dim)))
        v = self.v_proj(x).view(b, t, self.kv, self.dim)
        if cache is not None:
            keys, values, positions = cache
            rows = torch.arange(b, device=x.device)[:, None]
            keys[rows, positions], values[rows, positions] = k.to(keys.dtype), v.to(values.dtype)
            k, v = keys.to(q.dtype), values.to(q.dtype)
        if x.device.type == 'cuda' and cache is None:
            k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
            y = F.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask[:, None]
            ).transpose(1, 2)
            return self.o_proj(y.reshape(b, t, -1))
        # The query heads that share a key head form one taller product: (B * kv, group * T, S).
        s = k.shape[1]
        q = q.view(b, t, self.kv, group, self.dim).permute(0, 2, 3, 1, 4).reshape(b * self.kv, group * t, self.dim)
        k = k.permute(0, 2, 3, 1).reshape(b * self.kv, self.dim, s)
        v = v.permute(0, 2, 1, 3).reshape(b * self.kv, s, self.dim)
        scores = torch.bmm(q * self.dim**-0.5, k).view(b, self.kv * group, t, s)
        weights = (scores + mask[:, None]).softmax(-1).view(b * self.kv, group * t, s)
        y = torch.bmm(weights.to(v.dtype), v).view(b, self.kv, group, t, self.dim).permute(0, 3, 1, 2, 4)
        return self.o_proj(y.reshape(b, t, -1))


class Experts(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.count, self.chosen = c.num_experts, c.num_experts_per_tok
        d, f = c.hidden_size, c.moe_intermediate_size
        self.gate = nn.Linear(d, self.count, bias=False)
        self.gate_proj = nn.Parameter(torch.randn(self.count, f, d) * d**-0.5)
        self.up_proj = nn.Parameter(torch.randn(self.count, f, d) * d**-0.5)
        self.down_proj = nn.Parameter(torch.randn(self.count, d, f) * f**-0.5 / math.sqrt(2 * c.num_hidden_layers))
        self.aux = None

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        with torch.autocast(x.device.type, enabled=False):  # the choice of experts stays in float32
            probs = self.gate(x.float()).softmax(-1)
        weights, chosen = probs.topk(self.chosen, -1)
        weights = weights / weights.sum(-1, keepdim=True)
        if self.training:
            share = torch.zeros_like(probs).scatter(-1, chosen, 1.0).mean(0)
            self.aux = self.count * (probs.mean(0) * share).sum()
        combine = self.dense if x.device.type == 'cuda' else self.grouped
        return combine(x, weights, chosen).view(shape)

    def dense(self, x, weights, chosen):
        """x: (N, D); weights, chosen: (N, k). Every expert on every token, the unchosen weighted by 0."""
        used = x.new_zeros(x.shape[0], self.count).scatter(-1, chosen, weights.to(x.dtype))
        inner = F.silu(torch.einsum('nd,efd->nef', x, self.gate_proj)) * torch.einsum('nd,efd->nef', x, self.up_proj)
        return torch.einsum('nef,edf->nd', inner * used[..., None].to(inner.dtype), self.down_proj)

    def grouped(self, x, weights, chosen):
        """The same with the chosen experts only."""
        flat = chosen.flatten()
        order = flat.argsort()
        ends = torch.bincount(flat, minlength=self.count).cumsum(0).tolist()
        rows = x.index_select(0, order // self.chosen)
        inner = F.silu(GroupedLinear.apply(rows, self.gate_proj, ends)) * GroupedLinear.apply(rows, self.up_proj, ends)
        out = GroupedLinear.apply(inner, self.down_proj, ends) * weights.flatten()[order, None]
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return out.index_select(0, back).view(-1, self.chosen, x.shape[1]).sum(1)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Experts(c)

    def forward(self, x, cos, sin, mask, cache=None, keep=None):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        if keep is not None:
            x = x.flatten(0, 1).index_select(0, keep)
        return x + self.mlp(self.post_attention_layernorm(x))


class Pocket(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        frequencies = c.rope_theta ** (-torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        angles = torch.outer(torch.arange(c.max_position_embeddings).float(), frequencies)
        self.register_buffer('cos', angles.cos().repeat(1, 2), persistent=False)
        self.register_buffer('sin', angles.sin().repeat(1, 2), persistent=False)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        for layer in self.layers:
            for name, p in layer.named_parameters():
                if p.dim() == 2:
                    scale = 1 / math.sqrt(2 * c.num_hidden_layers) if 'o_proj' in name else 1
                    nn.init.normal_(p, std=p.shape[1] ** -0.5 * scale)

    def forward(self, ids, positions=None, documents=None, keep=None):
        """ids: (B, T) -> hidden states after the last norm, (B, T, D).

        Rows hold one document each, or several told apart by `documents` with `positions` restarting.
        `keep`: flat indices of the places whose states are wanted, (K, D); the last layer's experts are then
        spared the others.
        """
        t = ids.shape[1]
        x = self.embed_tokens(ids)
        causal = torch.ones(t, t, dtype=torch.bool, device=ids.device).tril()
        if positions is None:
            cos, sin = self.cos[None, :t, None], self.sin[None, :t, None]
        else:
            cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]
        mask = causal[None] if documents is None else causal & (documents[:, :, None] == documents[:, None])
        if ids.device.type == 'cpu':
            mask = torch.zeros(mask.shape).masked_fill_(~mask, -1e9)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, mask, keep=keep if i == last else None)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight.to(hidden.dtype))

    def aux(self):
        return sum(layer.mlp.aux for layer in self.layers) / len(self.layers)

    @torch.no_grad()
    def generate(self, prompts, stop, max_new):
        """Greedy continuation of all prompts at once; returns the new ids of each, the stop id left out."""
        device = self.embed_tokens.weight.device
        c, b = self.config, len(prompts)
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        longest = int(lengths.max())
        size = min(longest + max_new, c.max_position_embeddings)
        ids = torch.zeros(b, longest, dtype=torch.long)
        for i, p in enumerate(prompts):
            ids[i, : len(p)] = torch.tensor(p)
        caches = [
            [torch.zeros(b, size, c.num_key_value_heads, c.head_dim, device=device) for _ in 'kv']
            for _ in self.layers
        ]  # fmt: skip
        x, positions = ids.to(device), torch.arange(longest, device=device).expand(b, -1)
        out, done = [], torch.zeros(b, dtype=torch.bool, device=device)
        for step in range(size - longest):
            hidden = self.embed_tokens(x)
            cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]
            seen = torch.arange(size, device=device) <= positions[:, :, None]
            mask = torch.zeros(seen.shape, device=device).masked_fill_(~seen, -1e9)
            for layer, (keys, values) in zip(self.layers, caches):
                hidden = layer(hidden, cos, sin, mask, (keys, values, positions))
            hidden = self.norm(hidden)
            # The prompts end at different places: the first token follows each one's own last.
            last = hidden[torch.arange(b, device=device), lengths - 1] if step == 0 else hidden[:, 0]
            token = self.logits(last).argmax(-1)
            out.append(token)
            done |= torch.isin(token, torch.tensor(stop, device=device))
            if bool(done.all()):
                break
            x, positions = token[:, None], (lengths + step)[:, None]
        rows = torch.stack(out, 1).tolist()
        return [row[: next((i for i, t in enumerate(row) if t in stop), len(row))] for row in rows]
