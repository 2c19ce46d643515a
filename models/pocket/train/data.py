"""Documents as token ids: generation, and the two ways of batching them."""

import random
import time
from multiprocessing import get_context

import chat
import numpy as np
import torch
from tokenizer import Tokenizer, train
from words import CAPITALS, NAMES

MAX_LENGTH = 512
IGNORE = -100


def make_tokenizer(seed, size):
    r = random.Random(f'tokenizer {seed}')
    texts = (''.join(text for text, _ in chat.sample(r)) for _ in range(30_000))
    places = [w for pair in CAPITALS.items() for place in pair for w in place.split()]
    return train(texts, size, never=NAMES, always=[lead + w for w in places for lead in (' ', '')])


def encode_document(tok, pieces):
    """(ids, targets): targets[i] is the id to predict after ids[i], or IGNORE."""
    ids, trained = [], []
    for text, train_on in pieces:
        part = tok.encode(text)
        trained += [bool(train_on)] * len(part)
        if train_on == 'but the first':
            trained[len(ids)] = False
        ids += part
    targets = [t if on else IGNORE for t, on in zip(ids[1:], trained[1:])] + [IGNORE]
    return ids, targets


def documents(tok, r, count):
    out = []
    while len(out) < count:
        ids, targets = encode_document(tok, chat.sample(r))
        if len(ids) <= MAX_LENGTH:
            out.append((ids, targets))
    return out


def length_batches(tok, r, tokens, pool=1024):
    """Endless (ids, targets) of like-long documents padded to the longest, at most `tokens` per batch."""
    while True:
        docs = sorted(documents(tok, r, pool), key=lambda d: len(d[0]))
        batches, start = [], 0
        while start < len(docs):
            end = start + 1
            while end < len(docs) and (end + 1 - start) * len(docs[end][0]) <= tokens:
                end += 1
            batches.append(docs[start:end])
            start = end
        r.shuffle(batches)
        for group in batches:
            longest = max(len(ids) for ids, _ in group)
            ids = torch.zeros(len(group), longest, dtype=torch.long)
            targets = torch.full((len(group), longest), IGNORE)
            for i, (a, b) in enumerate(group):
                ids[i, : len(a)], targets[i, : len(b)] = torch.tensor(a), torch.tensor(b)
            yield ids, targets


def packed_rows(args):
    """Documents of one seed packed into rows of MAX_LENGTH: int16 (rows, 4, length) of ids, targets,
    positions, document numbers. First fit over a few open rows leaves about 2 % of padding."""
    vocab, seed, count = args
    tok, r = Tokenizer(vocab), random.Random(seed)
    rows, open_rows = [], []
    for ids, targets in documents(tok, r, count):
        for row in open_rows:
            if len(row[0]) + len(ids) <= MAX_LENGTH:
                break
        else:
            row = ([], [], [], [])
            open_rows.append(row)
            if len(open_rows) > 24:
                fullest = max(range(len(open_rows)), key=lambda i: len(open_rows[i][0]))
                rows.append(open_rows.pop(fullest))
        number = row[3][-1] + 1 if row[3] else 0
        row[0].extend(ids)
        row[1].extend(targets)
        row[2].extend(range(len(ids)))
        row[3].extend([number] * len(ids))
    # numpy, not torch: torch's threads do not survive a fork.
    out = np.zeros((len(rows + open_rows), 4, MAX_LENGTH), dtype=np.int16)
    out[:, 1] = IGNORE
    out[:, 3] = -1
    for i, row in enumerate(rows + open_rows):
        for j in range(4):
            out[i, j, : len(row[j])] = row[j]
    return out


def packed(tok, seed, count, processes, seconds=120):
    """About `count` documents, made by `processes` processes, as one packed tensor; fewer where they are not
    done within `seconds`. Spawned, not forked: a fork of a process that has CUDA and torch's threads hung."""
    share = 5_000
    jobs = [(tok.vocab, f'{seed} {i}', share) for i in range(max(1, count // share))]
    parts, started = [], time.time()
    pool = get_context('spawn').Pool(processes)
    for part in pool.imap(packed_rows, jobs):
        parts.append(torch.from_numpy(part))
        if len(parts) % 40 == 0:
            print(f'{len(parts) * share} documents in {time.time() - started:.0f} s', flush=True)
        if time.time() - started > seconds:
            break
    pool.terminate()
    return torch.cat(parts)
