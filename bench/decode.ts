/**
 * Decode: tokens per second with a number of sequences at a time, while all of them decode. Every step reads the
 * weights once and every sequence's keys and values: those bytes per second are compared with how fast the device
 * reads memory at all.
 *
 *   node bench/run.mjs decode --model llama-3.1-8b --device cuda --batch 1,32 --peak 4.26
 */
import { Fnv, median, randomIds, readFlags, report, rounded } from './lib/bench.js';
import { BenchModel } from './lib/model.js';
import { measurePeaks } from './lib/probe.js';

interface Decoded {
  tokensPerSecond: number;
  /** Of a step. */
  milliseconds: number;
  bytesPerSecond: number;
  /** Prompts, generation and what lies between. */
  wholePerSecond: number;
  hash: string;
  /** Bytes per second that the device reads at most. */
  probe: number;
}

const flags = readFlags();
const onCpu = flags.info.kind === 'cpu';
const device = onCpu ? 'cpu' : `cuda:${flags.info.index}`;
const maxModelLen = flags.prompt + flags.generate;
// A GPU is probed once, before the model takes its memory; a CPU's rate changes from minute to minute.
const peak = flags.peak ?? (onCpu ? null : measurePeaks(device, 0).readMedianGBs / 1000);
const model = await BenchModel.load(flags, {
  maxModelLen,
  maxRunningSeqs: Math.max(...flags.batch),
});

async function measure(prompts: number[][]): Promise<Decoded> {
  const probe =
    peak === null ? measurePeaks(device, flags.threads).readMedianGBs * 1e9 : peak * 1e12;
  const { started, ended, ids, full } = await model.run(prompts, flags.generate);
  if (full === null || full.end.tokens === full.begin.tokens)
    throw new Error(`--generate ${flags.generate}: no step had all ${prompts.length} sequences`);
  const { begin, end } = full;
  const seconds = (end.time - begin.time) / 1000;
  const tokens = end.tokens - begin.tokens;
  const steps = tokens / prompts.length;
  const context = prompts.length * flags.prompt + (begin.tokens + end.tokens) / 2;
  const stepBytes = model.weightBytes(prompts.length) + context * model.kvBytes;
  return {
    tokensPerSecond: tokens / seconds,
    milliseconds: (seconds * 1000) / steps,
    bytesPerSecond: (stepBytes * steps) / seconds,
    wholePerSecond: (prompts.length * flags.generate * 1000) / (ended - started),
    hash: String(ids.reduce((hash, own) => hash.add(own), new Fnv())),
    probe,
  };
}

for (const batch of flags.batch) {
  const prompts = Array.from({ length: batch }, (_, i) =>
    randomIds(1000 * batch + i, flags.prompt, model.spec.vocabSize),
  );
  await model.run(prompts, flags.generate);
  const results: Decoded[] = [];
  for (let i = 0; i < flags.rounds; i++) results.push(await measure(prompts));
  const of = (pick: (round: Decoded) => number) => median(results.map(pick));
  const hashes = [...new Set(results.map(({ hash }) => hash))];
  report('decode', flags, {
    batch,
    prompt_tokens: flags.prompt,
    generated_tokens: flags.generate,
    tokens_per_s: rounded(of((r) => r.tokensPerSecond)),
    step_ms: rounded(
      of((r) => r.milliseconds),
      4,
    ),
    read_tb_per_s: rounded(of((r) => r.bytesPerSecond) * 1e-12, 4),
    peak_tb_per_s: rounded(of((r) => r.probe) * 1e-12, 4),
    percent_of_peak: rounded(100 * of((r) => r.bytesPerSecond / r.probe), 1),
    with_prefill_tokens_per_s: rounded(of((r) => r.wholePerSecond)),
    logits_hash: await model.logitsHash(prompts, 4),
    // More than one: rounds differ, which no engine should.
    hash: hashes.join(' '),
  });
}
await model.close();
