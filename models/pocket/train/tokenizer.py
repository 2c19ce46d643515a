"""The tokenizer: frequent words are tokens of their own, everything else is spelled byte by byte.

As tokenizer.json it is a BPE model without merges (`ignore_merges`: a word found in the vocabulary is taken
whole) behind a ByteLevel pre-tokenizer. A word that the training text did not make frequent, say one in quotes
whose letters are to be counted, therefore reaches the model letter by letter, and digits are always single.
Plain Python, so that it runs where the `tokenizers` package is missing; its ids are the package's ids.
"""

import json
import re
from collections import Counter

SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
MARKS = ['<think>', '</think>', '<tool_call>', '</tool_call>', '<tool_response>', '</tool_response>',
         '<tools>', '</tools>']  # fmt: skip
ADDED = SPECIAL + MARKS
# Written so that Python's `re` and the Oniguruma of the `tokenizers` package agree on every input.
WORD = r' ?[A-Za-z]+|[0-9]|\n+| ?[^A-Za-z0-9 \n]+| '
WORD_RE = re.compile(WORD)
ADDED_RE = re.compile('(' + '|'.join(re.escape(a) for a in ADDED) + ')')


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


BYTES = byte_alphabet()
UNBYTES = {c: b for b, c in BYTES.items()}


def as_bytes(word):
    return ''.join(BYTES[b] for b in word.encode())


class Tokenizer:
    def __init__(self, vocab):
        self.vocab = vocab
        self.words = {i: w for w, i in vocab.items()}
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding='utf-8') as f:
            return cls(json.load(f)['model']['vocab'])

    def encode(self, text):
        ids = []
        for i, part in enumerate(ADDED_RE.split(text)):
            if i % 2:
                ids.append(self.vocab[part])
                continue
            for word in WORD_RE.findall(part):
                found = self.cache.get(word)
                if found is None:
                    mapped = as_bytes(word)
                    whole = self.vocab.get(mapped)
                    found = [self.vocab[c] for c in mapped] if whole is None else [whole]
                    if len(self.cache) < 200_000:
                        self.cache[word] = found
                ids += found
        return ids

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            word = self.words[i]
            out += word.encode() if word in ADDED else bytes(UNBYTES[c] for c in word)
        return out.decode(errors='replace')


def train(texts, size, never=(), always=()):
    """`never`: words to leave to the bytes (people's names); `always`: words to have in any case."""
    counts = Counter()
    for text in texts:
        for part in ADDED_RE.split(text)[::2]:
            counts.update(WORD_RE.findall(part))
    vocab = {word: i for i, word in enumerate(ADDED)}
    for b in range(256):
        vocab[BYTES[b]] = len(vocab)
    never = set(never)
    # A letter after a space stays two tokens: the letter asked about is then the letter in the word.
    ranked = [w for w, n in counts.most_common() if len(w.strip()) + (w.isspace()) * len(w) > 1 and w.strip() not in never]
    for word in [*always, *ranked]:
        if len(vocab) == size:
            break
        vocab.setdefault(as_bytes(word), len(vocab))
    return Tokenizer(vocab)


def tokenizer_json(tok):
    added = [
        {'id': tok.vocab[t], 'content': t, 'single_word': False, 'lstrip': False, 'rstrip': False,
         'normalized': False, 'special': t in SPECIAL}
        for t in ADDED
    ]  # fmt: skip
    level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': False, 'use_regex': False}
    split = {'type': 'Split', 'pattern': {'Regex': WORD}, 'behavior': 'Isolated', 'invert': False}
    return {
        'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': added, 'normalizer': None,
        'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [split, level]},
        'post_processor': None, 'decoder': level,
        'model': {'type': 'BPE', 'dropout': None, 'unk_token': None, 'continuing_subword_prefix': None,
                  'end_of_word_suffix': None, 'fuse_unk': False, 'byte_fallback': False,
                  'ignore_merges': True, 'vocab': tok.vocab, 'merges': []},
    }  # fmt: skip
