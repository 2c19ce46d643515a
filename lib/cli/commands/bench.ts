/** hotpath bench */
import type { Engine, LoadOptions } from '../../index.js';
import { openCheckpoint } from '../../weights/index.js';
import { type BenchResult, measure } from '../bench/measure.js';
import type { Cli, Flags } from '../cli.js';
import { CommandError, type Context, exitCodes, UsageError, write } from '../context.js';
import { readEngineFlags } from '../engine-flags.js';
import { addFlags, type Flag, readFlags, within } from '../flags.js';
import { addModelFlags, withEngine } from '../model.js';
import { countingBar } from '../progress.js';
import { table } from '../report.js';

const benchFlags = {
  concurrency: {
    value: 'integers',
    about: 'requests in flight, one measurement each',
    standard: '1,8',
  },
  requests: { value: 'integer', about: 'requests of a measurement', standard: '4 x concurrency' },
  inputLen: { value: 'integer', about: 'tokens of a prompt, drawn at random', standard: '128' },
  outputLen: { value: 'integer', about: 'tokens of an answer', standard: '64' },
  temperature: { value: 'number', about: 'of sampling', standard: '0' },
  seed: { value: 'integer', about: 'the same seed gives the same prompts', standard: '0' },
} satisfies Record<string, Flag>;

interface Settings {
  concurrency: number[];
  /** null: four times the concurrency. */
  requests: number | null;
  inputLen: number;
  outputLen: number;
  temperature: number;
  seed: number;
}

const million = 1_000_000;

export function addBench(cli: Cli): void {
  const command = cli
    .command('bench <MODEL>', 'measure tokens per second and the time to the first and next token')
    .option('--json', 'a line of JSON per measurement')
    .addHelpText(
      'after',
      '\nEach measurement follows a short one that warms up. TTFT: time to first token; ITL: time between tokens.\n' +
        'Random weights, where no checkpoint is at hand: --load-format dummy with a folder that has a config.json.',
    );
  addFlags(command, benchFlags);
  addModelFlags(command);
  cli.run(command, async ([model], flags) => {
    const settings = readSettings(flags);
    const options = readEngineFlags(flags);
    return withEngine(cli.context, model!, flags, async (engine) => {
      const vocabSize = await vocabularyOf(model!, options);
      if (settings.inputLen + settings.outputLen > engine.maxModelLen)
        throw new CommandError(
          `A request has at most ${engine.maxModelLen} tokens here, got ${settings.inputLen} of --input-len and ` +
            `${settings.outputLen} of --output-len. Lower them, or raise --max-model-len.`,
        );
      await measureAll(cli.context, engine, { ...settings, vocabSize }, flags);
      return exitCodes.ok;
    });
  });
}

function readSettings(flags: Flags): Settings {
  const given = readFlags(benchFlags, flags) as Partial<Record<keyof Settings, unknown>>;
  const concurrency = (given.concurrency as unknown[] | undefined) ?? [1, 8];
  const temperature = given.temperature ?? 0;
  if (typeof temperature !== 'number' || !(temperature >= 0) || temperature === Infinity)
    throw new UsageError(`--temperature: expected at least 0, received ${temperature}.`);
  return {
    concurrency: concurrency.map((n) => within('concurrency', n, 1, 65_536)),
    requests: given.requests === undefined ? null : within('requests', given.requests, 1, million),
    inputLen: within('input-len', given.inputLen ?? 128, 1, million),
    outputLen: within('output-len', given.outputLen ?? 64, 1, million),
    temperature,
    seed: within('seed', given.seed ?? 0, 0, 2 ** 31),
  };
}

/** From config.json, so that every id of the prompts is one of the model's. */
async function vocabularyOf(model: string, options: LoadOptions): Promise<number> {
  const { revision, cacheDir, offline, token } = options;
  const hub = { revision, cacheDir, offline, token };
  const { spec } = await openCheckpoint(model, { ...hub, loadFormat: 'dummy' });
  return spec.vocabSize;
}

async function measureAll(
  context: Context,
  engine: Engine,
  settings: Settings & { vocabSize: number },
  flags: Flags,
): Promise<void> {
  const results: BenchResult[] = [];
  for (const concurrency of settings.concurrency) {
    const plan = { ...settings, concurrency, requests: settings.requests ?? 4 * concurrency };
    const warmUp = { ...plan, requests: concurrency, outputLen: Math.min(4, plan.outputLen) };
    await measure(engine, warmUp);
    const hidden = flags.quiet === true;
    const bar = countingBar(
      context.err,
      `requests, ${concurrency} at a time`,
      plan.requests,
      hidden,
    );
    try {
      results.push(await measure(engine, plan, { onRequest: bar.step }));
    } finally {
      bar.stop();
    }
    if (flags.json) {
      const line = { model: engine.model, device: engine.device, ...results.at(-1) };
      await write(context.out, `${JSON.stringify(line)}\n`);
    }
  }
  if (!flags.json) await write(context.out, report(engine, settings, results));
}

function report(engine: Engine, settings: Settings, results: readonly BenchResult[]): string {
  const { inputLen, outputLen } = settings;
  const title = `${engine.model} on ${engine.device}: ${inputLen} tokens in, ${outputLen} out\n\n`;
  const head = ['at a time', 'requests', 'seconds', 'tok/s out', 'tok/s all'];
  for (const name of ['TTFT', 'ITL', 'request']) head.push(`${name} p50`, 'p90', 'p99 ms');
  const rows = results.map((r) => [
    String(r.concurrency),
    String(r.requests),
    r.seconds.toFixed(2),
    r.generated_tokens_per_s.toFixed(1),
    r.total_tokens_per_s.toFixed(1),
    ...[r.ttft_ms, r.itl_ms, r.e2e_ms].flatMap((q) =>
      q === null ? ['-', '-', '-'] : [q.p50, q.p90, q.p99].map((ms) => ms.toFixed(2)),
    ),
  ]);
  return title + table(head, rows);
}
