/** The outside client of serve_load.ts: many requests at a time, a part of them ill-behaved, all answers checked. */
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';

export interface ClientTask {
  url: string;
  /** New requests are begun for so long. */
  seconds: number;
  /** Requests at a time. */
  streams: number;
  seed: number;
}

export interface ClientReport {
  requests: number;
  /** How many of each kind went as they should. */
  outcomes: Record<string, number>;
  /** At most ten of what should not have happened. */
  unexpected: string[];
  events: number;
  /** Of the answers that were read to their end. */
  tokens: number;
  firstTokenMs: { p50: number; p99: number } | null;
}

/** Numbers in [0, 1), the same for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

const questions = [
  "How many r's are in 'strawberry'?",
  'List 3 countries and their capitals.',
  'What is 467 + 385?',
  'Extract the person as JSON: Ada lives in Paris and is 31.',
];

/** Each must be refused with its status. */
const malformed: [status: number, body: string, contentType?: string][] = [
  [400, ''],
  [400, '{"messages": [{"role": "user", "content": "hi"}'],
  [400, '\u0000\u0001\ufffd'],
  [400, '[]'],
  [400, '{}'],
  [400, '{"messages": []}'],
  [400, '{"messages": [{"role": "nobody", "content": "hi"}]}'],
  [400, '{"messages": [{"role": "user", "content": "hi"}], "temperature": -1}'],
  [400, '{"messages": [{"role": "user", "content": "hi"}], "max_tokens": "many", "stream": true}'],
  [400, '{"messages": [{"role": "user", "content": "hi"}], "n": 100000}'],
  [400, '{"messages": [{"role": "user", "content": "hi"}]}', 'text/plain'],
  [400, `{"messages": [{"role": "user", "content": "${'long '.repeat(20_000)}"}]}`],
  [413, `{"messages": [{"role": "user", "content": "${'x'.repeat(17 * 2 ** 20)}"}]}`],
];

/** What a request turned out to be, or throws what is wrong with its answer. */
type Kind = (client: Client) => Promise<void>;

class Client {
  readonly random: () => number;
  readonly firstTokens: number[] = [];
  events = 0;
  tokens = 0;
  readonly #agent: Agent;
  readonly #url: string;

  constructor({ url, seed, streams }: ClientTask) {
    this.#url = url;
    this.random = randomNumbers(seed);
    this.#agent = new Agent({ keepAlive: true, maxSockets: 2 * streams });
  }

  integer(below: number): number {
    return Math.floor(this.random() * below);
  }

  body(stream: boolean) {
    return JSON.stringify({
      model: 'pocket',
      messages: [{ role: 'user', content: questions[this.integer(questions.length)] }],
      max_tokens: 8 + this.integer(56),
      temperature: 1,
      seed: this.integer(2 ** 31),
      stream,
      ...(stream && { stream_options: { include_usage: true } }),
    });
  }

  post(body: string, contentType = 'application/json'): ClientRequest {
    const outgoing = request(`${this.#url}/v1/chat/completions`, {
      method: 'POST',
      agent: this.#agent,
      headers: { 'content-type': contentType, 'content-length': Buffer.byteLength(body) },
    });
    outgoing.end(body);
    return outgoing;
  }

  close(): void {
    this.#agent.destroy();
  }
}

function answerOf(outgoing: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.once('error', reject);
  });
}

async function textOf(answer: IncomingMessage, onData?: () => void): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of answer) {
    parts.push(part as Buffer);
    onData?.();
  }
  return Buffer.concat(parts).toString();
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface Chunk {
  choices: { delta: { content?: string }; finish_reason: string | null }[];
  usage?: { completion_tokens: number };
  error?: unknown;
}

/** A whole stream has [DONE] at its end, one finish_reason, and one count of tokens. */
function checkStream(client: Client, text: string): void {
  const events = text.split('\n\n');
  if (events.pop() !== '' || events.pop() !== 'data: [DONE]')
    throw new Error(`a stream without [DONE]: ${text.slice(-200)}`);
  const chunks = events.map((event) => JSON.parse(event.replace(/^data: /, '')) as Chunk);
  const error = chunks.find((chunk) => chunk.error);
  if (error) throw new Error(`an error in a stream: ${JSON.stringify(error)}`);
  const finishes = chunks.filter(({ choices }) => choices[0]?.finish_reason != null);
  const counts = chunks.filter(({ usage }) => usage);
  if (finishes.length !== 1 || counts.length !== 1)
    throw new Error(`${finishes.length} finish reasons and ${counts.length} usages in a stream`);
  client.events += chunks.length;
  client.tokens += counts[0]!.usage!.completion_tokens;
}

