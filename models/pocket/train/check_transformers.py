"""Compares the exported folder with `transformers`, where that is installed: python3 check_transformers.py [FOLDER]

The folder must load there without a missing or unexpected tensor; its tokenizer must give our ids and text, its
chat template our prompts, its logits ours within 2e-3 in float32, and its greedy answers ours.
"""

import random
import sys
from pathlib import Path

import chat
import skills
import torch
from evaluate import GRADED
from export import load


def main():
    import transformers

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    ours, tok = load(folder)
    ours.eval()
    theirs_tok = transformers.AutoTokenizer.from_pretrained(folder)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True
    )
    theirs.eval()
    problems = [f'{key}: {sorted(info[key])[:3]}' for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys')
                if info.get(key) and set(info[key]) != {'lm_head.weight'}]  # fmt: skip
    r, worst, answers = random.Random('transformers'), 0.0, 0
    for name in GRADED:
        for think in (False, True):
            turns, tools = chat.conversation(r, name, True)
            prompt, _ = chat.prompt_and_turn(turns, r.choice(skills.SYSTEMS), tools, think)
            ids = tok.encode(prompt)
            if theirs_tok.encode(prompt, add_special_tokens=False) != ids:
                problems.append(f'other ids for {prompt!r}')
            if theirs_tok.decode(ids, skip_special_tokens=False) != prompt:
                problems.append(f'other text for {prompt!r}')
            with torch.no_grad():
                a = ours.logits(ours(torch.tensor([ids])))[0].log_softmax(-1)
                b = theirs(torch.tensor([ids])).logits[0].log_softmax(-1)
            worst = max(worst, float((a - b).abs().max()))
            stop = [tok.vocab['<|im_end|>'], tok.vocab['<|endoftext|>']]
            mine = ours.generate([ids], stop, 60)[0]
            x = torch.tensor([ids])
            out = theirs.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=60, do_sample=False)
            out = out[0, len(ids) :].tolist()
            out = out[: next((i for i, t in enumerate(out) if t in stop), len(out))]
            answers += out == mine
    system, tools = 'Be brief.', [{'type': 'function', 'function': {'name': 'get_time', 'parameters': {}}}]
    messages = [{'role': 'system', 'content': system}, {'role': 'user', 'content': 'Hi'},
                {'role': 'assistant', 'content': 'Hello!'}, {'role': 'user', 'content': 'Time?'}]  # fmt: skip
    turns = [('Hi', '', 'Hello!'), ('Time?', '', '')]
    for think in (False, True):
        text = theirs_tok.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True,
                                              **({} if think else {'enable_thinking': False}))  # fmt: skip
        if text != chat.prompt_and_turn(turns, system, tools, think)[0]:
            problems.append(f'other prompt: {text!r}')
    print(f'largest difference of a log-probability {worst:.2e}; greedy answers equal {answers} of {2 * len(GRADED)}')
    if worst > 2e-3:
        problems.append('log-probabilities differ by more than 2e-3')
    if answers < 2 * len(GRADED):
        problems.append('greedy answers differ')
    print('\n'.join(problems) or 'transformers agrees')
    sys.exit(bool(problems))


if __name__ == '__main__':
    main()
