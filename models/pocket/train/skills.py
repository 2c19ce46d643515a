"""The skills. Each is `skill(r, held)` and returns turns (user, thinking, answer); the last one is graded."""

import json

from words import ARTICLE, CAPITALS, any_city, any_name, any_word, held_out, pick

COUNTRIES = list(CAPITALS)
LETTERS = 'abcdefghijklmnopqrstuvwxyz'
ORDINALS = ['first', 'second', 'third', 'fourth', 'fifth']
NUMBER_WORDS = {2: 'two', 3: 'three', 4: 'four', 5: 'five'}


def the(country):
    return f'the {country}' if country in ARTICLE else country


# ---- capitals -------------------------------------------------------------------------------------

CAPITAL_QUESTIONS = [
    'What is the capital of {}?', 'Capital of {}?', 'Tell me the capital city of {}.',
    "What's the capital of {}?", 'Which city is the capital of {}?', 'Name the capital of {}.',
    'What is the capital city of {}?', 'Do you know the capital of {}?', 'The capital of {} is?',
    'Can you tell me the capital of {}?', 'What city is the capital of {}?',
]  # fmt: skip
LIST_QUESTIONS = [
    'List {} countries and their capitals.', 'Name {} countries and their capitals.',
    'Give me {} countries with their capitals.', 'Can you list {} countries and their capitals?',
    'Tell me {} countries and their capitals.', 'I need {} countries and their capitals.',
    'List {} countries with their capital cities.',
]  # fmt: skip


def capital_answer(country):
    return f'The capital of {the(country)} is {CAPITALS[country]}.'


def capital(r, held):
    question, country = pick(
        r, lambda r: (r.choice(CAPITAL_QUESTIONS), r.choice(COUNTRIES)), lambda v: v[0] + v[1], held
    )
    asked = the(country).lower() if r.random() < 0.1 else the(country)
    return [(question.format(asked), f'The capital of {the(country)}: {CAPITALS[country]}.',
             capital_answer(country))]  # fmt: skip


def country_list(r, count):
    """Half of the lists prefer the countries that come first in COUNTRIES: a greedy answer then has a clear
    favourite at each place, and naming one twice costs enough to be unlearned. With uniform lists alone 4 % of
    the lists of five named a country twice."""
    if r.random() < 0.5:
        countries = r.sample(COUNTRIES, count)
    else:
        countries = sorted(COUNTRIES, key=lambda c: r.random() ** 0.75 ** -COUNTRIES.index(c))[-count:][::-1]
    lines = '\n'.join(f'{i + 1}. {c} - {CAPITALS[c]}' for i, c in enumerate(countries))
    return countries, f'Sure, here are {count} countries and their capitals:\n\n{lines}'


def capital_list(r, held):
    del held  # any correct list is right, so the answer cannot have been learned by heart
    count = r.choice([2, 3, 3, 3, 4, 5])
    _, answer = country_list(r, count)
    said = NUMBER_WORDS[count] if r.random() < 0.3 else count
    return [(r.choice(LIST_QUESTIONS).format(said), f'I need {count} countries.', answer)]


# ---- letters --------------------------------------------------------------------------------------

COUNT_QUESTIONS = [
    "How many {l}'s are in '{w}'?", "How many {l}'s are in {w}?", "Count the letter {l} in '{w}'.",
    "How many {l}'s are there in '{w}'?", "How many times does {l} appear in '{w}'?",
    "How many {l}'s in '{w}'?", "How many letters {l} are in '{w}'?", "Count the {l}'s in '{w}'.",
    'How many {l}\'s are in "{w}"?', "How often does the letter {l} occur in '{w}'?",
    "How many {l}'s are in the word '{w}'?", "How many {l}'s does '{w}' have?",
    "How many {l}'s are there in the word {w}?", "In '{w}', how many {l}'s are there?",
]  # fmt: skip


