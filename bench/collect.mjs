/**
 * Puts one run's figures together: what bench/gpu.sh wrote into a folder (ops.json, bench.jsonl, torch_kernels.json).
 *
 *   node bench/collect.mjs FOLDER > bench/results/NAME.json
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
if (folder === undefined) throw new Error('Usage: node bench/collect.mjs FOLDER > RESULT.json');
const read = (name) => {
  const file = join(folder, name);
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
};

const ops = JSON.parse(read('ops.json') ?? 'null');
const torch = JSON.parse(read('torch_kernels.json') ?? 'null');
const lines = (read('bench.jsonl') ?? '')
  .split('\n')
  .filter((line) => line.startsWith('{'))
  .map((line) => JSON.parse(line));

const yardsticks = new Map((torch?.rows ?? []).map((row) => [row.name, row.us]));

/** The same work in PyTorch, by the names of bench/peers/torch_kernels.py; the quicker of its back ends. */
function peersOf(name) {
  const gemm = /^gemm bf16 plain m=(\d+) n=(\d+) k=(\d+)$/.exec(name);
  if (gemm) return [`gemm N=${gemm[2]} K=${gemm[3]} M=${gemm[1]}`];
  const attention =
    /^paged_attention \S+ (decode|prefill) (\d+) x (\d+)k \S+ heads=(\S+) d=(\d+)/.exec(name);
  if (!attention) return [];
  const [, kind, sequences, thousands, heads, headDim] = attention;
  const length = Number(thousands) * 1024;
  if (kind === 'prefill' && sequences !== '1') return [];
  const shape = kind === 'decode' ? `B=${sequences} ${length}` : length;
  return ['cudnn', 'fa2'].map((backend) => `${kind} ${heads} d=${headDim} ${shape} ${backend}`);
}

const rounded = (value, digits) => Number(value.toFixed(digits));
const cases = (ops?.cases ?? []).map(
  ({ name, best_us, median_us, gb_s, gflop_s, percent_of_peak }) => {
    const peers = peersOf(name).filter((peer) => yardsticks.has(peer));
    const peerUs = Math.min(...peers.map((peer) => yardsticks.get(peer)));
    return {
      name,
      us: best_us,
      median_us,
      tb_per_s: rounded(gb_s / 1000, 3),
      tflop_per_s: rounded(gflop_s / 1000, 1),
      percent_of_peak,
      ...(peers.length > 0 && { torch_us: peerUs, of_torch: rounded(peerUs / best_us, 3) }),
    };
  },
);

process.stdout.write(
  `${JSON.stringify(
    {
      date: new Date().toISOString().slice(0, 10),
      device: ops?.device ?? lines[0]?.device ?? torch?.device,
      torch: torch && { version: torch.torch, cuda: torch.cuda },
      peaks: ops && {
        read_tb_per_s: rounded(ops.read_gb_s / 1000, 3),
        tflop_per_s: rounded(ops.gflop_s / 1000, 1),
      },
      models: lines,
      ops: cases,
      peers: torch?.rows ?? [],
    },
    null,
    1,
  )}\n`,
);
