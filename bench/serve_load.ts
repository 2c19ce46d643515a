/**
 * The server under load: a client in another process keeps --streams requests going over loopback for --seconds, some
 * of which it gives up, reads slowly or malforms. Afterwards nothing may be left: no block in use, no memory, and no
 * error but the provoked ones; otherwise the exit code is 1.
 *
 *   node bench/run.mjs serve-load [--seconds 60] [--streams 256] [--seed 1] [--model <folder>] [--device cpu]
 *     [--threads 2] [--save]
 *
 * Default model: the bundled one. A round of a sixth of the time (at least 5 s) goes before, so that what is kept for
 * good (compiled code, buffers of the allocator) is there when counting starts.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Engine } from '../lib/index.js';
import { serve } from '../lib/server/index.js';
import { readFlags, report, rounded } from './lib/bench.js';
import { type ClientReport, type ClientTask, runClient } from './lib/serve_client.js';
import { watchThread } from './lib/thread.js';

/** Growth that is no leak: what the allocator keeps of its own accord. */
const toleratedRssGrowth = 48 * 2 ** 20;
const toleratedHeapGrowth = 8 * 2 ** 20;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Takes this bench's own flags from the command line; the rest is for readFlags. */
function ownFlags() {
  const { values, tokens } = parseArgs({
    args: process.argv.slice(3),
    options: {
      seconds: { type: 'string', default: '60' },
      streams: { type: 'string', default: '256' },
      seed: { type: 'string', default: '1' },
    },
    strict: false,
    tokens: true,
  });
  const own = new Set(['seconds', 'streams', 'seed']);
  const taken = new Set<number>();
  for (const token of tokens) {
    if (token.kind !== 'option' || !own.has(token.name)) continue;
    taken.add(token.index);
    if (token.value !== undefined && !token.inlineValue) taken.add(token.index + 1);
  }
  const rest = process.argv.slice(3).filter((_, i) => !taken.has(i));
  process.argv.splice(3, Number.POSITIVE_INFINITY, ...rest);
  if (!rest.some((argument) => argument.startsWith('--model')))
    process.argv.push('--model', fileURLToPath(new URL('../models/pocket', import.meta.url)));
  return {
    seconds: Number(values.seconds),
    streams: Number(values.streams),
    seed: Number(values.seed),
  };
}

/** Runs the client in a process of its own. */
function load(task: ClientTask): Promise<ClientReport> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('./run.mjs', import.meta.url)), ['serve-load'], {
      env: { ...process.env, HOTPATH_BENCH_CLIENT: JSON.stringify(task) },
    });
    let received: ClientReport | null = null;
    child.once('message', (message) => {
      received = message as ClientReport;
    });
    child.once('exit', (code) => {
      if (received !== null && code === 0) resolve(received);
      else reject(new Error(`the client ended with ${code}`));
    });
  });
}

/** What is left once everything that was asked for has ended. */
async function settled(engine: Engine) {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const { running, waiting } = engine.stats();
    if (running + waiting === 0) break;
    if (performance.now() > deadline) throw new Error(`${running + waiting} sequences never ended`);
    await pause(20);
  }
  for (let i = 0; i < 5; i++) {
    collectGarbage();
    await pause(100);
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  const { blocksTotal, blocksFree, blocksCached, requestsAborted, requestsFinished } =
    engine.stats();
  return {
    rss,
    heap: heapUsed + external,
    blocksTotal,
    blocksInUse: blocksTotal - blocksFree - blocksCached,
    requestsAborted,
    requestsFinished,
  };
}

async function main(): Promise<void> {
  const own = ownFlags();
  const flags = readFlags();
  await using engine = await Engine.load(flags.folder, {
    device: flags.device,
    ...(flags.info.kind === 'cpu' && { numThreads: flags.threads }),
  });
  const server = await serve(engine, { port: 0, maxQueuedRequests: 4 * own.streams });
  const task = { url: server.url, ...own };
  await load({ ...task, seconds: Math.max(5, own.seconds / 6), seed: own.seed + 1_000_000 });
  const before = await settled(engine);
  const read = watchThread();
  const client = await load(task);
  const cost = read();
  const after = await settled(engine);
  const openRequests = await activeRequests(server.url);
  await server.close();

  const faults = [...client.unexpected];
  if (after.blocksInUse !== 0) faults.push(`${after.blocksInUse} blocks of the KV cache in use`);
  if (openRequests !== 0) faults.push(`${openRequests} requests still counted as active`);
  if (after.rss - before.rss > toleratedRssGrowth)
    faults.push(`RSS grew from ${before.rss} to ${after.rss}`);
  if (after.heap - before.heap > toleratedHeapGrowth)
    faults.push(`the heap grew from ${before.heap} to ${after.heap}`);
  const megabytes = (bytes: number) => rounded(bytes / 2 ** 20, 1);
  report(
    'serve-load',
    { ...flags, model: 'pocket' },
    {
      streams: own.streams,
      seconds: rounded(cost.wallSeconds, 1),
      requests: client.requests,
      outcomes: client.outcomes,
      requests_per_s: rounded(client.requests / cost.wallSeconds, 1),
      tokens_per_s: rounded(client.tokens / cost.wallSeconds, 1),
      events_per_s: rounded(client.events / cost.wallSeconds, 1),
      first_token_ms: client.firstTokenMs,
      sequences_aborted: after.requestsAborted - before.requestsAborted,
      sequences_finished: after.requestsFinished - before.requestsFinished,
      rss_mib: [megabytes(before.rss), megabytes(after.rss)],
      heap_mib: [megabytes(before.heap), megabytes(after.heap)],
      kv_blocks: after.blocksTotal,
      kv_blocks_in_use: [before.blocksInUse, after.blocksInUse],
      event_loop_percent: rounded(100 * cost.loopUtilization, 1),
      js_thread_cpu_s: cost.mainThreadSeconds && rounded(cost.mainThreadSeconds, 2),
      unexpected: faults,
    },
  );
  if (faults.length > 0) process.exitCode = 1;
}

async function activeRequests(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const value = /^hotpath_requests_active (\d+)$/m.exec(text)?.[1];
  if (value === undefined) throw new Error('/metrics has no hotpath_requests_active');
  return Number(value);
}

const clientTask = process.env.HOTPATH_BENCH_CLIENT;
if (clientTask === undefined) await main();
else {
  // Without a parent nobody wants the report.
  process.once('disconnect', () => process.exit(1));
  const figures = await runClient(JSON.parse(clientTask) as ClientTask);
  process.send!(figures, () => process.exit(0));
}
