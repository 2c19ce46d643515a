"""The form of a golden, whoever computes it.

A golden is {source, case, prompts: [{ids, own, top_ids, top, greedy, margins, greedy_logprobs, experts,
expert_margins}]}:
  ids              the prompt
  own              log p of prompt token i + 1 given those before, i = 0 .. len - 2
  top_ids, top     the TOP likeliest tokens at those positions and their log p, falling
  greedy           GREEDY tokens that follow the prompt, the likeliest each time
  margins          likeliest minus second, in logits, at each of them
  greedy_logprobs  their log p
  experts          [position][layer]: ids of the chosen experts by falling weight, null in dense layers; positions
                   0 .. len + GREEDY - 2 (the last token is never fed back)
  expert_margins   [position][layer]: probability of the last chosen minus that of the first not chosen
"""
import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
TOP, GREEDY = 20, 16
LENGTHS = (71, 6)
# Chosen so that no two tokens are close at any greedy step: then all of them can be compared.
PROMPT_SEEDS = {"llama-bias": 0, "llama-rope3": 1, "mistral-window": 1, "mixtral": 2, "qwen2-window": 4,
                "qwen3-moe": 3, "qwen3-moe-raw": 4, "qwen3-types": 3}


def prompts(case, vocab):
    rng = np.random.Generator(np.random.PCG64(PROMPT_SEEDS[case]))
    return [[int(t) for t in rng.integers(3, vocab, n)] for n in LENGTHS]


def build(source, case, vocab, forward):
    """forward(ids) -> (logits [n, vocab] float64, experts [n][layer], expert_margins [n][layer])"""
    return {"source": source, "case": case,
            "prompts": [build_prompt(ids, forward) for ids in prompts(case, vocab)]}


def build_prompt(ids, forward):
    logits, _, _ = forward(ids)
    logprobs = log_softmax(logits)[:-1]
    order = np.argsort(-logprobs, axis=1, kind="stable")[:, :TOP]
    greedy, margins, greedy_logprobs = [], [], []
    for _ in range(GREEDY):
        logits, experts, expert_margins = forward(ids + greedy)
        second, best = np.sort(logits[-1])[-2:]
        token = int(np.argmax(logits[-1]))
        greedy_logprobs.append(log_softmax(logits)[-1, token])
        margins.append(best - second)
        greedy.append(token)
    return {
        "ids": ids,
        "own": rounded(logprobs[np.arange(len(ids) - 1), ids[1:]]),
        "top_ids": order.tolist(),
        "top": rounded(np.take_along_axis(logprobs, order, 1)),
        "greedy": greedy,
        "margins": rounded(margins),
        "greedy_logprobs": rounded(greedy_logprobs),
        "experts": experts,
        "expert_margins": [[None if m is None else round(m, 6) for m in row] for row in expert_margins],
    }


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def rounded(values):
    return np.round(np.asarray(values, dtype=np.float64), 5).tolist()


def save(golden, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{golden['case']}.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def compare(mine, theirs):
    """One line on how far two goldens of a case are apart."""
    worst, tokens, experts, close = 0.0, 0, 0, 0
    for a, b in zip(mine["prompts"], theirs["prompts"], strict=True):
        assert a["ids"] == b["ids"], "the goldens are of other prompts: make the checkpoints again"
        worst = max(worst, np.abs(np.subtract(a["own"], b["own"])).max())
        for ids_a, top_a, ids_b, top_b in zip(a["top_ids"], a["top"], b["top_ids"], b["top"], strict=True):
            other = dict(zip(ids_b, top_b, strict=True))
            worst = max([worst, *(abs(p - other[t]) for t, p in zip(ids_a, top_a, strict=True) if t in other)])
        same = next((i for i, (x, y) in enumerate(zip(a["greedy"], b["greedy"])) if x != y), GREEDY)
        tokens += GREEDY - same
        if same < GREEDY:
            close = max(close, a["margins"][same])
        rows = range(len(a["ids"]) + same - 1)
        experts += sum(a["experts"][i][n] is not None and sorted(a["experts"][i][n]) != sorted(b["experts"][i][n])
                       for i in rows for n in range(len(a["experts"][i])))
    return (f"{mine['case']}: logprobs differ by at most {worst:.2e}, {tokens} greedy tokens differ "
            f"(margin at the first {close:.2e}), {experts} expert choices differ")
