/** Streams over sockets: writes, clients that leave, readers that are slow, and limits. */
import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { bytesOf } from './fake-engine.js';
import {
  answerWith,
  chatBody,
  chatPath,
  completionPath,
  eventsOf,
  post,
  rawPost,
  running,
  sendUntilFull,
  sendWords,
  tick,
  until,
  watchWrites,
  wordyBody,
} from './server-fixtures.js';

describe('writes', () => {
  test('one for every delivery, whatever the number of choices and chunks in it', async () => {
    const { native, server } = await running();
    const writes = watchWrites();
    const answer = post(server.url + chatPath, chatBody({ stream: true, n: 4 }));
    await until(() => native.submitted.length === 4);
    const ids = native.submitted.map(({ id }) => id);
    for (const letter of 'abc') {
      const before = writes.length;
      for (const id of ids) native.send(id, { tokens: bytesOf(letter) });
      await until(() => writes.length > before);
      await tick();
      expect(writes.length).toBe(before + 1);
    }
    // The roles ride with the first texts: two events for each of four choices.
    expect(writes[0]!.split('\n\n')).toHaveLength(9);
    expect(writes[1]!.split('\n\n')).toHaveLength(5);
    for (const id of ids) native.send(id, { finish: 'length' });
    const events = eventsOf(await (await answer).text());
    expect(events).toHaveLength(8 + 4 + 4 + 4);
  });

  test('the first is not kept back', async () => {
    const { native, server } = await running();
    const answer = post(server.url + chatPath, chatBody({ stream: true }));
    await until(() => native.submitted.length === 1);
    const { id } = native.submitted[0]!;
    native.send(id, { tokens: bytesOf('a') });
    const { body, headers } = await answer;
    expect(headers.get('connection')).toBe('keep-alive');
    expect(headers.get('content-length')).toBeNull();
    const { value } = await body!.getReader().read();
    expect(new TextDecoder().decode(value)).toContain('"content":"a"');
    native.send(id, { finish: 'length' });
  });
});

describe('a client that leaves', () => {
  test.each([
    ['a stream, before its first token', true, 0],
    ['a stream, in its midst', true, 3],
    ['a whole answer', false, 0],
    ['a whole answer, in its midst', false, 3],
  ])('%s', async (_name, stream, tokens) => {
    const { native, server } = await running();
    const socket = await rawPost(server.port, chatPath, chatBody({ stream, n: 2 }));
    await until(() => native.submitted.length === 2);
    const ids = native.submitted.map(({ id }) => id);
    for (let i = 0; i < tokens; i++) native.send(ids[0]!, { tokens: bytesOf('a') });
    await tick();
    expect(native.aborted).toEqual([]);
    socket.destroy();
    await until(() => native.aborted.length === 2);
    expect(native.aborted.toSorted()).toEqual(ids.toSorted());
    // The server goes on.
    answerWith({ native } as Parameters<typeof answerWith>[0], 'ok');
    expect((await post(server.url + chatPath, chatBody())).status).toBe(200);
  });

  test('one that gives up its half of the connection alone', async () => {
    const { native, server } = await running();
    const socket = await rawPost(server.port, chatPath, chatBody({ stream: true }));
    await until(() => native.submitted.length === 1);
    socket.resetAndDestroy();
    await until(() => native.aborted.length === 1);
  });

  test('fetch with a signal, and leaving the loop of the official client', async () => {
    const { native, server } = await running();
    const controller = new AbortController();
    const { signal } = controller;
    const answer = post(server.url + completionPath, { prompt: 'x' }, { signal });
    await until(() => native.submitted.length === 1);
    controller.abort();
    await expect(answer).rejects.toThrow();
    await until(() => native.aborted.length === 1);

    native.onSubmit = ({ id }) => setImmediate(() => native.send(id, { tokens: bytesOf('a') }));
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none' });
    const stream = await client.chat.completions.create({
      model: 'fake',
      messages: [{ role: 'user', content: 'hi' }],
      stream: true,
    });
    for await (const _chunk of stream) break;
    await until(() => native.aborted.length === 2);
  });

  test('its log line and its metric say 499', async () => {
    const lines: string[] = [];
    const accessLog = { info: (line: string) => lines.push(line), warn: () => {} };
    const { native, server } = await running({ accessLog });
    const socket = await rawPost(server.port, chatPath, chatBody({ stream: true }));
    await until(() => native.submitted.length === 1);
    socket.destroy();
    await until(() => lines.length === 1);
    expect(lines[0]).toContain(`POST ${chatPath} 499 `);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain('status="499"} 1');
    expect(metrics).toContain('hotpath_requests_active 0\n');
  });
});

