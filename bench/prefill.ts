/**
 * Prefill: prompt tokens per second until every sequence has its first token. Arithmetic counts two operations per
 * weight and token (of experts: those that are chosen), causal attention, and the head for the last token.
 *
 *   node bench/run.mjs prefill --model llama-3.1-8b --device cuda          512 x 32, then 4096 x 1
 *   node bench/run.mjs prefill --prompt 2048 --batch 1,4
 */
import { Fnv, median, randomIds, readFlags, report, rounded } from './lib/bench.js';
import { BenchModel } from './lib/model.js';
import { measurePeaks } from './lib/probe.js';

const flags = readFlags();
const onCpu = flags.info.kind === 'cpu';
const asked = process.argv.some((argument) => /^--(prompt|batch)\b/.test(argument));
const usual = onCpu
  ? [[128, 1] as const, [512, 1] as const]
  : [[512, 32] as const, [4096, 1] as const];
const device = onCpu ? 'cpu' : `cuda:${flags.info.index}`;
// A GPU is probed once, before the model takes its memory; a CPU's rate changes from minute to minute.
const gpuPeak = onCpu ? null : measurePeaks(device, 0).gflops * 1e9;
const shapes = asked ? flags.batch.map((batch) => [flags.prompt, batch] as const) : usual;

const longest = Math.max(...shapes.map(([tokens]) => tokens));
const model = await BenchModel.load(flags, {
  maxModelLen: longest + 1,
  maxRunningSeqs: Math.max(...shapes.map(([, batch]) => batch)),
});

for (const [promptTokens, batch] of shapes) {
  const prompts = Array.from({ length: batch }, (_, i) =>
    randomIds(1000 * batch + i, promptTokens, model.spec.vocabSize),
  );
  const flops = batch * model.prefillFlops(promptTokens);
  const measure = async () => {
    const probe =
      onCpu && flags.peak === null ? measurePeaks(device, flags.threads).gflops * 1e9 : gpuPeak;
    const { started, ended, ids } = await model.run(prompts, 1);
    const hash = String(ids.reduce((sum, own) => sum.add(own), new Fnv()));
    return { seconds: (ended - started) / 1000, probe, hash };
  };
  await model.run(prompts, 1);
  const rounds = [];
  for (let i = 0; i < flags.rounds; i++) rounds.push(await measure());
  const seconds = median(rounds.map((round) => round.seconds));
  const probes = rounds.flatMap(({ probe, seconds: own }) =>
    probe === null ? [] : [{ probe, share: flops / own / probe }],
  );
  report('prefill', flags, {
    prompt_tokens: promptTokens,
    batch,
    tokens_per_s: rounded((promptTokens * batch) / seconds),
    milliseconds: rounded(seconds * 1000, 3),
    tflop_per_s: rounded((flops / seconds) * 1e-12, 3),
    ...(probes.length > 0 && {
      probe_tflop_per_s: rounded(median(probes.map(({ probe }) => probe)) * 1e-12, 3),
      percent_of_probe: rounded(100 * median(probes.map(({ share }) => share)), 1),
    }),
    logits_hash: await model.logitsHash(prompts, 1),
    hash: [...new Set(rounds.map(({ hash }) => hash))].join(' '),
  });
}
await model.close();
