"""Trains Pocket from scratch: python3 train.py --device cuda --seconds 330 --out DIR

--device cuda: one process, torch.compile, bf16, all data made beforehand by a pool of processes.
--device cpu:  `--workers` processes of one thread each that share parameters and add up their gradients;
               data is made as it is used; a checkpoint every two minutes, from which --resume goes on.
--seconds counts training only. The export is written before the final evaluation.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from data import IGNORE, length_batches, make_tokenizer, packed
from evaluate import evaluate, table
from export import export
from model import Config, Pocket
from optim import Optimizer, rate
from tokenizer import Tokenizer

AUX = 0.01


def say(*parts):
    print(*parts, flush=True)


def loss_sum(model, ids, targets):
    """Cross-entropy summed over the trained places: only those reach the last experts and the vocabulary."""
    targets = targets.flatten()
    keep = (targets != IGNORE).nonzero().squeeze(1)
    return F.cross_entropy(model.logits(model(ids, keep=keep)), targets[keep], reduction='sum')


def averaged(model, optimizer):
    """A copy of the model with the running average of its weights."""
    copy = Pocket(model.config).to(model.embed_tokens.weight.device)
    with torch.no_grad():
        for name, p in copy.named_parameters():
            p.copy_(next(s['ema'] for s in optimizer.items if s['name'] == name))
    return copy


def quick_report(model, optimizer, tok, count, label):
    started = time.time()
    report = evaluate(averaged(model, optimizer), tok, count, seed=7)
    say(label, json.dumps({k: [round(100 * x) for x in v.values()] for k, v in report.items()}),
        f'({time.time() - started:.0f} s)')  # fmt: skip


# ---- CPU ------------------------------------------------------------------------------------------


def cpu_worker(worker, args, model, optimizer, tok, grads, shared, barrier):
    torch.set_num_threads(1)
    optimizer.own(worker, args.workers)
    views, at = {}, 0
    for name, p in model.named_parameters():
        p.grad = grads[worker][at : at + p.numel()].view_as(p)
        views[name] = [g[at : at + p.numel()].view_as(p) for g in grads]
        at += p.numel()
    start_step = int(shared[0])
    batches = length_batches(tok, random.Random(f'{args.seed} {worker} {start_step}'), args.micro_tokens)
    step, began, used_before = start_step, time.time(), float(shared[1])
    saved, evaluated, seen, running = time.time(), time.time(), float(shared[5]), 0.0
    while True:
        # shared: 0 step, 1 seconds, 2 stop flag, 3 tokens claimed in this step, 4 trained places, 5 tokens, 6 loss
        while float(shared[3]) < args.step_tokens:
            ids, targets = next(batches)
            shared[3] += ids.numel()
            trained = (targets != IGNORE).sum()
            loss = loss_sum(model, ids, targets)
            (loss + AUX * trained * model.aux()).backward()
            shared[4 + 4 * (worker + 1)] += trained
            shared[5 + 4 * (worker + 1)] += ids.numel()
            shared[6 + 4 * (worker + 1)] += loss.detach()
        barrier.wait()
        total = sum(float(shared[4 + 4 * (w + 1)]) for w in range(args.workers))
        used = float(shared[1])
        optimizer.step(step, rate(used / args.seconds), lambda name, p: sum(views[name]).div_(total))
        barrier.wait()
        for p in model.parameters():
            if optimizer.due(p, step):
                p.grad.zero_()
        step += 1
        if worker == 0:
            loss = sum(float(shared[6 + 4 * (w + 1)]) for w in range(args.workers)) / total
            seen += sum(float(shared[5 + 4 * (w + 1)]) for w in range(args.workers))
            running = loss if running == 0 else 0.95 * running + 0.05 * loss
            used = used_before + time.time() - began
            shared[0], shared[1], shared[5] = step, used, seen
            shared[3] = 0
            shared[8:] = 0
            shared[2] = float(used >= args.seconds)
            if step % 20 == 0:
                say(f'step {step} {used:.0f} s {seen / 1e6:.2f} M tokens loss {running:.4f}')
            if time.time() - saved > args.save_every or shared[2]:
                checkpoint(args, model, optimizer, tok, step, used, seen)
                saved = time.time()
            if time.time() - evaluated > args.eval_every:
                quick_report(model, optimizer, tok, args.eval_count, f'eval at {used:.0f} s')
                evaluated = time.time()
        barrier.wait()
        if shared[2]:
            return


def checkpoint(args, model, optimizer, tok, step, used, seen):
    path = args.out / 'checkpoint.pt'
    state = {'config': model.config.to_dict(), 'state': optimizer.state_dict(), 'vocab': tok.vocab,
             'step': step, 'seconds': used, 'tokens': seen}  # fmt: skip
    torch.save(state, path.with_suffix('.tmp'))
    os.replace(path.with_suffix('.tmp'), path)


def train_cpu(args, model, optimizer, tok, resume):
    import torch.multiprocessing as mp

    torch.set_num_threads(1)
    model.share_memory()
    optimizer.share()
    size = sum(p.numel() for p in model.parameters())
    grads = [torch.zeros(size).share_memory_() for _ in range(args.workers)]
    shared = torch.zeros(8 + 4 * args.workers, dtype=torch.float64).share_memory_()
    if resume:
        shared[0], shared[1], shared[5] = resume['step'], resume['seconds'], resume['tokens']
    context = mp.get_context('fork')
    barrier = context.Barrier(args.workers)
    common = (args, model, optimizer, tok, grads, shared, barrier)
    others = [context.Process(target=cpu_worker, args=(w, *common), daemon=True) for w in range(1, args.workers)]
    for other in others:
        other.start()
    cpu_worker(0, *common)
    for other in others:
        other.join()
    return {'steps': int(shared[0]), 'tokens': int(shared[5])}


# ---- GPU ------------------------------------------------------------------------------------------


def train_cuda(args, model, optimizer, tok, rows):
    torch.set_float32_matmul_precision('high')
    started = time.time()
    rows = rows.cuda()

    def losses(row):
        ids, targets, positions, numbers = (row[:, i].long() for i in range(4))
        with torch.autocast('cuda', torch.bfloat16):
            logits = model.logits(model(ids, positions, numbers))
        total = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        return total, model.aux()

    compiled, per_step = losses, args.step_tokens // rows.shape[-1]
    if not args.no_compile:
        try:
            compiled = torch.compile(losses)
            loss, aux = compiled(rows[:per_step])
            (loss + AUX * aux).backward()
        except Exception as error:  # the training itself does not depend on the compiler
            say('torch.compile failed, going on without it:', repr(error)[:500])
            compiled = losses
        model.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    say(f'ready after {time.time() - started:.0f} s')
    began, step, at, evaluated, paused = time.time(), 0, len(rows), time.time(), 0.0
    order = None
    while True:
        used = time.time() - began - paused
        if used >= args.seconds:
            break
        if at + per_step > len(rows):
            order, at = torch.randperm(len(rows), device='cuda'), 0
        loss, aux = compiled(rows[order[at : at + per_step]])
        at += per_step
        (loss + AUX * aux).backward()
        optimizer.step(step, rate(used / args.seconds), lambda name, p: p.grad)
        model.zero_grad(set_to_none=True)
        step += 1
        if step % 100 == 0:  # .item() waits for the device, which also keeps the clock honest
            say(f'step {step} {used:.0f} s loss {loss.item():.4f} aux {aux.item():.3f}')
        if time.time() - evaluated > args.eval_every:
            pause = time.time()
            quick_report(model, optimizer, tok, args.eval_count, f'eval at {used:.0f} s')
            evaluated = time.time()
            paused += evaluated - pause
    return {'steps': step, 'tokens': step * per_step * rows.shape[-1]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--seconds', type=float, default=330)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--vocab', type=int, default=1024)
    parser.add_argument('--tokenizer', type=Path, help='a tokenizer.json to keep instead of training one')
    parser.add_argument('--layers', type=int, default=Config.num_hidden_layers)
    parser.add_argument('--experts', type=int, default=Config.num_experts)
    parser.add_argument('--step-tokens', type=int)
    parser.add_argument('--micro-tokens', type=int, default=2048)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--processes', type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument('--documents', type=int, default=2_000_000, help='made beforehand (cuda)')
    parser.add_argument('--muon-lr', type=float, default=0.02)
    parser.add_argument('--adam-lr', type=float, default=4e-3)
    parser.add_argument('--eval-every', type=float, default=100, help='seconds between quick evaluations')
    parser.add_argument('--eval-count', type=int, default=30)
    parser.add_argument('--save-every', type=float, default=120)
    parser.add_argument('--final-count', type=int, default=300)
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--no-compile', action='store_true')
    args = parser.parse_args()
    args.step_tokens = args.step_tokens or (131_072 if args.device == 'cuda' else 4096)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    resume = torch.load(args.out / 'checkpoint.pt') if args.resume else None
    if resume:
        tok, config = Tokenizer(resume['vocab']), Config(**resume['config'])
    else:
        tok = Tokenizer.load(args.tokenizer) if args.tokenizer else make_tokenizer(args.seed, args.vocab)
        config = Config(vocab_size=len(tok.vocab), num_hidden_layers=args.layers, num_experts=args.experts)
    rows = None
    if args.device == 'cuda':  # before CUDA starts, because the pool forks
        started = time.time()
        rows = packed(tok, args.seed, args.documents, args.processes)
        say(f'{args.documents} documents, {len(rows)} rows in {time.time() - started:.0f} s')
    model = Pocket(config).to(args.device)
    say('parameters', sum(p.numel() for p in model.parameters()), 'vocabulary', config.vocab_size)
    optimizer = Optimizer(list(model.named_parameters()), muon_lr=args.muon_lr, adam_lr=args.adam_lr,
                          expert_every=2 if args.device == 'cpu' else 1)  # fmt: skip
    if resume:
        optimizer.load_state_dict(resume['state'])
    began = time.time()
    if args.device == 'cuda':
        done = train_cuda(args, model, optimizer, tok, rows)
    else:
        done = train_cpu(args, model, optimizer, tok, resume)
    say(f'{done["steps"]} steps, {done["tokens"] / 1e6:.1f} M tokens, {time.time() - began:.0f} s')
    final = averaged(model, optimizer)
    folder = args.out / 'pocket'
    export(folder, config, {n: p.detach().cpu() for n, p in final.named_parameters()}, tok)
    say('exported to', folder)
    from export import load  # what is graded is what was written, bf16 included

    model, tok = load(folder)
    report = evaluate(model.to(args.device), tok, args.final_count)
    say(table(report))
    (args.out / 'report.json').write_text(json.dumps({**done, 'accuracy': report}, indent=2) + '\n')


if __name__ == '__main__':
    main()
