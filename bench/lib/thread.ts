/** What the JavaScript thread itself costs, apart from the engine's threads. */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

/** CPU seconds of the main thread; null where the platform does not say. */
function mainThreadSeconds(): number | null {
  // Node 23.9 and newer.
  const { threadCpuUsage } = process as { threadCpuUsage?(): { user: number; system: number } };
  if (threadCpuUsage !== undefined) {
    const { user, system } = threadCpuUsage.call(process);
    return (user + system) * 1e-6;
  }
  try {
    // Linux: nanoseconds on a CPU; the main thread has the process's id.
    const text = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8');
    return Number(text.split(' ', 1)[0]) * 1e-9;
  } catch {
    return null;
  }
}

export interface ThreadCost {
  wallSeconds: number;
  mainThreadSeconds: number | null;
  /** Of one core. */
  mainThreadShare: number | null;
  /** How long the event loop had something to do, as a share of the time. */
  loopUtilization: number;
  processSeconds: number;
}

/** Starts the clocks; the returned function reads them. */
export function watchThread(): () => ThreadCost {
  const started = performance.now();
  const loop = performance.eventLoopUtilization();
  const own = mainThreadSeconds();
  const all = process.cpuUsage();
  return () => {
    const wallSeconds = (performance.now() - started) / 1000;
    const now = mainThreadSeconds();
    const mainThread = now === null || own === null ? null : now - own;
    const { user, system } = process.cpuUsage(all);
    return {
      wallSeconds,
      mainThreadSeconds: mainThread,
      mainThreadShare: mainThread === null ? null : mainThread / wallSeconds,
      loopUtilization: performance.eventLoopUtilization(loop).utilization,
      processSeconds: (user + system) * 1e-6,
    };
  };
}
