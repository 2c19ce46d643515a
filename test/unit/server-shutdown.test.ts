/** Listening, and the end of it: nothing new, what runs may finish, the deadline is kept. */
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { EngineError } from '../../lib/index.js';
import { createServer, serve } from '../../lib/server/index.js';
import { bytesOf, fakeEngine } from './fake-engine.js';
import {
  chatBody,
  chatPath,
  eventsOf,
  post,
  rawPost,
  running,
  sendUntilFull,
  tick,
  until,
  watchWrites,
  wordyBody,
} from './server-fixtures.js';

test('a stream in flight is finished; nothing else is taken meanwhile', async () => {
  const { native, server } = await running({ shutdownTimeout: 10_000 });
  // A connection that was there before, with nothing on it.
  const kept = await rawPost(server.port, '/tokenize', { prompt: 'x' });
  let received = '';
  kept.setEncoding('utf8').on('data', (part) => {
    received += part;
  });
  await until(() => received.includes('"count":1'));
  const answer = post(server.url + chatPath, chatBody({ stream: true }));
  await until(() => native.submitted.length === 1);
  const { id } = native.submitted[0]!;
  native.send(id, { tokens: bytesOf('a') });
  const { body } = await answer;
  let closed = false;
  const closing = server.close().then(() => {
    closed = true;
  });
  expect(server.close()).toBeInstanceOf(Promise);
  await until(() => kept.destroyed);
  await expect(fetch(`${server.url}/health`)).rejects.toThrow();
  expect(closed).toBe(false);
  native.send(id, { tokens: bytesOf('b') });
  native.send(id, { finish: 'length' });
  const events = eventsOf(await new Response(body).text());
  expect(JSON.stringify(events)).toContain('"finish_reason":"length"');
  await closing;
  expect(native.aborted).toEqual([]);
});

test('at the deadline a stream gets an error and [DONE], a whole answer status 503', async () => {
  const { native, server } = await running({ shutdownTimeout: 100 });
  native.onSubmit = ({ id }) => setImmediate(() => native.send(id, { tokens: bytesOf('a') }));
  const stream = await post(server.url + chatPath, chatBody({ stream: true }));
  const whole = post(server.url + chatPath, chatBody());
  await until(() => native.submitted.length === 2);
  const started = performance.now();
  const closing = server.close();
  const events = eventsOf(await stream.text());
  expect(performance.now() - started).toBeGreaterThan(90);
  expect(events.at(-1)).toMatchObject({ error: { code: 'server_closing' } });
  const refused = await whole;
  expect(refused.status).toBe(503);
  expect(refused.headers.get('connection')).toBe('close');
  expect(await refused.json()).toMatchObject({ error: { code: 'server_closing' } });
  await closing;
  expect(performance.now() - started).toBeLessThan(3000);
  expect(native.aborted).toHaveLength(2);
});

test('a reader that takes nothing, and connections that never said anything, do not hold it up', async () => {
  const { native, server } = await running({ shutdownTimeout: 50 }, { maxModelLen: 1e6 });
  const silent = connect(server.port, '127.0.0.1');
  silent.on('error', () => {});
  onTestFinished(() => {
    silent.destroy();
  });
  const writes = watchWrites();
  await rawPost(server.port, chatPath, wordyBody);
  await until(() => native.submitted.length === 1);
  await sendUntilFull(native, native.submitted[0]!.id, writes);
  const started = performance.now();
  await server.close();
  expect(performance.now() - started).toBeLessThan(4000);
  expect(native.aborted).toHaveLength(1);
});

test('a connection is closed after what was asked on it before', async () => {
  const { native, server } = await running({ shutdownTimeout: 5000 });
  const socket = await rawPost(server.port, chatPath, chatBody());
  await until(() => native.submitted.length === 1);
  const closing = server.close();
  socket.write('GET /health HTTP/1.1\r\nHost: test\r\n\r\n');
  let received = '';
  socket.setEncoding('utf8').on('data', (part) => {
    received += part;
  });
  await tick();
  native.send(native.submitted[0]!.id, { tokens: bytesOf('a'), finish: 'length' });
  await closing;
  await until(() => socket.destroyed);
  expect(received).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(received).toMatch(/\r\nconnection: close\r\n/i);
});

test('whoever comes while it closes is refused in the usual form', async () => {
  const { engine } = await fakeEngine();
  const app = await createServer(engine);
  const answers: Response[] = [];
  let origin = '';
  await app.register(async (other) => {
    other.addHook('preClose', async () => {
      answers.push(await fetch(`${origin}/health`), await fetch(`${origin}/v1/models`));
    });
  });
  origin = await app.listen({ port: 0 });
  await app.close();
  expect(answers).toHaveLength(2);
  for (const answer of answers) {
    expect(answer.status).toBe(503);
    expect(answer.headers.get('connection')).toBe('close');
    expect(await answer.json()).toMatchObject({
      object: 'error',
      error: { code: 'server_closing' },
    });
  }
});

test("the engine is its owner's, and may be closed first", async () => {
  const { engine, native, server } = await running();
  native.onSubmit = ({ id }) => setImmediate(() => native.send(id, { tokens: bytesOf('a') }));
  const stream = await post(server.url + chatPath, chatBody({ stream: true }));
  await engine.close();
  expect(eventsOf(await stream.text()).at(-1)).toMatchObject({ error: { code: 'engine_closed' } });
  const refused = await post(server.url + chatPath, chatBody());
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({ error: { code: 'engine_closed' } });
  expect((await fetch(`${server.url}/metrics`)).status).toBe(503);
});

test('a port that is taken, and options that are wrong', async () => {
  const { engine, server } = await running();
  await expect(serve(engine, { port: server.port })).rejects.toMatchObject({
    param: 'port',
    message: expect.stringContaining('the port is in use'),
  });
  await expect(serve(engine, { port: 70_000 })).rejects.toMatchObject({ param: 'port' });
  await expect(serve(engine, { host: '203.0.113.7', port: 0 })).rejects.toSatisfy(EngineError.is);
});

test.each([
  ['no HTTP at all\r\n\r\n', 400],
  [`GET /health HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
  [`POST ${chatPath} HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n`, 400],
])('what is no HTTP is refused in the usual form (%#)', async (text, status) => {
  const { server } = await running();
  const socket = connect(server.port, '127.0.0.1');
  let received = '';
  socket.setEncoding('utf8').on('data', (part) => {
    received += part;
  });
  socket.on('error', () => {});
  socket.write(text);
  await until(() => socket.destroyed);
  expect(received).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  const body = JSON.parse(received.slice(received.indexOf('\r\n\r\n')));
  expect(body).toMatchObject({ object: 'error', code: status, error: { code: 'bad_request' } });
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
});

test('serve says where it listens', async () => {
  const { engine } = await fakeEngine();
  const server = await serve(engine, { host: '127.0.0.1', port: 0 });
  onTestFinished(() => server.close());
  expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
  expect(server.port).toBeGreaterThan(0);
});
