"""Conversations as token-ready text: (text, trained) pieces in the form that chat_template.jinja gives."""

import json

import skills
from stories import story
from tools import no_tool, tool_talk
from words import CAPITALS

TOOLS_HEAD = '# Tools\n\nYou may call these functions:\n<tools>'
TOOLS_TAIL = (
    '\n</tools>\n\nTo call one, answer with its name and arguments:\n'
    '<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>'
)


def system_text(system, tools):
    if not tools:
        return f'<|im_start|>system\n{system}<|im_end|>\n' if system else ''
    listed = ''.join('\n' + json.dumps(tool) for tool in tools)
    lead = f'{system}\n\n' if system else ''
    return f'<|im_start|>system\n{lead}{TOOLS_HEAD}{listed}{TOOLS_TAIL}<|im_end|>\n'


def user_text(user):
    if isinstance(user, list):  # results of tools
        user = '\n'.join(f'<tool_response>\n{json.dumps(result)}\n</tool_response>' for result in user)
    return f'<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n'


def pieces(turns, system=None, tools=None, think=False, keep=True):
    """Earlier answers stand without their thinking, as the template shows history. They are trained on as
    well, but for their first token: at that place a fresh answer begins with <think>. Thinking before a tool
    call is shown with the tool's result where the client sends it back (`keep`)."""
    out = [(system_text(system, tools), False)]
    last_question = max(i for i, turn in enumerate(turns) if not isinstance(turn[0], list))
    for i, (user, thinking, answer) in enumerate(turns):
        out.append((user_text(user), False))
        if i == len(turns) - 1:
            if think:
                out.append((f'<think>\n{thinking}\n</think>\n\n{answer}<|im_end|>', True))
            else:
                out += [('<think>\n\n</think>\n\n', False), (answer + '<|im_end|>', True)]
        else:
            if think and keep and i >= last_question:
                out.append((f'<think>\n{thinking}\n</think>\n\n', False))
            out += [(answer + '<|im_end|>', 'but the first'), ('\n', False)]
    return [piece for piece in out if piece[0]]


def prompt_and_turn(turns, system=None, tools=None, think=False):
    """What the evaluation needs: the text to continue and the turn that is graded."""
    head = pieces(turns, system, tools, think)
    while head[-1][1] is True:
        head.pop()
    return ''.join(text for text, _ in head), turns[-1]


# name, share of the conversations, share of them with thinking
SKILLS = {
    'capital': (skills.capital, 0.05, 0.3),
    'capital_list': (skills.capital_list, 0.06, 0.4),
    'count': (skills.count, 0.23, 0.5),
    'add': (skills.add, 0.19, 0.45),
    'subtract': (skills.subtract, 0.17, 0.45),
    'extract': (skills.extract, 0.07, 0.2),
    'tools': (None, 0.09, 0.3),
    'follow_up': (skills.follow_up, 0.08, 0.3),
    'say': (skills.say, 0.04, 0.2),
    'talk': (skills.talk, 0.03, 0.3),
    'no_tool': (no_tool, 0.01, 0.3),
}
STORY_SHARE = 0.04
FACTS_SHARE = 0.01


def other_skill(r, held):
    names = ['capital', 'count', 'add', 'subtract', 'extract', 'say', 'talk']
    return SKILLS[r.choices(names, [3, 1, 1, 1, 1, 1, 2])[0]][0](r, held)


def conversation(r, name, held):
    """Draws (turns, tools) of one skill; in training, short questions of other skills may stand before it."""
    if name == 'tools':
        tools, turns = tool_talk(r, held, other_skill)
    else:
        tools, turns = None, SKILLS[name][0](r, held)
    if not isinstance(turns[0][0], list) and name not in ('say', 'extract'):
        turns = [(skills.reword(r, turns[0][0]), *turns[0][1:]), *turns[1:]]
    if not tools and name != 'follow_up' and r.random() < (0.15 if held else 0.4):
        before = []
        for _ in range(r.choice([1, 1, 2])):
            before += other_skill(r, False)
        turns = before + turns
    return turns, tools


def raw_document(r, held):
    """Plain text for completions: a story, now and then a fact."""
    if r.random() < FACTS_SHARE / (STORY_SHARE + FACTS_SHARE):
        country = r.choice(list(CAPITALS))
        return skills.capital_answer(country)
    return ' '.join(story(r, held))


def sample(r):
    """One training document as pieces."""
    if r.random() < STORY_SHARE + FACTS_SHARE:
        return [(raw_document(r, False) + '<|endoftext|>', True)]
    if r.random() < 0.02:
        text = ' '.join(story(r, False))
        ask = r.choice(['Tell me a story.', 'Tell me a short story.', 'Write a story.', 'Write a short story.'])
        return pieces([(ask, 'A short story.', text)], think=r.random() < 0.3)
    name = r.choices(list(SKILLS), [share for _, share, _ in SKILLS.values()])[0]
    turns, tools = conversation(r, name, False)
    system = r.choice(skills.SYSTEMS) if r.random() < 0.3 else None
    return pieces(turns, system, tools, r.random() < SKILLS[name][2], r.random() < 0.5)