describe('a reader that stops', () => {
  const roomy = { maxModelLen: 1e6 };

  test('is merged for, and gets all of it in the end', async () => {
    const { native, server } = await running({}, roomy);
    const writes = watchWrites();
    const socket = await rawPost(server.port, chatPath, wordyBody);
    await until(() => native.submitted.length === 1);
    const { id } = native.submitted[0]!;
    let sent = await sendUntilFull(native, id, writes);
    const whenFull = writes.length;
    for (let i = 0; i < 50; i++, sent += 100) {
      sendWords(native, id);
      await tick();
    }
    expect(writes.length).toBe(whenFull);
    native.send(id, { finish: 'length' });
    let text = '';
    socket.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    await until(() => text.includes('data: [DONE]'));
    expect(text.match(/"logprob":-1,"top_logprobs"/g)).toHaveLength(sent);
    // What came while nobody read went into few events, not one for each delivery.
    expect(writes.length - whenFull).toBeLessThan(10);
  });

  test('does not slow others, and may leave meanwhile', async () => {
    const { native, server } = await running({}, roomy);
    const writes = watchWrites();
    const stopped = [];
    for (let i = 0; i < 3; i++) {
      stopped.push(await rawPost(server.port, chatPath, wordyBody));
      await until(() => native.submitted.length === i + 1);
      await sendUntilFull(native, native.submitted[i]!.id, writes);
    }
    native.onSubmit = ({ id }) =>
      setImmediate(() => {
        for (const { id: other } of native.submitted) sendWords(native, other);
        native.send(id, { tokens: bytesOf('quick') });
        native.send(id, { finish: 'length' });
      });
    for (let i = 0; i < 5; i++) {
      const started = performance.now();
      const answer = await post(server.url + chatPath, wordyBody);
      expect(eventsOf(await answer.text())).toContainEqual(
        expect.objectContaining({
          choices: [expect.objectContaining({ finish_reason: 'length' })],
        }),
      );
      expect(performance.now() - started).toBeLessThan(5000);
    }
    for (const socket of stopped) socket.destroy();
    await until(() => native.aborted.length === 3);
  });

  test('is cut off also when nothing but the end is left to say', async () => {
    const { native, server } = await running({ stallTimeout: 300 }, roomy);
    const writes = watchWrites();
    const socket = await rawPost(server.port, chatPath, { ...wordyBody, max_tokens: 1e5 });
    await until(() => native.submitted.length === 1);
    const { id } = native.submitted[0]!;
    // All in one delivery, so that no write comes after the one that fills the sockets.
    for (let i = 0; i < 150; i++) sendWords(native, id);
    native.send(id, { finish: 'length' });
    await until(() => writes.length > 0);
    await until(() => native.live.size === 0);
    const metrics = async () => (await fetch(`${server.url}/metrics`)).text();
    expect(await metrics()).toContain('hotpath_requests_active 1\n');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await metrics()).toContain('hotpath_requests_active 0\n');
    socket.resume();
    await until(() => socket.destroyed);
  });

  test('is cut off after stallTimeout', async () => {
    const { native, server } = await running({ stallTimeout: 100 }, roomy);
    const writes = watchWrites();
    const socket = await rawPost(server.port, chatPath, wordyBody);
    await until(() => native.submitted.length === 1);
    await sendUntilFull(native, native.submitted[0]!.id, writes);
    await until(() => native.aborted.length === 1);
    socket.resume();
    await until(() => socket.destroyed);
  });
});

