/**
 * Every op alone, at real sizes: microseconds, GB/s, GFLOP/s and the share of what this machine's probes reach in
 * the same run. The cases are those of test/ops.
 *
 *   node bench/run.mjs ops [--device <cpu|cuda:n>] [--filter <text>] [--threads <n>] [--isa <name>]
 *     [--activations <bf16|f16|f32>] [--save]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

interface OpFigures {
  name: string;
  best_us: number;
  median_us: number;
  runs: number;
  gb_s: number;
  gflop_s: number;
  /** Of the tighter of the two bounds, bandwidth and arithmetic. */
  percent_of_peak: number;
}

interface OpsReport {
  device: string;
  detail: string;
  read_gb_s: number;
  gflop_s: number;
  cases: OpFigures[];
}

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    filter: { type: 'string', default: '' },
    device: { type: 'string' },
    threads: { type: 'string' },
    activations: { type: 'string' },
    isa: { type: 'string' },
    save: { type: 'boolean', default: false },
  },
});

const program = fileURLToPath(new URL('../build/Release/hotpath_ops', import.meta.url));
if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build:native`);
const args = ['--bench', '--json', '--filter', flags.filter];
for (const name of ['device', 'threads', 'isa', 'activations'] as const)
  if (flags[name] !== undefined) args.push(`--${name}`, flags[name]);
const { status, stdout, stderr } = spawnSync(program, args, {
  encoding: 'utf8',
  maxBuffer: 1 << 26,
});
if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);

const report = JSON.parse(stdout) as OpsReport;
const row = (name: string, ...columns: (string | number)[]) =>
  `${name.padEnd(64)}${columns.map((c) => String(c).padStart(11)).join('')}\n`;
process.stdout.write(
  `${report.device}, ${report.detail}: reads ${report.read_gb_s} GB/s, ` +
    `computes ${report.gflop_s} GFLOP/s\n` +
    row('case', 'best us', 'median us', 'GB/s', 'GFLOP/s', '% of peak'),
);
for (const c of report.cases)
  process.stdout.write(row(c.name, c.best_us, c.median_us, c.gb_s, c.gflop_s, c.percent_of_peak));

if (flags.save) {
  const slug = report.device.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  const file = new URL(`./results/ops-${slug.replaceAll(/^-|-$/g, '')}.json`, import.meta.url);
  const date = new Date().toISOString().slice(0, 10);
  writeFileSync(file, `${JSON.stringify({ bench: 'ops', date, ...report }, null, 1)}\n`);
}
