/** What a device can do at most, by the native probes: hotpath_ops streams memory and multiplies. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../build/Release/hotpath_ops', import.meta.url));

export interface Peaks {
  /** The best of some passes, and the median: what lasts for seconds is held against the median. */
  readGBs: number;
  readMedianGBs: number;
  gflops: number;
}

/** Some seconds; nothing else may run meanwhile. `device`: "cpu" or "cuda:<index>"; `threads`: of a CPU. */
export function measurePeaks(device: string, threads: number): Peaks {
  if (!existsSync(program))
    throw new Error(`${program} is missing: run npm run build:native, or build:cuda`);
  // The filter matches no case: only the probes run.
  const args = ['--bench', '--json', '--device', device, '--filter', 'only the probes'];
  args.push('--threads', String(threads));
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);
  const { read_gb_s, read_median_gb_s, gflop_s } = JSON.parse(stdout) as Record<string, number>;
  return { readGBs: read_gb_s!, readMedianGBs: read_median_gb_s!, gflops: gflop_s! };
}