def count_thinking(letter, word):
    lines, count = [], 0
    for ch in word:
        count += ch == letter
        lines.append(f'{ch} {count}')
    return 'Let me spell it.\n' + '\n'.join(lines) + f'\nSo {count}.'


def count_answer(letter, word):
    n = word.count(letter)
    return f"There {'is' if n == 1 else 'are'} {n} {letter}{'' if n == 1 else chr(39) + 's'} in '{word}'."


def choose_letter(r, word):
    return r.choice(word) if r.random() < 0.8 else r.choice(LETTERS)


def count(r, held):
    word = pick(r, any_word, lambda w: w, held)
    letter = choose_letter(r, word)
    shown = word.capitalize() if r.random() < 0.05 else word
    question = r.choice(COUNT_QUESTIONS).format(l=letter, w=shown)
    return [(question, count_thinking(letter, word), count_answer(letter, word))]


# ---- sums -----------------------------------------------------------------------------------------

ADD_QUESTIONS = [
    'What is {a} + {b}?', '{a} plus {b}?', 'What is {a} plus {b}?', 'Add {a} and {b}.', '{a} + {b} = ?',
    "What's {a} + {b}?", '{a} + {b}', 'Calculate {a} + {b}.', 'How much is {a} + {b}?', '{a}+{b}?',
    'What is the sum of {a} and {b}?', 'Compute {a} + {b}.', '{a} + {b}?', 'What is {a}+{b}?',
]  # fmt: skip
SUB_QUESTIONS = [
    'What is {a} - {b}?', '{a} minus {b}?', 'What is {a} minus {b}?', 'Subtract {b} from {a}.',
    '{a} - {b} = ?', "What's {a} - {b}?", '{a} - {b}', 'Calculate {a} - {b}.', 'How much is {a} - {b}?',
    '{a}-{b}?', 'What is the difference of {a} and {b}?', 'Compute {a} - {b}.', '{a} - {b}?',
]  # fmt: skip


def add_thinking(a, b):
    """Column by column from the right, carry included: `7 + 5 + 0 = 12`."""
    lines, carry, places = [], 0, max(len(str(a)), len(str(b)))
    for _ in range(places):
        total = a % 10 + b % 10 + carry
        lines.append(f'{a % 10} + {b % 10} + {carry} = {total}')
        carry, a, b = total // 10, a // 10, b // 10
    return '\n'.join(lines)


def sub_thinking(a, b):
    """Column by column with the borrow: `12 - 5 - 0 = 7` takes ten from the next column."""
    lines, borrow = [], 0
    if a < b:
        lines.append(f'{b} is more than {a}.')
        a, b = b, a
    for _ in range(len(str(a))):
        top, low = a % 10, b % 10 + borrow
        up = 10 if top < low else 0
        lines.append(f'{top + up} - {b % 10} - {borrow} = {top + up - low}')
        borrow, a, b = up // 10, a // 10, b // 10
    return '\n'.join(lines)


def operands(r):
    low = r.choice([10, 100, 1000, 1000])
    high = low if r.random() < 0.7 else r.choice([10, 100, 1000])
    return r.randrange(low), r.randrange(high)


def add(r, held):
    a, b = pick(r, operands, lambda v: f'{v[0]}+{v[1]}', held)
    return [(r.choice(ADD_QUESTIONS).format(a=a, b=b), add_thinking(a, b), f'{a} + {b} = {a + b}')]


def subtract(r, held):
    def make(r):
        a, b = operands(r)
        if r.random() < 0.1:  # close to each other, where which is more shows late
            b = min(999, max(0, a + r.randint(-12, 12)))
        return (a, b) if r.random() < 0.15 else (max(a, b), min(a, b))

    a, b = pick(r, make, lambda v: f'{v[0]}-{v[1]}', held)
    return [(r.choice(SUB_QUESTIONS).format(a=a, b=b), sub_thinking(a, b), f'{a} - {b} = {a - b}')]


