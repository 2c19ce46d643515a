"""Goldens by transformers in float32 on the CPU: python3 make_golden.py [folder]

Needs torch and transformers 5. Prints how far each golden is from the committed one, then writes all of them to
`folder`; without a folder it compares only. `python3 make_golden.py expected` replaces the committed ones.
"""
import json
import sys
from pathlib import Path

import torch
import transformers

import record


class Runner:
    def __init__(self, folder):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
        self.config = json.loads((folder / "config.json").read_text())
        self.routers = {}
        for name, module in self.model.named_modules():
            # mlp.gate or block_sparse_moe.gate: a Linear in transformers 4, a router in 5; both have a weight.
            if name.endswith((".mlp.gate", ".block_sparse_moe.gate")):
                module.register_forward_pre_hook(self.keep_probs(int(name.split("layers.")[1].split(".")[0])))

    def keep_probs(self, layer):
        def hook(module, inputs):
            x = inputs[0].reshape(-1, module.weight.shape[-1])
            self.routers[layer] = torch.softmax(x @ module.weight.T, -1)
        return hook

    @torch.no_grad()
    def forward(self, ids):
        self.routers.clear()
        logits = self.model(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()
        num_layers = self.config["num_hidden_layers"]
        experts = [[None] * num_layers for _ in ids]
        margins = [[None] * num_layers for _ in ids]
        for layer, probs in self.routers.items():
            k = self.config["num_experts_per_tok"]
            values, order = torch.topk(probs, k + 1, -1)
            for i in range(len(ids)):
                experts[i][layer] = order[i, :k].tolist()
                margins[i][layer] = float(values[i, k - 1] - values[i, k])
        return logits, experts, margins


def main():
    source = f"transformers {transformers.__version__}"
    for folder in sorted((record.HERE / "checkpoints").iterdir()):
        runner = Runner(folder)
        golden = record.build(source, folder.name, runner.config["vocab_size"], runner.forward)
        committed = json.loads((record.HERE / "expected" / f"{folder.name}.json").read_text())
        print(f"{record.compare(committed, golden)} ({committed['source']} -> {source})")
        if len(sys.argv) > 1:
            record.save(golden, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
