"""Muon for the matrices, Adam for the rest, over flat lists so that workers can share the work.

Muon (momentum, then the nearest orthogonal matrix by a Newton-Schulz iteration) needs roughly half of Adam's
tokens at this size. Expert weights (E, O, I) are E matrices.
"""

import torch


def orthogonal(g, steps=5):
    """(..., O, I) -> about U V^T of its singular value decomposition, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() if g.is_cuda else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-2, -1)
    for _ in range(steps):
        s = x @ x.transpose(-2, -1)
        x = a * x + (b * s + c * (s @ s)) @ x
    return (x.transpose(-2, -1) if tall else x).to(g.dtype)


def is_matrix(name, p):
    return p.dim() >= 2 and 'embed' not in name and 'mlp.gate.' not in name


class Optimizer:
    """Updates parameters in place. Workers see the same state and divide the parameters among them (`own`).

    `expert_every`: experts are updated every so many steps, with the gradients added up in between; each sees
    only a few of a step's tokens, and the iteration for all of them is most of the optimizer's cost on a CPU.
    """

    def __init__(self, named, muon_lr=0.02, adam_lr=4e-3, decay=0.02, ema=0.998, expert_every=1):
        self.items, self.expert_every = [], expert_every
        for name, p in sorted(named, key=lambda item: -item[1].numel() * is_matrix(*item)):
            state = {'name': name, 'p': p, 'm': torch.zeros_like(p), 'ema': p.detach().clone(), 'mine': True}
            if not is_matrix(name, p):
                state['v'] = torch.zeros_like(p)
            self.items.append(state)
        self.muon_lr, self.adam_lr, self.decay, self.ema = muon_lr, adam_lr, decay, ema

    def share(self):
        for s in self.items:
            for key in ('m', 'v', 'ema'):
                if key in s:
                    s[key].share_memory_()

    def own(self, worker, workers):
        """Takes this worker's share of the updates; the shares cost about the same."""
        cost = [0.0] * workers
        for s in self.items:
            who = cost.index(min(cost))
            cost[who] += s['p'].numel() * (1 if 'v' not in s else 0.1)
            s['mine'] = who == worker

    def state_dict(self):
        return {s['name']: {k: s[k].detach().cpu().clone() for k in ('p', 'm', 'v', 'ema') if k in s} for s in self.items}

    def load_state_dict(self, saved):
        with torch.no_grad():
            for s in self.items:
                for key, value in saved[s['name']].items():
                    s[key].copy_(value)

    def due(self, p, t):
        """Whether `p` is updated in step t, and its gradient therefore to be cleared after it."""
        return p.dim() < 3 or t % self.expert_every == self.expert_every - 1

    @torch.no_grad()
    def step(self, t, scale, gradient):
        """t: steps done before this one; scale: share of the full learning rate; gradient(name, p) -> tensor."""
        ema = min(self.ema, (1 + t) / (10 + t))
        for s in self.items:
            if not s['mine'] or not self.due(s['p'], t):
                continue
            p, m, g = s['p'], s['m'], gradient(s['name'], s['p'])
            if 'v' not in s:
                m.lerp_(g, 0.05)
                update = orthogonal(g.lerp(m, 0.95))
                lr = self.muon_lr * scale * max(1, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - lr * self.decay).add_(update, alpha=-lr)
            else:
                m.lerp_(g, 0.1)
                s['v'].lerp_(g.square(), 0.05)
                hat = (s['v'] / (1 - 0.95 ** (t + 1))).sqrt_().add_(1e-10)
                p.addcdiv_(m / (1 - 0.9 ** (t + 1)), hat, value=-self.adam_lr * scale)
            s['ema'].lerp_(p, 1 - ema)


def rate(fraction, warmup=0.01, cooldown=0.4):
    """Share of the full learning rate at `fraction` of the time: warm up, hold, then fall linearly."""
    if fraction < warmup:
        return (fraction + 1e-4) / warmup
    return min(1.0, max(0.02, (1 - fraction) / cooldown))
