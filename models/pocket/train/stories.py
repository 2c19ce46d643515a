"""Very short stories from a grammar whose sentences agree: hero, pronoun, place and thing stay the same."""

import re

from words import held_out

HEROES = {'he': ['Tom', 'Ben', 'Max', 'Leo', 'Sam', 'Tim', 'Jack', 'Finn'],
          'she': ['Lily', 'Mia', 'Anna', 'Lucy', 'Rosa', 'Emma', 'Zoe', 'Nina']}  # fmt: skip
KINDS = ['girl', 'boy', 'cat', 'dog', 'bear', 'fox', 'mouse', 'bird', 'rabbit', 'turtle']
LOOKS = ['little', 'small', 'brave', 'kind', 'happy', 'curious', 'quiet', 'clever', 'young']
PLACES = ['forest', 'garden', 'park', 'village', 'river', 'beach', 'farm', 'castle', 'market', 'hill']
THINGS = ['ball', 'key', 'kite', 'boat', 'book', 'hat', 'shell', 'stone', 'flower', 'lamp', 'bell', 'box']
COLORS = ['red', 'blue', 'green', 'yellow', 'golden', 'silver', 'shiny', 'old']
FRIENDS = ['an owl', 'a frog', 'a squirrel', 'a duck', 'an old man', 'a farmer', 'a hedgehog', 'a goat']
WEATHER = ['sunny', 'windy', 'warm', 'cold', 'rainy', 'bright']

# Each stage is a list of alternatives; {S} and {s} are the pronoun, {o} its object form, {p} its possessive.
STAGES = [
    ['Once upon a time, there was a {look} {kind} named {hero}.', 'Once there was a {look} {kind} called {hero}.',
     'Once upon a time there lived a {look} {kind} named {hero}.', '{hero} was a {look} {kind}.',
     'There once was a {look} {kind}. {p2} name was {hero}.', 'One day, a {look} {kind} named {hero} woke up early.'],
    ['{S} lived near a {place}.', '{S} loved to play in the {place}.', '{S} liked to walk to the {place}.',
     '{hero} went to the {place} every day.'],
    ['One {weather} day, {hero} found a {color} {thing}.', 'One {weather} morning, {s} saw a {color} {thing} in the {place}.',
     'One day, {s} lost {p} {color} {thing}.', 'One {weather} day, {hero} wanted to find a {color} {thing}.'],
    ['{S} looked everywhere, but {s} was alone.', '{S} was very surprised.', '{hero} did not know what to do.',
     '{S} thought about it for a long time.', '{S} felt a little sad.'],
    ['Then {s} met {friend}.', 'Soon {friend} came by.', 'Just then, {friend} walked along the path.'],
    ['"Can you help me?" asked {hero}. "Of course!" said the {other}.', '"What is wrong?" asked the {other}.',
     'The {other} smiled and sat down next to {o}.', '"Let us go together," said the {other}.'],
    ['Together they took the {thing} home.', 'They looked for the {thing} behind a big tree, and there it was.',
     'They played with the {thing} until the sun went down.', '{hero} showed the {thing} to the {other}.'],
    ['{hero} was very happy.', 'From that day on, they were best friends.', '{S} gave the {other} a big hug.',
     '{hero} said thank you and went home.', 'And they lived happily ever after.', 'The end.'],
]  # fmt: skip


def story(r, held):
    while True:
        pronoun = r.choice(['he', 'she'])
        slots = {
            'hero': r.choice(HEROES[pronoun]), 'look': r.choice(LOOKS), 'place': r.choice(PLACES),
            'kind': r.choice([k for k in KINDS if k != ('girl' if pronoun == 'he' else 'boy')]),
            'thing': r.choice(THINGS), 'color': r.choice(COLORS), 'weather': r.choice(WEATHER),
            'friend': r.choice(FRIENDS), 's': pronoun, 'S': pronoun.capitalize(),
            'o': 'him' if pronoun == 'he' else 'her', 'p': 'his' if pronoun == 'he' else 'her',
            'p2': 'His' if pronoun == 'he' else 'Her',
        }  # fmt: skip
        if held_out(slots['hero'] + slots['kind'] + slots['thing']) == held:
            break
    slots['other'] = slots['friend'].split(' ', 1)[1]
    return [r.choice(stage).format(**slots) for stage in STAGES]


def any_of(values):
    return '(?:' + '|'.join(values) + ')'


SLOT_PATTERNS = {
    'look': any_of(LOOKS), 'kind': any_of(KINDS), 'place': any_of(PLACES), 'thing': any_of(THINGS),
    'color': any_of(COLORS), 'weather': any_of(WEATHER), 'friend': any_of(FRIENDS),
    'other': any_of(f.split(' ', 1)[1] for f in FRIENDS), 's': '(?:he|she)', 'S': '(?:He|She)',
    'o': '(?:him|her)', 'p': '(?:his|her)', 'p2': '(?:His|Her)',
}  # fmt: skip
STAGE_PATTERNS = [
    [re.sub(r'\\\{(\w+)\\\}', lambda m: SLOT_PATTERNS.get(m[1], any_of(sum(HEROES.values(), []))), re.escape(s))
     for s in stage]
    for stage in STAGES
]  # fmt: skip
WHOLE = re.compile(' '.join(any_of(stage) for stage in STAGE_PATTERNS))


def is_fluent(text):
    """A whole story, sentence by sentence in the grammar, with one hero and one pronoun throughout."""
    if not WHOLE.fullmatch(text):
        return False
    names = {n for group in HEROES.values() for n in group if re.search(rf'\b{n}\b', text)}
    pronoun = 'he' if names <= set(HEROES['he']) else 'she'
    wrong = r'\b(?:[Ss]he|[Hh]er)\b' if pronoun == 'he' else r'\b(?:[Hh]e|[Hh]im|[Hh]is)\b'
    return len(names) == 1 and not re.search(wrong, text)
