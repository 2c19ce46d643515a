/**
 * Prefill: prompt tokens per second of one sequence, through the public API, to its first token. Arithmetic counts
 * two operations per weight and token, without attention and the head, which runs for the last token only.
 */
import { readFileSync } from 'node:fs';
import { loadDummy, median, promptIds, readFlags, report, rounded, rounds } from './lib/bench.js';

const flags = readFlags();
const engine = await loadDummy(flags);
const config = JSON.parse(
  readFileSync(new URL(`./configs/${flags.model}/config.json`, import.meta.url), 'utf8'),
) as { vocab_size: number; hidden_size: number };
const weightSize = flags.dtype === 'f32' ? 4 : 2;
const bodyWeights =
  engine.stats().weightBytes / weightSize - config.vocab_size * config.hidden_size;

for (const promptTokens of [128, 512]) {
  const prompt = promptIds(promptTokens);
  const results = await rounds(flags, async () => {
    const started = performance.now();
    await engine.completions({ prompt, max_tokens: 1, ignore_eos: true, temperature: 0 });
    return promptTokens / ((performance.now() - started) / 1000);
  });
  const gflops = (rate: number) => rate * 2e-9 * bodyWeights;
  const rate = median(results.map((round) => round.value));
  report('prefill', flags, {
    prompt_tokens: promptTokens,
    tokens_per_s: rounded(rate),
    gflop_per_s: rounded(gflops(rate), 1),
    probe_gflop_per_s: rounded(median(results.map((round) => round.peaks.gflops)), 1),
    percent_of_probe: rounded(
      100 * median(results.map((r) => gflops(r.value) / r.peaks.gflops)),
      1,
    ),
  });
}
await engine.close();
