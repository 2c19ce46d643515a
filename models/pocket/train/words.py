"""Word lists of the generator, and the rule that splits them: one in ten of everything is held out."""

import zlib


def held_out(key: str) -> bool:
    """Whether `key` (a word, a sum, a person, a tool, ...) belongs to the evaluation only."""
    return zlib.crc32(key.encode()) % 10 == 0


CAPITALS = {
    'France': 'Paris', 'Germany': 'Berlin', 'Italy': 'Rome', 'Spain': 'Madrid', 'Japan': 'Tokyo',
    'China': 'Beijing', 'India': 'New Delhi', 'Canada': 'Ottawa', 'Australia': 'Canberra',
    'Brazil': 'Brasilia', 'Egypt': 'Cairo', 'Kenya': 'Nairobi', 'Norway': 'Oslo',
    'Sweden': 'Stockholm', 'Finland': 'Helsinki', 'Denmark': 'Copenhagen', 'Poland': 'Warsaw',
    'Greece': 'Athens', 'Turkey': 'Ankara', 'Portugal': 'Lisbon', 'Austria': 'Vienna',
    'Hungary': 'Budapest', 'Peru': 'Lima', 'Chile': 'Santiago', 'Cuba': 'Havana',
    'Mexico': 'Mexico City', 'Argentina': 'Buenos Aires', 'Ireland': 'Dublin',
    'Iceland': 'Reykjavik', 'Belgium': 'Brussels', 'Netherlands': 'Amsterdam',
    'Thailand': 'Bangkok', 'Vietnam': 'Hanoi', 'Nepal': 'Kathmandu', 'Russia': 'Moscow',
    'Ukraine': 'Kyiv', 'Romania': 'Bucharest', 'Bulgaria': 'Sofia', 'Croatia': 'Zagreb',
    'Serbia': 'Belgrade', 'England': 'London', 'Switzerland': 'Bern', 'Morocco': 'Rabat',
    'Nigeria': 'Abuja', 'Ghana': 'Accra', 'Iran': 'Tehran', 'Iraq': 'Baghdad', 'Israel': 'Jerusalem',
}  # fmt: skip

ARTICLE = {'Netherlands'}

NAMES = """Ada Bob Carla Dan Eva Finn Gina Hugo Iris Jack Kira Leo Mona Nils Olga Paul Rosa Sam Tina Uma
Vera Will Yara Zoe Alice Boris Clara David Emma Felix Grace Henry Ivan Julia Karl Laura Maria Nora Oscar
Peter Quinn Ruth Simon Thea Ulla Viktor Wendy Xena Yuri Zara Anna Ben Chloe Dora Eric Frida George Hanna
Igor Jane Kevin Linda Mark Nina Otto Petra Ralf Sara Tom Ursula Vince Walter Amir Bella Chen Diego Elif
Fatima Gustav Hiro Ines Jonas Kofi Lena Mateo Noor Omar Priya Raj Sofia Tariq Wanda Ying""".split()

WORDS = """apple banana cherry strawberry blueberry mississippi committee bookkeeper engine kernel window
mountain river garden summer winter letter little bottle butter coffee pepper rabbit kitten puppy orange
yellow purple silver golden planet rocket hammer ladder mirror pillow blanket basket pocket jacket market
forest desert island harbor bridge castle tower village teacher student doctor farmer baker singer dancer
painter writer driver sailor soldier banker lawyer balloon raccoon cartoon mushroom classroom bedroom
kangaroo elephant giraffe crocodile hippopotamus raspberry cranberry parallel address success necessary
tomorrow beginning assess possess tennessee alphabet computer language keyboard memory network program
python javascript compiler transformer attention tokenizer memory molecule hydrogen oxygen nitrogen
umbrella airplane bicycle motorcycle restaurant chocolate sandwich spaghetti tomato potato carrot onion
pineapple watermelon grapefruit coconut avocado broccoli cucumber cinnamon vanilla sugar flour water
science history geography mathematics philosophy psychology literature music theater museum library
university hospital station airport highway tunnel canyon volcano glacier waterfall ocean thunder
lightning rainbow hurricane tornado blizzard butterfly dragonfly mosquito grasshopper caterpillar
penguin dolphin octopus jellyfish lobster squirrel hedgehog leopard panther cheetah gorilla hello world
banana level radar noon kayak street avenue question answer number capital country story dog cat house
tree bird bear sheep green black queen moon book door school""".split()

CONSONANTS = 'bcdfghjklmnpqrstvwxyz'
VOWELS = 'aeiou'


def random_word(r, low=3, high=12):
    """A pronounceable made-up word, with repeated letters often enough to make counting worth it."""
    length = r.randint(low, high)
    shift = r.randint(0, 1)
    letters = []
    for i in range(length):
        if r.random() < 0.1:
            letters.append(r.choice(VOWELS + CONSONANTS))
        elif letters and letters[-1:] != letters[-2:-1] and r.random() < 0.12:
            letters.append(letters[-1])
        elif letters and r.random() < 0.2:
            letters.append(r.choice(letters))
        else:
            letters.append(r.choice(VOWELS if (i + shift) % 2 else CONSONANTS))
    return ''.join(letters)


def any_word(r):
    return r.choice(WORDS) if r.random() < 0.25 else random_word(r)


def any_name(r):
    return r.choice(NAMES) if r.random() < 0.6 else random_word(r, 3, 8).capitalize()


def any_city(r):
    if r.random() < 0.6:
        return r.choice(list(CAPITALS.values()))
    return random_word(r, 4, 9).capitalize()


def pick(r, make, key, held):
    """Draws `make(r)` until its key falls on the wanted side of the split."""
    while True:
        value = make(r)
        if held_out(key(value)) == held:
            return value