function checkStatus(answer: IncomingMessage, status: number, text: string): void {
  if (answer.statusCode !== status)
    throw new Error(
      `expected status ${status}, received ${answer.statusCode}: ${text.slice(0, 200)}`,
    );
}

const kinds: Record<string, Kind> = {
  async stream(client) {
    const started = performance.now();
    const answer = await answerOf(client.post(client.body(true)));
    let first = 0;
    const text = await textOf(answer, () => {
      first ||= performance.now();
    });
    checkStatus(answer, 200, text);
    client.firstTokens.push(first - started);
    checkStream(client, text);
  },
  async slow(client) {
    const answer = await answerOf(client.post(client.body(true)));
    answer.pause();
    await pause(500 + client.integer(2000));
    const text = await textOf(answer);
    checkStatus(answer, 200, text);
    checkStream(client, text);
  },
  async whole(client) {
    const answer = await answerOf(client.post(client.body(false)));
    const text = await textOf(answer);
    checkStatus(answer, 200, text);
    const { usage, choices } = JSON.parse(text) as {
      usage: { completion_tokens: number };
      choices: { finish_reason: string }[];
    };
    if (!['stop', 'length'].includes(choices[0]!.finish_reason)) throw new Error(text);
    client.tokens += usage.completion_tokens;
  },
  /** Before or in the midst of the answer, whichever it happens to be. */
  async abort(client) {
    const outgoing = client.post(client.body(client.random() < 0.8));
    outgoing.on('error', () => {});
    outgoing.on('response', (answer) => answer.on('error', () => {}).resume());
    await pause(client.random() ** 2 * 3000);
    outgoing.destroy();
  },
  async abortInStream(client) {
    const answer = await answerOf(client.post(client.body(true)));
    let events = 1 + client.integer(20);
    for await (const _part of answer) if (--events === 0) break;
    answer.destroy();
  },
  async malformed(client) {
    const [status, body, contentType] = malformed[client.integer(malformed.length)]!;
    const outgoing = client.post(body, contentType);
    const answer = await answerOf(outgoing).catch((error: NodeJS.ErrnoException) => {
      // The server need not read a body that is too large to its end.
      if (status === 413 && (error.code === 'EPIPE' || error.code === 'ECONNRESET')) return null;
      throw error;
    });
    if (answer === null) return;
    outgoing.on('error', () => {});
    const text = await textOf(answer);
    checkStatus(answer, status, text);
    const { error } = JSON.parse(text) as { error?: { message?: string } };
    if (!error?.message) throw new Error(`an error without a message: ${text}`);
  },
};

/** How often each occurs, in a hundred. */
const shares: [name: string, percent: number][] = [
  ['stream', 60],
  ['slow', 5],
  ['whole', 5],
  ['abort', 12],
  ['abortInStream', 10],
  ['malformed', 8],
];

function pick(random: number): string {
  let left = random * 100;
  for (const [name, percent] of shares) {
    left -= percent;
    if (left < 0) return name;
  }
  return shares[0]![0];
}

export async function runClient(task: ClientTask): Promise<ClientReport> {
  const client = new Client(task);
  const outcomes: Record<string, number> = {};
  const unexpected: string[] = [];
  let requests = 0;
  const deadline = performance.now() + task.seconds * 1000;
  const worker = async () => {
    while (performance.now() < deadline) {
      const name = pick(client.random());
      requests++;
      try {
        await kinds[name]!(client);
        outcomes[name] = (outcomes[name] ?? 0) + 1;
      } catch (error) {
        const { message, code } = error as NodeJS.ErrnoException;
        if (unexpected.length < 10) unexpected.push(`${name}: ${code ?? ''} ${message}`);
        outcomes.unexpected = (outcomes.unexpected ?? 0) + 1;
        // A server that is gone must not make this a busy loop.
        await pause(100);
      }
    }
  };
  await Promise.all(Array.from({ length: task.streams }, worker));
  client.close();
  return { requests, outcomes, unexpected, ...figures(client) };
}

function figures({ events, tokens, firstTokens }: Client) {
  const sorted = firstTokens.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))]!);
  const firstTokenMs = sorted.length === 0 ? null : { p50: at(0.5), p99: at(0.99) };
  return { events, tokens, firstTokenMs };
}