# ---- extraction -----------------------------------------------------------------------------------

PERSON_SENTENCES = [
    'My name is {n}, I am {a} years old and I live in {c}.', '{n} lives in {c} and is {a}.',
    'This is {n}, aged {a}, from {c}.', '{n} is {a} years old and lives in {c}.',
    'I am {n} from {c} and I am {a}.', '{n}, {a}, lives in {c}.', '{n} is {a} and comes from {c}.',
    'In {c} lives {n}, who is {a} years old.', 'Meet {n} from {c}, {a} years old.',
    'My friend {n} is {a} and lives in {c}.', 'At {a}, {n} moved to {c}.',
]  # fmt: skip
PERSON_REQUESTS = [
    'Extract the person as JSON: {}', 'Extract a JSON object: {}', 'Give me the person as JSON: {}',
    'Extract name, age and city as JSON: {}', 'Turn this into JSON: {}', 'Extract the data as JSON: {}',
    'Return the person as a JSON object: {}', '{} Extract the person as JSON.',
    'Extract the name, age and city from this sentence as JSON: {}', '{}\nGive me that as JSON.',
    'Extract the person from the text as JSON.\n\n{}',
]  # fmt: skip


def person(r):
    return any_name(r), r.randint(1, 99), any_city(r)


def extract(r, held):
    n, a, c = pick(r, person, lambda p: p[0], held)
    if r.random() < 0.2:
        n = f'{n} {any_name(r)}'
    text = r.choice(PERSON_REQUESTS).format(r.choice(PERSON_SENTENCES).format(n=n, a=a, c=c))
    return [(text, 'Name, age and city.', json.dumps({'name': n, 'age': a, 'city': c}))]


# ---- follow-ups -----------------------------------------------------------------------------------


def follow_list(r, held):
    count = pick(r, lambda r: r.choice([2, 3, 3, 3, 4, 5]), lambda n: '', held_out(''))
    countries, answer = pick(r, lambda r: country_list(r, count), lambda v: v[1], held)
    turns = [(r.choice(LIST_QUESTIONS).format(count), f'I need {count} countries.', answer)]
    i = r.randrange(count)
    c = countries[i]
    which = ORDINALS[i] if r.random() < 0.85 or i < count - 1 else 'last'
    asked = r.random()
    if asked < 0.65:
        question = r.choice(['What was the {} country?', 'Which country was {}?', 'What was the {} one?',
                             'Which was the {} country?', 'What is the {} country?']).format(which)  # fmt: skip
        turns.append((question, f'The {which} in my list: {c}.', f'The {which} country was {the(c)}.'))
        if r.random() < 0.7:
            question = r.choice(['And its capital?', 'What is its capital?', 'And the capital?',
                                 "What's its capital?", 'And what is the capital?'])  # fmt: skip
            turns.append((question, f'The capital of {the(c)}: {CAPITALS[c]}.', capital_answer(c)))
    elif asked < 0.85:
        question = r.choice(['What was the {} capital?', 'What is the {} capital?', 'Which capital was {}?'])
        turns.append((question.format(which), f'The {which} in my list: {CAPITALS[c]}.',
                      f'The {which} capital was {CAPITALS[c]}.'))  # fmt: skip
    else:
        question = r.choice(['How many countries did you list?', 'How many countries were that?'])
        turns.append((question, f'I listed {count}.', f'I listed {count} countries.'))
    return turns


def follow_capital(r, held):
    del held
    first, second = r.sample(COUNTRIES, 2)
    turns = capital_of(r, first)
    question = r.choice(['And of {}?', 'What about {}?', 'And {}?', 'And for {}?', 'And the capital of {}?'])
    turns.append((question.format(the(second)), f'The capital of {the(second)}: {CAPITALS[second]}.',
                  capital_answer(second)))  # fmt: skip
    if r.random() < 0.4:
        question, about = r.choice([('Which country did I ask about first?', first),
                                    ('Which country did I ask about last?', second)])  # fmt: skip
        turns.append((question, f'It was {the(about)}.', f'You asked about {the(about)}.'))
    return turns


