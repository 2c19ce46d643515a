"""What PyTorch's kernels (cuBLASLt, cuDNN, FlashAttention-2) do on this GPU: the yardstick for ours.

    python3 bench/peers/torch_kernels.py [--out FILE.json] [--only gemm,prefill,decode,moe,sampling,copy] [--seconds 55]

Every figure is the median over replays of a CUDA graph that holds the call several times, over inputs rotated so that
the L2 cache never has them. Random data: zeros run faster. Takes less than a minute; what no longer fits into
--seconds is left out and said so.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

GEMMS = [(4096, 4096), (28672, 4096), (4096, 14336), (9728, 896), (151936, 896), (6144, 4096)]
ROWS = [1, 8, 32, 128, 512, 2048, 8192]
PREFILL = [(32, 8, 128), (14, 2, 64)]  # query heads, key heads, head_dim
PREFILL_LENGTHS = [2048, 8192, 32768]
DECODE = [(1, 1024), (1, 8192), (32, 1024), (64, 4096), (256, 1024)]  # sequences, keys of each
MOE = [("gate_up", 128, 1536, 2048), ("down", 128, 2048, 768)]  # experts, N, K
MOE_TOKENS = [1, 8, 32, 256, 4096]
VOCAB = 151936
BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "fa2": SDPBackend.FLASH_ATTENTION}
PAST_L2 = 256 << 20

device = torch.device("cuda")
stream = torch.cuda.Stream()


def random(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device=device, dtype=dtype)


def copies(bytes_each, most=64):
    return max(2, min(most, -(-PAST_L2 // bytes_each)))


def time_us(call, n, replays=9):
    """Median microseconds of call(i), i = 0 .. n - 1."""
    with torch.cuda.stream(stream):
        for i in range(min(n, 2)):
            call(i)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for i in range(n):
                call(i)
        times = []
        for _ in range(replays + 2):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record(stream)
            graph.replay()
            end.record(stream)
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1000 / n)
    del graph
    return statistics.median(times[2:])


class Table:
    def __init__(self, seconds):
        self.rows, self.deadline, self.left_out = [], time.monotonic() + seconds, 0

    def add(self, name, measure, bytes_moved=0, flops=0):
        """measure() -> microseconds"""
        if time.monotonic() > self.deadline:
            self.left_out += 1
            return
        row = {"name": name}
        try:
            us = measure()
        except Exception as error:  # one backend refuses a shape: the others go on
            row["error"] = str(error).splitlines()[0][:120]
            print(f"{name:48} {row['error']}")
        else:
            row["us"] = round(us, 2)
            if bytes_moved:
                row["tb_s"] = round(bytes_moved / us * 1e-6, 3)
            if flops:
                row["tflop_s"] = round(flops / us * 1e-6, 1)
            rates = f"{row.get('tb_s', ''):>8} TB/s {row.get('tflop_s', ''):>8} TFLOP/s"
            print(f"{name:48} {us:10.2f} us {rates}", flush=True)
        self.rows.append(row)


def gemm(table):
    for n, k in GEMMS:
        weights = [random(n, k) for _ in range(copies(n * k * 2))]
        for m in ROWS:
            x = [random(m, k) for _ in range(2)]
            out = torch.empty(m, n, device=device, dtype=torch.bfloat16)

            def call(i):
                torch.mm(x[i % 2], weights[i % len(weights)].t(), out=out)

            moved = 2 * (n * k + m * k + m * n)
            replays = 9 if m < 2048 else 5
            table.add(
                f"gemm N={n} K={k} M={m}",
                lambda: time_us(call, len(weights) if m < 2048 else 2, replays),
                moved,
                2 * m * n * k,
            )


def attention(table, name, q, k, v, causal, bytes_moved, flops):
    """q, k, v: lists of rotated inputs [batch, heads, length, head_dim]"""
    for backend, kind in BACKENDS.items():

        def call(i):
            i %= len(q)
            F.scaled_dot_product_attention(q[i], k[i], v[i], is_causal=causal, enable_gqa=True)

        def measure():
            with sdpa_kernel(kind):
                return time_us(call, max(len(q), 2), 7)

        table.add(f"{name} {backend}", measure, bytes_moved, flops)


def prefill(table):
    for heads, kv_heads, dim in PREFILL:
        for length in PREFILL_LENGTHS:
            q = [random(1, heads, length, dim) for _ in range(2)]
            k, v = ([random(1, kv_heads, length, dim) for _ in range(2)] for _ in range(2))
            flops = 4 * heads * dim * length * length / 2
            attention(table, f"prefill {heads}/{kv_heads} d={dim} {length}", q, k, v, True, 0, flops)


def decode(table):
    for heads, kv_heads, dim in PREFILL:
        for batch, length in DECODE:
            moved = 2 * batch * kv_heads * length * dim * 2
            n = copies(moved, 32)
            q = [random(batch, heads, 1, dim) for _ in range(n)]
            k, v = ([random(batch, kv_heads, length, dim) for _ in range(n)] for _ in range(2))
            attention(table, f"decode {heads}/{kv_heads} d={dim} B={batch} {length}", q, k, v, False, moved, 0)


def moe(table):
    for name, experts, n, k in MOE:
        weights = [random(experts, n, k) for _ in range(copies(experts * n * k * 2, 3))]
        for tokens in MOE_TOKENS:
            generator = torch.Generator().manual_seed(tokens)
            ids = torch.stack([torch.randperm(experts, generator=generator)[:8] for _ in range(tokens)])
            counts = torch.bincount(ids.flatten(), minlength=experts)
            ends = counts.cumsum(0).to(device, torch.int32)
            x = random(tokens * 8, k)

            def call(i):
                torch._grouped_mm(x, weights[i % len(weights)].transpose(-2, -1), offs=ends)

            touched = int((counts > 0).sum())
            table.add(
                f"grouped {name} E={experts} N={n} K={k} T={tokens}",
                lambda: time_us(call, len(weights)),
                2 * (touched * n * k + tokens * 8 * (n + k)),
                2 * tokens * 8 * n * k,
            )


def sampling(table):
    for batch in (1, 32, 256):
        logits = [random(batch, VOCAB, dtype=torch.float32) for _ in range(copies(batch * VOCAB * 4, 16))]
        n = len(logits)
        table.add(f"argmax B={batch}", lambda: time_us(lambda i: logits[i].argmax(-1), n), batch * VOCAB * 4)

        def draw(i):
            torch.multinomial(torch.softmax(logits[i], -1), 1)

        table.add(f"softmax + multinomial B={batch}", lambda: time_us(draw, n), batch * VOCAB * 4)
        table.add(f"top-20 B={batch}", lambda: time_us(lambda i: logits[i].topk(20), n), batch * VOCAB * 4)


def copy(table):
    a = torch.empty(1 << 30, device=device, dtype=torch.uint8).random_()
    b = torch.empty_like(a)
    table.add("copy 1 GiB (read + write)", lambda: time_us(lambda i: b.copy_(a), 4), 2 << 30)
    floats = a.view(torch.float32)
    out = torch.empty((), device=device)
    table.add("sum 1 GiB (read)", lambda: time_us(lambda i: torch.sum(floats, dim=0, out=out), 4), 1 << 30)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--only", default="copy,gemm,decode,prefill,sampling,moe")
    parser.add_argument("--seconds", type=float, default=50)
    args = parser.parse_args()
    torch.manual_seed(0)
    name = torch.cuda.get_device_name()
    print(f"# {name}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    table = Table(args.seconds)
    for part in args.only.split(","):
        globals()[part](table)
        torch.cuda.empty_cache()
    if table.left_out:
        print(f"# {table.left_out} rows left out: --seconds {args.seconds} were over")
    if args.out:
        report = {
            "bench": "torch_kernels",
            "date": time.strftime("%Y-%m-%d"),
            "device": name,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "rows": table.rows,
        }
        with open(args.out, "w") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
