"""Held-out accuracy per skill: python3 evaluate.py [FOLDER] [--count N] [--device cpu|cuda]

Words, sums, people and tools of the questions were kept out of training by hash. An answer counts when it is
exactly the expected one; a list counts when it is a right list, a story when it is a whole story of the grammar.
"""

import argparse
import json
import random
from pathlib import Path

import chat
import skills
from stories import is_fluent, story
from words import CAPITALS

GRADED = [
    'capital', 'capital_list', 'count', 'add', 'subtract', 'extract', 'tools', 'follow_up', 'say', 'talk', 'no_tool',
]  # fmt: skip


def is_list(text, question):
    wanted = next(n for n, word in {**skills.NUMBER_WORDS, 0: '?'}.items() if str(n) in question or word in question)
    lines = text.split('\n')[2:]
    pairs = [line.partition('. ')[2].split(' - ') for line in lines]
    right = all(len(p) == 2 and CAPITALS.get(p[0]) == p[1] for p in pairs)
    return right and len({p[0] for p in pairs if p}) == len(pairs) == wanted


def questions(name, count, think, seed=1):
    r = random.Random(f'{seed} {name}')
    for _ in range(count):
        turns, tools = chat.conversation(r, name, True)
        system = r.choice(skills.SYSTEMS) if r.random() < 0.3 else None
        yield chat.prompt_and_turn(turns, system, tools, think)


def grade(name, turn, output):
    question, thinking, answer = turn
    text = output.split('</think>\n\n')[-1]
    if name == 'capital_list':
        return is_list(text, question)
    if name == 'count' and '<think>' in output and thinking not in output:
        return False
    return text == answer


def answers(model, tok, prompts, max_new, at_once=100):
    """Greedy answers, in the order of the prompts; like-long prompts run together."""
    stop = [tok.vocab['<|im_end|>'], tok.vocab['<|endoftext|>']]
    encoded = [tok.encode(p) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    out = [''] * len(prompts)
    for start in range(0, len(order), at_once):
        group = order[start : start + at_once]
        for i, ids in zip(group, model.generate([encoded[i] for i in group], stop, max_new)):
            out[i] = tok.decode(ids)
    return out


def evaluate(model, tok, count, seed=1, show=0, names=None):
    """{skill: {'plain': accuracy, 'thinking': accuracy}}, stories as {'plain': ...}."""
    model.eval()
    report = {}
    for name in names or GRADED:
        report[name] = {}
        for mode, think in (('plain', False), ('thinking', True)):
            asked = list(questions(name, count, think, seed))
            texts = answers(model, tok, [p for p, _ in asked], 140)
            right = [grade(name, turn, text) for (_, turn), text in zip(asked, texts)]
            report[name][mode] = sum(right) / len(right)
            wrong = [(p[-120:], turn[2], text) for (p, turn), text, ok in zip(asked, texts, right) if not ok]
            for item in wrong[:show]:
                print(name, mode, *map(repr, item), sep='\n   ')
    if not names or 'story' in names:
        r = random.Random(f'{seed} story')
        heads = []
        for _ in range(count):
            sentences = story(r, True)
            heads.append(' '.join(sentences[: r.choice([1, 2, 3])]))
        whole = [h + rest for h, rest in zip(heads, answers(model, tok, heads, 200))]
        report['story'] = {'plain': sum(map(is_fluent, whole)) / count}
        for text in [w for w in whole if not is_fluent(w)][:show]:
            print('story\n   ', repr(text))
    model.train()
    return report


def table(report):
    rows = ['| skill | without thinking | with thinking |', '|---|---|---|']
    for name, result in report.items():
        cells = [f'{100 * result[m]:.1f} %' if m in result else '' for m in ('plain', 'thinking')]
        rows.append(f'| {name} | {cells[0]} | {cells[1]} |')
    return '\n'.join(rows)


def main():
    from export import load

    parser = argparse.ArgumentParser()
    parser.add_argument('folder', nargs='?', type=Path, default=Path(__file__).parent.parent)
    parser.add_argument('--count', type=int, default=300)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--show', type=int, default=0, help='failures to print per skill')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--names', nargs='*')
    args = parser.parse_args()
    model, tok = load(args.folder)
    report = evaluate(model.to(args.device), tok, args.count, args.seed, args.show, args.names)
    print(table(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