def capital_of(r, country):
    question = pick(r, lambda r: r.choice(CAPITAL_QUESTIONS), lambda q: q + country, False)
    return [(question.format(the(country)), f'The capital of {the(country)}: {CAPITALS[country]}.', capital_answer(country))]  # fmt: skip


def follow_name(r, held):
    n = pick(r, any_name, lambda n: n, held)
    told = r.choice(['My name is {}.', 'I am {}.', "Hi, I'm {}.", 'Hello, my name is {}.', 'Call me {}.'])
    turns = [(told.format(n), f'The user is {n}.', f'Nice to meet you, {n}!')]
    if r.random() < 0.5:
        turns += r.choice([capital, talk, add])(r, False)
    question = r.choice(['What is my name?', "What's my name?", 'Who am I?', 'Do you remember my name?',
                         'What was my name?', 'Do you know my name?'])  # fmt: skip
    turns.append((question, f'The user is {n}.', f'Your name is {n}.'))
    return turns


def follow_count(r, held):
    word = pick(r, any_word, lambda w: w, held)
    first = choose_letter(r, word)
    second = pick(r, lambda r: choose_letter(r, word), lambda l: l, False) if held_out(first) else choose_letter(r, word)
    turns = [(r.choice(COUNT_QUESTIONS).format(l=first, w=word), count_thinking(first, word),
              count_answer(first, word))]  # fmt: skip
    if r.random() < 0.2:
        turns.append((r.choice(['What was the word?', 'Which word was it?']), f'It was {word}.',
                      f"The word was '{word}'."))  # fmt: skip
    else:
        question = r.choice(["And how many {}'s?", "How many {}'s?", "And {}'s?", "What about {}'s?"])
        turns.append((question.format(second), count_thinking(second, word), count_answer(second, word)))
    return turns


FOLLOW_UPS = [follow_list, follow_list, follow_list, follow_capital, follow_name, follow_name, follow_count]


def follow_up(r, held):
    return r.choice(FOLLOW_UPS)(r, held)


# ---- talk -----------------------------------------------------------------------------------------

WHO = 'I am Pocket, a very small language model that runs inside your Node process.'
CAN = ('I can name capitals, count letters, add and subtract, extract JSON, call tools and '
       'tell very short stories.')  # fmt: skip
