"""Writes nano-vllm.json: the 256 prompts of nano-vllm's bench.py, which mini-sglang's offline bench shares.

They depend on CPython's Mersenne Twister and on the order of its randint calls, hence the file.
"""

import json
from pathlib import Path
from random import randint, seed

seed(0)
prompts = [[randint(0, 10000) for _ in range(randint(100, 1024))] for _ in range(256)]
max_tokens = [randint(100, 1024) for _ in range(256)]

assert sum(map(len, prompts)) == 142_827
assert sum(max_tokens) == 133_966
assert max(len(p) + n for p, n in zip(prompts, max_tokens)) == 2_011
assert len(prompts[0]) == 964 and prompts[0][:5] == [6311, 6890, 663, 4242, 8376]
assert max_tokens[:5] == [845, 312, 607, 843, 500]

rows = [{"max_tokens": n, "prompt": p} for p, n in zip(prompts, max_tokens)]
lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
Path(__file__).with_name("nano-vllm.json").write_text(f"[\n{lines}\n]\n")