describe('limits', () => {
  test('of the queue', async () => {
    const { native, server } = await running({ maxQueuedRequests: 2 });
    native.onSubmit = ({ id }) => {
      if (native.submitted.length <= 2) native.send(id, { tokens: bytesOf('a') });
    };
    // Two that run, two that wait.
    const stats = native.stats();
    native.stats = () => {
      const running = Math.min(native.live.size, 2);
      return { ...stats, running, waiting: native.live.size - running };
    };
    const bodies = [1, 2, 3, 4].map(() => chatBody({ stream: true }));
    const sockets = [];
    for (const [i, body] of bodies.entries()) {
      sockets.push(await rawPost(server.port, chatPath, body));
      await until(() => native.submitted.length === i + 1);
    }
    for (const stream of [true, false]) {
      const refused = await post(server.url + chatPath, chatBody({ stream }));
      expect(refused.status).toBe(503);
      expect(refused.headers.get('retry-after')).toBe('1');
      expect(await refused.json()).toMatchObject({
        object: 'error',
        message: 'The request queue is full.',
        code: 503,
        type: '503',
        error: { code: 'queue_full', type: 'service_unavailable' },
      });
    }
    expect(native.submitted).toHaveLength(4);
    // Everything else is answered, and a place that is left can be taken.
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    sockets[3]!.destroy();
    await until(() => native.live.size === 3);
    await rawPost(server.port, chatPath, chatBody());
    await until(() => native.submitted.length === 5);
  });

  test('of the queue, for those that the engine does not know yet', async () => {
    const { native, server } = await running({ maxQueuedRequests: 3 });
    const stats = native.stats();
    native.stats = () => stats;
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++)
      post(server.url + chatPath, chatBody()).then(
        ({ status }) => statuses.push(status),
        () => {},
      );
    await until(() => statuses.length === 5 && native.submitted.length === 3);
    expect(statuses).toEqual([503, 503, 503, 503, 503]);
  });

  test.each([true, false])('of time, before the first token (stream: %s)', async (stream) => {
    const { native, server } = await running({ requestTimeout: 50 });
    const answer = await post(server.url + chatPath, chatBody({ stream }));
    expect(answer.status).toBe(503);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await answer.json()).toMatchObject({ error: { code: 'request_timeout' } });
    expect(native.aborted).toHaveLength(1);
  });

  test('of time, in the midst of a stream', async () => {
    const { native, server } = await running({ requestTimeout: 100 });
    native.onSubmit = ({ id }) => setImmediate(() => native.send(id, { tokens: bytesOf('a') }));
    const answer = await post(server.url + chatPath, chatBody({ stream: true }));
    expect(answer.status).toBe(200);
    const events = eventsOf(await answer.text());
    expect(events.at(-1)).toMatchObject({ error: { code: 'request_timeout', object: 'error' } });
    expect(native.aborted).toHaveLength(1);
  });
});

test('the official client shows message, code, param and type', async () => {
  const { server, native } = await running({ strictModel: true });
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
  const ask = (more: object) =>
    client.chat.completions
      .create({ model: 'fake', messages: [{ role: 'user', content: 'hi' }], ...more })
      .then(
        () => null,
        (error) => error,
      );
  const error = await ask({ temperature: -1 });
  expect(error).toBeInstanceOf(OpenAI.BadRequestError);
  expect(error).toMatchObject({
    status: 400,
    param: 'temperature',
    code: 'invalid_value',
    type: 'invalid_request_error',
    message: expect.stringContaining('temperature'),
  });
  expect(error.requestID).toMatch(/^[0-9a-f-]{36}$/);
  expect(await ask({ model: 'none' })).toBeInstanceOf(OpenAI.NotFoundError);
  native.answer({ tokens: [65] }, { error: { code: 'engine_failed', message: 'It broke.' } });
  const stream = await client.chat.completions.create({
    model: 'fake',
    messages: [{ role: 'user', content: 'hi' }],
    stream: true,
  });
  const read = async () => {
    for await (const _chunk of stream);
  };
  await expect(read()).rejects.toMatchObject({ code: 'engine_failed', type: 'server_error' });
});
