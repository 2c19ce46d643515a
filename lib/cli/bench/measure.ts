/** Requests of random tokens against an engine, a number of them at a time, and what their users would wait. */
import type { Engine } from '../../index.js';

export interface BenchPlan {
  /** Requests in flight. */
  concurrency: number;
  /** In all. */
  requests: number;
  /** Tokens of each prompt, and of each answer: the end of text is ignored. */
  inputLen: number;
  outputLen: number;
  temperature: number;
  /** Prompts are a function of it. */
  seed: number;
  vocabSize: number;
}

/** Milliseconds. */
export interface Quantiles {
  mean: number;
  p50: number;
  p90: number;
  p99: number;
}

export interface BenchResult {
  concurrency: number;
  requests: number;
  input_len: number;
  output_len: number;
  prompt_tokens: number;
  /** Of the prompts, those that came from the prefix cache. */
  cached_tokens: number;
  generated_tokens: number;
  seconds: number;
  requests_per_s: number;
  generated_tokens_per_s: number;
  total_tokens_per_s: number;
  /** From the request to its first token. */
  ttft_ms: Quantiles;
  /** Between tokens; tokens that come together share the time before them. null with one token a request. */
  itl_ms: Quantiles | null;
  /** From the request to its end. */
  e2e_ms: Quantiles;
}

interface Timing {
  ttft: number;
  gaps: number[];
  total: number;
  promptTokens: number;
  cachedTokens: number;
  tokens: number;
}

export async function measure(
  engine: Engine,
  plan: BenchPlan,
  options: { signal?: AbortSignal; onRequest?: () => void } = {},
): Promise<BenchResult> {
  const timings: Timing[] = [];
  let next = 0;
  const user = async () => {
    while (next < plan.requests) {
      const index = next++;
      timings.push(await oneRequest(engine, plan, index, options.signal));
      options.onRequest?.();
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: Math.min(plan.concurrency, plan.requests) }, user));
  const seconds = (performance.now() - started) / 1000;
  return summarize(plan, timings, seconds);
}

async function oneRequest(
  engine: Engine,
  plan: BenchPlan,
  index: number,
  signal?: AbortSignal,
): Promise<Timing> {
  const started = performance.now();
  const stream = engine.completions(
    {
      prompt: randomIds(plan.seed + index, plan.inputLen, plan.vocabSize),
      max_tokens: plan.outputLen,
      temperature: plan.temperature,
      seed: index,
      ignore_eos: true,
      return_token_ids: true,
      // Rounds of equal seeds, such as the warm-up, do not find each other's prompts.
      cache_salt: `bench-${started}`,
      stream: true,
      stream_options: { include_usage: true },
    },
    { signal },
  );
  const timing: Timing = {
    ttft: 0,
    gaps: [],
    total: 0,
    promptTokens: 0,
    cachedTokens: 0,
    tokens: 0,
  };
  let last = started;
  for await (const { choices, usage } of stream) {
    const now = performance.now();
    const count = choices[0]?.token_ids?.length ?? 0;
    if (count > 0) {
      if (timing.tokens === 0) timing.ttft = now - started;
      else for (let i = 0; i < count; i++) timing.gaps.push((now - last) / count);
      timing.tokens += count;
      last = now;
    }
    timing.promptTokens = usage?.prompt_tokens ?? timing.promptTokens;
    timing.cachedTokens = usage?.prompt_tokens_details?.cached_tokens ?? timing.cachedTokens;
  }
  timing.total = performance.now() - started;
  return timing;
}

function summarize(plan: BenchPlan, timings: Timing[], seconds: number): BenchResult {
  const sum = (pick: (timing: Timing) => number) => timings.reduce((s, t) => s + pick(t), 0);
  const generated = sum((t) => t.tokens);
  const prompt = sum((t) => t.promptTokens);
  const gaps = timings.flatMap((t) => t.gaps);
  return {
    concurrency: plan.concurrency,
    requests: timings.length,
    input_len: plan.inputLen,
    output_len: plan.outputLen,
    prompt_tokens: prompt,
    cached_tokens: sum((t) => t.cachedTokens),
    generated_tokens: generated,
    seconds: rounded(seconds, 3),
    requests_per_s: rounded(timings.length / seconds),
    generated_tokens_per_s: rounded(generated / seconds),
    total_tokens_per_s: rounded((generated + prompt) / seconds),
    ttft_ms: quantiles(timings.map((t) => t.ttft)),
    itl_ms: gaps.length === 0 ? null : quantiles(gaps),
    e2e_ms: quantiles(timings.map((t) => t.total)),
  };
}

/** Nearest rank: a value that was measured, never one between two. `values` is not empty. */
export function quantiles(values: readonly number[]): Quantiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => rounded(sorted[Math.ceil(share * sorted.length) - 1]!);
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  return { mean: rounded(mean), p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

function rounded(value: number, digits = 2): number {
  return Number(value.toFixed(digits));
}

/** The same ids for the same seed (splitmix32); every one of the vocabulary is as likely as another. */
export function randomIds(seed: number, length: number, vocabSize: number): number[] {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  return Array.from({ length }, () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) % vocabSize;
  });
}
