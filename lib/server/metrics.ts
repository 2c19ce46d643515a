/** What GET /metrics shows. Every server has a registry of its own; prom-client is loaded when one is asked for. */
import type { Engine } from '../engine.js';
import type { ChatCompletionChunk, CompletionChunk } from '../types.js';

type Client = typeof import('prom-client');

/** Seconds: of a first token, of a step, of a whole answer. */
const firstTokenBuckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const interTokenBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const requestBuckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

type Stats = ReturnType<Engine['stats']>;

/** Counters that the engine keeps. */
const totals: [name: string, help: string, value: (stats: Stats) => number][] = [
  ['prompt_tokens', 'Prompt tokens computed or taken from the cache.', (s) => s.promptTokens],
  ['cached_prompt_tokens', 'Prompt tokens from the prefix cache.', (s) => s.cachedPromptTokens],
  ['generated_tokens', 'Generated tokens.', (s) => s.generatedTokens],
  ['sequences_finished', 'Sequences that came to their end.', (s) => s.requestsFinished],
  ['sequences_aborted', 'Sequences that were given up.', (s) => s.requestsAborted],
  ['preemptions', 'Sequences that gave their blocks up and were recomputed.', (s) => s.preemptions],
  ['steps', 'Steps of the engine.', (s) => s.steps],
  ['step_seconds', 'Seconds spent in steps.', (s) => s.stepSeconds],
];

const gauges: [name: string, help: string, value: (stats: Stats) => number][] = [
  ['sequences_running', 'Sequences that take part in steps.', (s) => s.running],
  ['sequences_waiting', 'Sequences that wait for their turn.', (s) => s.waiting],
  ['weight_bytes', 'Size of the weights.', (s) => s.weightBytes],
  ['kv_cache_bytes', 'Size of the KV cache.', (s) => s.kvCacheBytes],
];

export class ServerMetrics {
  readonly #registry;
  readonly #requests;
  readonly #firstToken;
  readonly #interToken;
  readonly #wholeRequest;

  private constructor(client: Client, engine: Pick<Engine, 'stats'>, active: () => number) {
    const { Counter, Gauge, Histogram, Registry } = client;
    const registry = new Registry();
    const registers = [registry];
    this.#registry = registry;
    const histogram = <L extends string>(
      name: string,
      help: string,
      buckets: number[],
      labelNames: L[],
    ) => new Histogram({ name: `hotpath_${name}`, help, buckets, labelNames, registers });
    this.#requests = new Counter({
      name: 'hotpath_http_requests_total',
      help: 'Answered HTTP requests; status 499 is a client that left.',
      labelNames: ['route', 'method', 'status'] as const,
      registers,
    });
    this.#firstToken = histogram(
      'time_to_first_token_seconds',
      'From the arrival of a streaming request to its first chunk.',
      firstTokenBuckets,
      ['route'],
    );
    this.#interToken = histogram(
      'inter_token_seconds',
      'Between two chunks of one choice of a stream; a reader that is slow makes them fewer and larger.',
      interTokenBuckets,
      ['route'],
    );
    this.#wholeRequest = histogram(
      'request_seconds',
      'From the arrival of a generating request to the end of its response.',
      requestBuckets,
      ['route'],
    );
    new Gauge({
      name: 'hotpath_requests_active',
      help: 'Generating requests in flight.',
      registers,
      collect() {
        this.set(active());
      },
    });
    for (const [name, help, value] of totals)
      new Counter({
        name: `hotpath_${name}_total`,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(value(engine.stats()));
        },
      });
    for (const [name, help, value] of gauges)
      new Gauge({
        name: `hotpath_${name}`,
        help,
        registers,
        collect() {
          this.set(value(engine.stats()));
        },
      });
    new Gauge({
      name: 'hotpath_kv_blocks',
      help: 'Blocks of the KV cache by state.',
      labelNames: ['state'] as const,
      registers,
      collect() {
        const { blocksTotal, blocksFree, blocksCached } = engine.stats();
        this.set({ state: 'free' }, blocksFree);
        this.set({ state: 'cached' }, blocksCached);
        this.set({ state: 'used' }, blocksTotal - blocksFree - blocksCached);
      },
    });
  }

  static async create(engine: Pick<Engine, 'stats'>, active: () => number): Promise<ServerMetrics> {
    return new ServerMetrics((await import('prom-client')).default, engine, active);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  answered(route: string, method: string, status: number): void {
    this.#requests.inc({ route, method, status });
  }

  finished(route: string, seconds: number): void {
    this.#wholeRequest.observe({ route }, seconds);
  }

  /** To be told of every chunk of a stream that began at `started` (performance.now()). */
  stream(route: string, started: number): (chunk: ChatCompletionChunk | CompletionChunk) => void {
    let begun = false;
    const last = new Map<number, number>();
    return ({ choices }) => {
      const now = performance.now();
      if (!begun) this.#firstToken.observe({ route }, (now - started) / 1000);
      begun = true;
      for (const { index } of choices) {
        const before = last.get(index);
        // The chunks of one delivery (role and first text, last text and end) are one moment.
        if (before !== undefined && now - before < sameMomentMs) continue;
        if (before !== undefined) this.#interToken.observe({ route }, (now - before) / 1000);
        last.set(index, now);
      }
    };
  }
}

const sameMomentMs = 0.05;
