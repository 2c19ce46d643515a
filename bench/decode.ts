/**
 * Decode: tokens per second of one sequence, through the public API. Every step reads all weights once, so weight
 * bytes per second are compared with how fast the same threads can read memory at all.
 */
import { loadDummy, median, promptIds, readFlags, report, rounded, rounds } from './lib/bench.js';

const promptTokens = 16;
const generatedTokens = 65;

const flags = readFlags();
const engine = await loadDummy(flags);
const { weightBytes } = engine.stats();

/** Tokens per second from the first token to the last. */
async function tokensPerSecond(): Promise<number> {
  let first = { time: 0, tokens: 0 };
  let tokens = 0;
  const stream = engine.completions({
    prompt: promptIds(promptTokens),
    max_tokens: generatedTokens,
    ignore_eos: true,
    temperature: 0,
    return_token_ids: true,
    stream: true,
  });
  for await (const { choices } of stream) {
    tokens += choices[0]!.token_ids!.length;
    if (first.tokens === 0) first = { time: performance.now(), tokens };
  }
  return (tokens - first.tokens) / ((performance.now() - first.time) / 1000);
}

const results = await rounds(flags, tokensPerSecond);
const rate = median(results.map((round) => round.value));
const share = median(results.map((r) => (r.value * weightBytes * 1e-9) / r.peaks.readMedianGBs));
report('decode', flags, {
  prompt_tokens: promptTokens,
  generated_tokens: generatedTokens,
  weight_bytes: weightBytes,
  tokens_per_s: rounded(rate),
  weights_gb_per_s: rounded(rate * weightBytes * 1e-9),
  probe_gb_per_s: rounded(median(results.map((round) => round.peaks.readMedianGBs))),
  probe_best_gb_per_s: rounded(median(results.map((round) => round.peaks.readGBs))),
  percent_of_probe: rounded(100 * share, 1),
});
await engine.close();
