/** A server over the fake engine, and a client that does with sockets what well-behaved ones do not. */
import { ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { InjectOptions } from 'fastify';
import { expect, onTestFinished, vi } from 'vitest';
import {
  createServer,
  type ListenOptions,
  type ServerOptions,
  serve,
} from '../../lib/server/index.js';
import { bytesOf, type Fake, fakeEngine } from './fake-engine.js';

export const chatPath = '/v1/chat/completions';
export const completionPath = '/v1/completions';

export const chatBody = (more: object = {}) => ({
  messages: [{ role: 'user', content: 'hi' }],
  ...more,
});

/** Every request is answered with this text, in one delivery and its end in another. */
export function answerWith({ native }: Fake, text: string): void {
  native.answer({ tokens: bytesOf(text) }, { tokens: [258], finish: 'stop' });
}

export async function running(
  options: ListenOptions = {},
  facts?: Parameters<typeof fakeEngine>[0],
) {
  const fake = await fakeEngine(facts);
  const server = await serve(fake.engine, { port: 0, shutdownTimeout: 100, ...options });
  onTestFinished(async () => {
    await server.close();
    await fake.engine.close();
  });
  return { ...fake, fake, server };
}

/** The same without listening. */
export async function served(options: ServerOptions = {}) {
  const fake = await fakeEngine();
  const app = await createServer(fake.engine, options);
  onTestFinished(async () => {
    await app.close();
    await fake.engine.close();
  });
  const send = (method: InjectOptions['method'], url: string, rest: InjectOptions = {}) =>
    app.inject({ method, url, ...rest });
  const post = (url: string, payload: InjectOptions['payload'], headers = {}) =>
    send('POST', url, { payload, headers: { 'content-type': 'application/json', ...headers } });
  return { ...fake, fake, app, send, post };
}

/** The body of an error has SGLang's flat keys and OpenAI's nested ones, and nothing else. */
export function expectError(
  response: { statusCode: number; json(): Record<string, unknown> },
  status: number,
  error: { code: string; param?: string | null; message?: unknown; type?: string },
) {
  const nested = {
    type: 'invalid_request_error',
    param: null,
    message: expect.any(String),
    ...error,
  };
  expect(response.json()).toEqual({
    object: 'error',
    message: nested.message,
    type: expect.any(String),
    param: nested.param,
    code: status,
    error: nested,
  });
  expect(response.statusCode).toBe(status);
}

export function post(url: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...init,
    headers: { 'content-type': 'application/json', ...init.headers },
  });
}

/** What the data lines of an event stream say; the last must be [DONE]. */
export function eventsOf(text: string): Record<string, unknown>[] {
  const events = text.split('\n\n');
  if (events.pop() !== '' || events.pop() !== 'data: [DONE]')
    throw new Error(`no [DONE] at the end: ${text}`);
  return events.map((event) => JSON.parse(event.replace(/^data: /, '')));
}

/** What the server writes, a string for each write. */
export function watchWrites(): string[] {
  const writes: string[] = [];
  const write = ServerResponse.prototype.write;
  const spy = vi.spyOn(ServerResponse.prototype, 'write').mockImplementation(function (
    this: ServerResponse,
    ...args: unknown[]
  ) {
    writes.push(String(args[0]));
    return Reflect.apply(write, this, args);
  });
  onTestFinished(() => spy.mockRestore());
  return writes;
}

export const tick = () => new Promise((resolve) => setImmediate(resolve));

/** For a stream of much text and few tokens: each comes with logprobs. */
export const wordyBody = chatBody({
  stream: true,
  max_tokens: 9e5,
  logprobs: true,
  top_logprobs: 20,
});
const likeliest = Array.from({ length: 20 }, (_, i): [number, number] => [97 + i, -i]);

/** Delivers 100 tokens of a stream of `wordyBody`, some 150 kB. */
export function sendWords(native: Fake['native'], id: number): void {
  const tokens = Array.from({ length: 100 }, () => 97);
  native.send(id, { tokens, logprobs: tokens.map(() => -1), top: tokens.map(() => likeliest) });
}

/** Goes on until the buffers of both sockets are full and the server has stopped writing; returns the tokens. */
export async function sendUntilFull(native: Fake['native'], id: number, writes: string[]) {
  let quiet = 0;
  for (let sent = 100; sent < 30_000; sent += 100) {
    const before = writes.length;
    sendWords(native, id);
    await tick();
    await tick();
    quiet = writes.length > before ? 0 : quiet + 1;
    if (quiet === 10) return sent;
  }
  throw new Error('the sockets took everything');
}

/** Resolves when `condition` holds; fails after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A connection that has sent a POST, and reads only when told to. */
export async function rawPost(port: number, path: string, body: object): Promise<Socket> {
  const text = JSON.stringify(body);
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => {
    socket.destroy();
  });
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
  return socket;
}
