/** Who may call, from where, in whose app; and options that are refused. */
import { fastify } from 'fastify';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EngineError } from '../../lib/index.js';
import { createServer, hotpathServer, type ServerOptions } from '../../lib/server/index.js';
import { fakeEngine } from './fake-engine.js';
import { answerWith, chatBody, chatPath, expectError, served } from './server-fixtures.js';

describe('keys', () => {
  test('needed everywhere but for health, metrics and OPTIONS', async () => {
    const { fake, send, post } = await served({ apiKey: ['one', 'two'] });
    answerWith(fake, 'a');
    const refused = await post(chatPath, chatBody());
    expectError(refused, 401, { code: 'invalid_api_key' });
    expect(refused.headers['www-authenticate']).toBe('Bearer');
    for (const authorization of ['Bearer three', 'Bearer ', 'one', 'Basic one', 'Bearer one two'])
      expect((await post(chatPath, chatBody(), { authorization })).statusCode, authorization).toBe(
        401,
      );
    for (const authorization of ['Bearer one', 'bearer two'])
      expect((await post(chatPath, chatBody(), { authorization })).statusCode).toBe(200);
    for (const url of ['/v1/models', '/server_info'])
      expect((await send('GET', url)).statusCode).toBe(401);
    for (const url of ['/health', '/metrics'])
      expect((await send('GET', url)).statusCode).toBe(200);
    expect((await send('OPTIONS', chatPath)).statusCode).toBe(204);
  });

  test('asked for before the body is looked at', async () => {
    const { post } = await served({ apiKey: 'one', bodyLimit: 10 });
    expect((await post(chatPath, 'x'.repeat(100))).statusCode).toBe(401);
  });
});

describe('CORS', () => {
  const preflight = {
    origin: 'https://a.example',
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization, x-stainless-os',
  };

  test('off by default', async () => {
    const { send } = await served();
    const { headers } = await send('OPTIONS', chatPath, { headers: preflight });
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });

  test('some origins', async () => {
    const { fake, send, post } = await served({ cors: ['https://a.example'], apiKey: 'one' });
    answerWith(fake, 'a');
    const allowed = await send('OPTIONS', chatPath, { headers: preflight });
    expect(allowed.statusCode).toBe(204);
    expect(allowed.headers).toMatchObject({
      'access-control-allow-origin': 'https://a.example',
      'access-control-allow-headers': 'authorization, x-stainless-os',
      'access-control-allow-methods': expect.stringContaining('POST'),
      vary: 'Origin',
    });
    const other = await send('OPTIONS', chatPath, {
      headers: { ...preflight, origin: 'https://b.example' },
    });
    expect(other.headers['access-control-allow-origin']).toBeUndefined();
    expect(other.headers.vary).toBe('Origin');
    // The page must be able to read the refusal, and the stream.
    const headers = { origin: 'https://a.example' };
    const refused = await post(chatPath, chatBody(), headers);
    expect(refused.statusCode).toBe(401);
    expect(refused.headers['access-control-allow-origin']).toBe('https://a.example');
    const stream = await post(chatPath, chatBody({ stream: true }), {
      ...headers,
      authorization: 'Bearer one',
    });
    expect(stream.statusCode).toBe(200);
    expect(stream.headers['access-control-allow-origin']).toBe('https://a.example');
  });

  test('every origin', async () => {
    const { send } = await served({ cors: true });
    const { headers } = await send('GET', '/v1/models', { headers: { origin: 'null' } });
    expect(headers['access-control-allow-origin']).toBe('*');
  });
});

describe("in a user's own app", () => {
  async function mounted(prefix: string | undefined) {
    const { engine, ...fake } = await fakeEngine();
    const app = fastify();
    onTestFinished(() => app.close());
    app.get('/mine', () => ({ mine: true }));
    app.post('/echo', ({ body }) => body);
    await app.register(hotpathServer, { engine, prefix, apiKey: 'key' });
    return { app, engine, ...fake };
  }

  test('below a prefix', async () => {
    const fake = await mounted('/llm');
    answerWith(fake, 'a');
    const { app } = fake;
    const headers = { authorization: 'Bearer key' };
    const answer = await app.inject({
      method: 'POST',
      url: `/llm${chatPath}`,
      payload: chatBody(),
      headers,
    });
    expect(answer.statusCode).toBe(200);
    expect((await app.inject('/llm/health')).statusCode).toBe(200);
    expect((await app.inject('/llm/v1/models')).statusCode).toBe(401);
    expectError(await app.inject({ url: '/llm/nothing', headers }), 404, { code: 'unknown_url' });
    expect((await app.inject('/v1/models')).statusCode).toBe(404);
  });

  test.each(['/llm', undefined])(
    'the rest of the app stays as it is (prefix %s)',
    async (prefix) => {
      const { app } = await mounted(prefix);
      expect((await app.inject('/mine')).json()).toEqual({ mine: true });
      expect((await app.inject('/mine')).headers['x-request-id']).toBeUndefined();
      expect((await app.inject('/nothing')).json()).toMatchObject({ error: 'Not Found' });
      const text = {
        method: 'POST',
        url: '/echo',
        headers: { 'content-type': 'text/plain' },
      } as const;
      expect((await app.inject({ ...text, payload: 'hello' })).body).toBe('hello');
    },
  );
});

test.each([
  [{ apiKeys: 'x' }, 'apiKeys', 'apiKey'],
  [{ apiKey: '' }, 'apiKey', 'empty'],
  [{ apiKey: 3 }, 'apiKey', 'a string'],
  [{ bodyLimit: 0 }, 'bodyLimit', 'at least 1'],
  [{ maxQueuedRequests: 0 }, 'maxQueuedRequests', 'at least 1'],
  [{ requestTimeout: -1 }, 'requestTimeout', 'milliseconds'],
  [{ cors: 3 }, 'cors', 'origin'],
  [{ accessLog: {} }, 'accessLog', 'info'],
  [{ modelNames: 'x' }, 'modelNames', 'array'],
  [{ strictModel: 'yes' }, 'strictModel', 'boolean'],
])('option %j is refused', async (options, param, text) => {
  const { engine } = await fakeEngine();
  const error = await createServer(engine, options as ServerOptions).then(
    () => null,
    (reason) => reason,
  );
  expect(EngineError.is(error), String(error)).toBe(true);
  expect(error).toMatchObject({ status: 400, param });
  expect(error.message).toContain(text);
});

test('what is no engine is refused', async () => {
  await expect(createServer({} as never)).rejects.toMatchObject({ param: 'engine', status: 400 });
});