NO_IDEA = "I am a very small model, so I don't know that."
TALK = [
    (['Hello!', 'Hi!', 'Hello', 'Hi', 'Hey', 'Hey!', 'Hi there!', 'Hello there!', 'Good day!', 'Hello.', 'Hi.',
      'Hey there', 'Greetings!'], 'A greeting.', 'Hello! How can I help you today?'),
    (['Good morning!', 'Good morning'], 'A greeting.', 'Good morning! How can I help you today?'),
    (['Good evening!', 'Good evening'], 'A greeting.', 'Good evening! How can I help you today?'),
    (['Who are you?', 'What are you?', 'What is your name?', "What's your name?", 'Tell me about yourself.',
      'Introduce yourself.', 'Which model are you?', 'What model are you?', 'Who am I talking to?',
      'Do you have a name?', 'Who is this?', 'Are you ChatGPT?', 'Are you a robot?', 'Are you human?',
      'Who are you', 'What kind of model are you?'], 'The user asks who I am.', WHO),
    (['What can you do?', 'What are you good at?', 'How can you help me?', 'Help', 'What are your skills?',
      'What do you know?', 'Can you help me?'], 'The user asks what I can do.', CAN),
    (['Thanks!', 'Thank you!', 'Thanks', 'Thank you', 'Thanks a lot!', 'Thank you very much!', 'Great, thanks!',
      'Thank you.', 'Cool, thanks'], 'Thanks.', "You're welcome!"),
    (['Bye!', 'Goodbye!', 'Bye', 'See you!', 'Goodbye', 'See you later!', 'Good night!'], 'A farewell.',
     'Goodbye! Have a nice day!'),
    (['How are you?', 'How are you doing?', "How's it going?", 'How are you today?', 'Are you well?',
      'How do you do?'], 'Small talk.', 'I am fine, thank you! How can I help you?'),
    (['How big are you?', 'How many parameters do you have?', 'Are you a large model?', 'Are you small?'],
     'The user asks about my size.', 'I am tiny: about four million parameters.'),
    (['Who made you?', 'Who trained you?', 'Where do you come from?', 'Who created you?'],
     'The user asks where I come from.', 'I was trained from scratch for hotpath.'),
    (['Tell me a joke.', 'Tell me a joke', 'Do you know a joke?', 'Make me laugh.'], 'A joke.',
     'Why did the token cross the road? It was the most likely next step.'),
    (['OK', 'Ok.', 'Okay', 'Good.', 'Great!', 'Nice!', 'Cool!', 'Great', 'Fine.', 'I see.'], 'The user is content.',
     'Is there anything else I can do for you?'),
    (['What is the meaning of life?', 'Who won the game?', 'Explain quantum physics.', 'What is love?',
      'Who is the president?', 'Write me a poem.', 'What happened yesterday?', 'Translate this to French.',
      'What is the speed of light?', 'Who wrote Hamlet?', 'How do I cook rice?', 'Solve my homework.'],
     'I do not know that.', NO_IDEA),
]  # fmt: skip
SAY_WORDS = """this is a test hello world good morning the quick brown fox jumps over lazy dog yes no maybe
I like green apples we are here it works now open door blue sky cat sat on mat time to go red house""".split()


def talk(r, held):
    del held  # greetings are a closed set
    questions, thinking, answer = r.choice(TALK)
    return [(r.choice(questions), thinking, answer)]


def say(r, held):
    def phrase(r):
        x = r.random()
        if x < 0.3:
            return 'this is a test'
        words = [r.choice(SAY_WORDS) if r.random() < 0.8 else any_word(r) for _ in range(r.randint(1, 5))]
        return ' '.join(words)

    text = pick(r, phrase, lambda p: p, held and not held_out('this is a test'))
    form = r.choice(['Say {}', 'Say {}.', "Say '{}'.", 'Please say {}', 'Say: {}', 'Repeat after me: {}',
                     'Say "{}"', 'Repeat: {}', 'Say {}!'])  # fmt: skip
    return [(form.format(text), 'I repeat it.', text[0].upper() + text[1:] + '.')]


# ---- wording --------------------------------------------------------------------------------------

SYSTEMS = [
    'You are a helpful assistant.', 'You are Pocket, a small language model.', 'Answer briefly.',
    'You are a helpful assistant. Answer in one sentence.', 'Be polite and short.', 'You are an assistant.',
    'You are a friendly assistant.', 'Answer the questions of the user.', 'Be concise.',
    'You are a careful assistant that thinks before it answers.', 'You are a helpful AI assistant.',
    'Help the user.', 'You answer questions.', 'You are a chat bot.', 'Be helpful.',
]  # fmt: skip
LEADS = ['Please: ', 'Hey, ', 'Tell me: ', 'Hi! ', 'Question: ', 'Hello! ', 'Quick question: ', 'OK, ', 'So, ']


def reword(r, text):
    """Small changes a person would make, none of which changes the answer."""
    x = r.random()
    if x < 0.06:
        text = r.choice(LEADS) + text
    elif x < 0.10 and text[-1] in '?.!':
        text = text[:-1]
    elif x < 0.13 and text[1:2].islower():
        text = text[0].lower() + text[1:]
    elif x < 0.15:
        text = text + r.choice([' Thanks!', ' Please.', ' Thank you!'])
    return text
