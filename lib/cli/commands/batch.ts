/** hotpath batch */
import { promises as fs } from 'node:fs';
import type { Engine } from '../../index.js';
import { countTasks } from '../batch/input.js';
import { type Earlier, Output } from '../batch/output.js';
import { type BatchSummary, runBatch } from '../batch/run.js';
import type { Cli, Flags } from '../cli.js';
import { type Context, exitCodes, UsageError, write } from '../context.js';
import { readEngineFlags } from '../engine-flags.js';
import { toInteger, within } from '../flags.js';
import { addModelFlags, withEngine } from '../model.js';
import { countingBar } from '../progress.js';
import { fileError } from '../report.js';

/** As many as take part in steps by default, and some that wait to take their place. */
const defaultConcurrency = { cpu: 80, cuda: 320 };

export function addBatch(cli: Cli): void {
  const command = cli
    .command('batch <MODEL> <IN> <OUT>', "answer a file of requests in OpenAI's batch form")
    .option('--concurrency <n>', 'requests in flight (default: 80, on CUDA 320)', toInteger)
    .option('--retry-failed', 'ask again what OUT has as failed')
    .addHelpText(
      'after',
      '\nIN has a line {"custom_id", "method", "url", "body"} per request; OUT gets a line {"id", "custom_id",\n' +
        '"response", "error"} per answer, in the order in which they come. What OUT has already is not asked\n' +
        'again: a run that was ended goes on where it was. Exit code 1 where OUT has failed requests.',
    );
  addModelFlags(command);
  cli.run(command, async ([model, input, file], flags) => {
    const concurrency =
      flags.concurrency === undefined ? 0 : within('concurrency', flags.concurrency, 1, 65_536);
    readEngineFlags(flags);
    await refuseSameFile(input!, file!);
    await refuseUnreadable(input!);
    const opened = await Output.open(file!, { retryFailed: flags.retryFailed === true });
    try {
      await tellEarlier(cli.context, file!, opened.earlier);
      const { total, missing } = await countTasks(input!, opened.earlier);
      if (missing === 0) {
        await write(cli.context.err, `${nothingMissing(total, opened.earlier)}\n`);
        return codeOf(opened.earlier.failed);
      }
      return await withEngine(cli.context, model!, flags, (engine) =>
        run(cli.context, engine, { input: input!, total, opened, concurrency, flags }),
      );
    } finally {
      await opened.output.close();
    }
  });
}

interface Work {
  input: string;
  total: number;
  opened: { output: Output; earlier: Earlier };
  /** 0: the default. */
  concurrency: number;
  flags: Flags;
}

async function run(context: Context, engine: Engine, work: Work): Promise<number> {
  const stop = new AbortController();
  const release = context.onSignal(() => {
    if (stop.signal.aborted) context.exit(exitCodes.interrupted);
    stop.abort();
  });
  const kind = engine.device === 'cpu' ? 'cpu' : 'cuda';
  const bar = countingBar(context.err, 'requests', work.total, work.flags.quiet === true);
  const started = performance.now();
  let summary: BatchSummary;
  try {
    summary = await runBatch(engine, work.input, work.opened, {
      concurrency: work.concurrency || defaultConcurrency[kind],
      signal: stop.signal,
      onLine: bar.step,
    });
  } finally {
    bar.stop();
    release();
  }
  const seconds = (performance.now() - started) / 1000;
  await write(context.err, `${summaryLine(summary, work.opened.earlier, seconds)}\n`);
  if (summary.interrupted) return exitCodes.interrupted;
  return codeOf(summary.failed + work.opened.earlier.failed);
}

function codeOf(failed: number): number {
  return failed > 0 ? exitCodes.failed : exitCodes.ok;
}

function nothingMissing(total: number, { failed }: Earlier): string {
  if (total === 0) return 'There are no requests.';
  return `All ${total} requests were answered already, ${failed} of them failed.`;
}

function summaryLine(summary: BatchSummary, earlier: Earlier, seconds: number): string {
  const { succeeded, failed, skipped, generatedTokens, interrupted } = summary;
  const rate = seconds > 0 ? Math.round(generatedTokens / seconds) : 0;
  const before =
    skipped > 0 ? `; ${skipped} were there already, ${earlier.failed} of them failed` : '';
  return (
    `${interrupted ? 'Interrupted: ' : ''}${succeeded} succeeded, ${failed} failed${before}; ` +
    `${generatedTokens} tokens in ${seconds.toFixed(1)} s, ${rate} tokens/s`
  );
}

async function tellEarlier({ err }: Context, file: string, { cut }: Earlier): Promise<void> {
  if (cut > 0) await write(err, `'${file}' ended in half a line: its ${cut} bytes were cut off.\n`);
}

/** Before OUT is made. */
async function refuseUnreadable(input: string): Promise<void> {
  try {
    await fs.access(input, fs.constants.R_OK);
  } catch (error) {
    throw fileError('read', input, error);
  }
}

async function refuseSameFile(input: string, output: string): Promise<void> {
  const paths = await Promise.all([input, output].map((p) => fs.realpath(p).catch(() => null)));
  if (paths[0] !== null && paths[0] === paths[1])
    throw new UsageError(`IN and OUT are the same file, '${input}'. Name another one for OUT.`);
}
