/** Every route and every refusal, without a socket. */
import { describe, expect, test } from 'vitest';
import {
  answerWith,
  chatBody,
  chatPath,
  completionPath,
  eventsOf,
  expectError,
  served,
  until,
} from './server-fixtures.js';

describe('generation', () => {
  test('a chat completion', async () => {
    const { fake, post } = await served();
    answerWith(fake, 'Hello');
    const response = await post(chatPath, chatBody({ model: 'any' }));
    expect(response.statusCode).toBe(200);
    expect(response.headers['content-type']).toContain('application/json');
    expect(response.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
    expect(response.json()).toMatchObject({
      object: 'chat.completion',
      model: 'any',
      choices: [{ message: { content: 'Hello' }, finish_reason: 'stop' }],
    });
  });

  test('a text completion', async () => {
    const { fake, post } = await served();
    answerWith(fake, 'there');
    const response = await post(completionPath, { prompt: 'Hello' });
    expect(response.json()).toMatchObject({
      object: 'text_completion',
      choices: [{ text: 'there' }],
    });
  });

  test.each([
    [chatPath, chatBody()],
    [completionPath, { prompt: 'x' }],
  ])('a stream of %s has the headers of one, and ends with [DONE]', async (url, body) => {
    const { fake, post } = await served();
    answerWith(fake, 'Hello');
    const options = { stream: true, stream_options: { include_usage: true } };
    const response = await post(url, { ...body, ...options });
    expect(response.statusCode).toBe(200);
    expect(response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
      'x-request-id': expect.any(String),
    });
    const events = eventsOf(response.body);
    expect(events.length).toBeGreaterThanOrEqual(3);
    expect(events.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 6 } });
    expect(new Set(events.map(({ id }) => id)).size).toBe(1);
  });

  test.each([true, false])('what the engine refuses is status 400 (stream: %s)', async (stream) => {
    const { post, native } = await served();
    const response = await post(chatPath, chatBody({ stream, temperature: -1 }));
    expectError(response, 400, {
      code: 'invalid_value',
      param: 'temperature',
      message: expect.stringContaining('-1'),
    });
    expect(native.submitted).toHaveLength(0);
  });

  test.each([true, false])(
    'an error before the first token has its status (stream: %s)',
    async (stream) => {
      const { native, post } = await served();
      native.answer({ error: { code: 'out_of_memory', message: 'No blocks left.' } });
      const response = await post(chatPath, chatBody({ stream }));
      expectError(response, 503, {
        code: 'out_of_memory',
        type: 'service_unavailable',
        message: 'No blocks left.',
      });
    },
  );

  test('an error after the first token is the last event but [DONE]', async () => {
    const { native, post } = await served();
    native.answer({ tokens: [65] }, { error: { code: 'engine_failed', message: 'It broke.' } });
    const response = await post(chatPath, chatBody({ stream: true }));
    expect(response.statusCode).toBe(200);
    const events = eventsOf(response.body);
    expect(events.at(-1)).toEqual({
      error: {
        object: 'error',
        message: 'It broke.',
        type: 'server_error',
        param: null,
        code: 'engine_failed',
      },
    });
    expect(events.at(-2)).toMatchObject({ choices: [{ delta: { content: 'A' } }] });
  });

  test('what nobody foresaw is status 500, says nothing of itself, and is in the log', async () => {
    const lines: string[] = [];
    const accessLog = { info: () => {}, warn: (line: string) => lines.push(line) };
    const { engine, post } = await served({ accessLog });
    engine.tokenize = async () => {
      throw new Error('secret of /home/somebody');
    };
    const response = await post('/tokenize', { prompt: 'x' });
    expectError(response, 500, { code: 'internal_error', type: 'server_error' });
    expect(response.body).not.toContain('secret');
    expect(lines.join()).toContain('secret of /home/somebody');
  });
});

describe('bodies', () => {
  test('broken JSON, with its place', async () => {
    const { post } = await served();
    expectError(await post(chatPath, '{"messages": [}'), 400, {
      code: 'invalid_json',
      message: expect.stringContaining('position 14 (line 1, column 15)'),
    });
  });

  test.each([
    ['', 'invalid_json'],
    ['{"__proto__": {"x": 1}}', 'invalid_json'],
    ['[]', 'invalid_type'],
    ['null', 'invalid_type'],
    ['3', 'invalid_type'],
    ['"text"', 'invalid_type'],
    ['{}', 'missing_required_parameter'],
    [`{"messages": ${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 'invalid_type'],
  ])('case %#: no object that the engine would take', async (body, code) => {
    const { post } = await served();
    for (const url of [chatPath, completionPath, '/tokenize', '/detokenize']) {
      const response = await post(url, body);
      expect(response.statusCode, `${url}: ${response.body}`).toBe(400);
      if (url === chatPath) expect(response.json().error.code).toBe(code);
    }
  });

  test('no body at all', async () => {
    const { send } = await served();
    for (const url of [chatPath, completionPath, '/tokenize', '/abort_request'])
      expect((await send('POST', url)).statusCode, url).toBe(400);
  });

  test('another content type', async () => {
    const { post } = await served();
    expectError(await post(chatPath, 'a=b', { 'content-type': 'text/plain' }), 400, {
      code: 'unsupported_content_type',
      message: expect.stringContaining('application/json'),
    });
  });

  test('too large', async () => {
    const { post, native } = await served({ bodyLimit: 1000 });
    const body = chatBody({ user: 'x'.repeat(2000) });
    expectError(await post(chatPath, body), 413, { code: 'request_too_large' });
    expect(native.submitted).toHaveLength(0);
  });
});

describe('paths and methods', () => {
  test('an unknown path, without its query', async () => {
    const { send } = await served();
    expectError(await send('GET', '/v1/nothing?key=secret'), 404, {
      code: 'unknown_url',
      message: 'Unknown request URL: GET /v1/nothing.',
    });
  });

  test('a path that cannot be decoded', async () => {
    const { send } = await served();
    expectError(await send('GET', '/v1/models/%E0%A4%A'), 400, { code: 'bad_request' });
  });

  test.each([
    ['GET', chatPath, 'POST, OPTIONS'],
    ['DELETE', '/v1/completions', 'POST, OPTIONS'],
    ['POST', '/v1/models', 'GET, HEAD, OPTIONS'],
    ['PUT', '/health', 'GET, HEAD, OPTIONS'],
  ] as const)('%s %s is status 405', async (method, url, allow) => {
    const { send } = await served();
    const response = await send(method, url);
    expectError(response, 405, { code: 'method_not_supported' });
    expect(response.headers.allow).toBe(allow);
    const options = await send('OPTIONS', url);
    expect(options.statusCode).toBe(204);
    expect(options.headers.allow).toBe(allow);
  });

  test('HEAD', async () => {
    const { send } = await served();
    const response = await send('HEAD', '/v1/models');
    expect(response.statusCode).toBe(200);
    expect(response.body).toBe('');
  });

  test.each(['/v1/embeddings', '/v1/responses', '/v1/score', '/generate', '/v1/moderations'])(
    '%s is refused, and no client tries again',
    async (url) => {
      const { post } = await served();
      const response = await post(url, { model: 'fake', input: 'x' });
      expectError(response, 501, {
        code: 'unsupported_endpoint',
        message: expect.stringContaining(`${url} is not supported`),
      });
      expect(response.headers['x-should-retry']).toBe('false');
    },
  );
});

describe('models', () => {
  test('list and one', async () => {
    const { send } = await served({ modelNames: ['org/alias'] });
    const card = { object: 'model', owned_by: 'hotpath', root: 'fake', max_model_len: 200 };
    expect((await send('GET', '/v1/models')).json()).toMatchObject({
      object: 'list',
      data: [
        { id: 'fake', ...card },
        { id: 'org/alias', ...card },
      ],
    });
    for (const path of ['fake', 'org/alias', 'org%2Falias'])
      expect((await send('GET', `/v1/models/${path}`)).json()).toMatchObject(card);
  });

  test('one that is not there', async () => {
    const { send } = await served();
    expectError(await send('GET', '/v1/models/x'), 404, {
      code: 'model_not_found',
      param: 'model',
      message: "The model 'x' does not exist",
    });
  });

  test('names of requests count with strictModel only', async () => {
    const { fake, post } = await served({ strictModel: true, modelNames: ['other'] });
    answerWith(fake, 'a');
    for (const model of ['fake', 'other'])
      expect((await post(chatPath, chatBody({ model }))).statusCode).toBe(200);
    expectError(await post(chatPath, chatBody({ model: 'gpt-4o' })), 404, {
      code: 'model_not_found',
      param: 'model',
    });
    expect((await post(chatPath, chatBody())).statusCode).toBe(200);
    const lax = await served();
    answerWith(lax.fake, 'a');
    expect((await lax.post(chatPath, chatBody({ model: 'gpt-4o' }))).statusCode).toBe(200);
  });
});

describe('tokens', () => {
  test.each(['', '/v1'])('%s/tokenize and back', async (prefix) => {
    const { post } = await served();
    const { tokens, count, max_model_len } = (
      await post(`${prefix}/tokenize`, { prompt: 'Hé' })
    ).json();
    expect({ tokens, count, max_model_len }).toEqual({
      tokens: [72, 195, 169],
      count: 3,
      max_model_len: 200,
    });
    expect((await post(`${prefix}/detokenize`, { tokens })).json()).toEqual({ text: 'Hé' });
    expectError(await post(`${prefix}/detokenize`, { tokens: 'a' }), 400, {
      code: 'invalid_type',
      param: 'tokens',
    });
  });
});

describe('health and facts', () => {
  test('a live engine', async () => {
    const { send, native } = await served();
    native.answer({ tokens: [65], finish: 'length' });
    for (const url of ['/health', '/health_generate']) {
      const response = await send('GET', url);
      expect(response.statusCode, response.body).toBe(200);
    }
    expect(native.submitted).toHaveLength(1);
    expect(native.submitted[0]!.params).toMatchObject({ maxTokens: 1 });
  });

  test('an engine that generates nothing', async () => {
    const { send, native } = await served({ healthTimeout: 50 });
    expectError(await send('GET', '/health_generate'), 503, {
      code: 'engine_failed',
      type: 'service_unavailable',
      message: 'The engine generated no token in 50 ms.',
    });
    expect(native.aborted).toEqual([native.submitted[0]!.id]);
  });

  test('an engine that works on something else is alive', async () => {
    const { send, native } = await served({ healthTimeout: 5000 });
    const stats = native.stats();
    let generatedTokens = 0;
    native.stats = () => ({ ...stats, generatedTokens: generatedTokens++ });
    expect((await send('GET', '/health_generate')).statusCode).toBe(200);
    expect(native.aborted).toHaveLength(1);
  });

  test('an engine that failed, and one that was closed', async () => {
    const { send, native, engine } = await served();
    const stats = native.stats();
    native.stats = () => ({ ...stats, failure: 'CUDA error at /somewhere/file.cu' });
    for (const url of ['/health', '/health_generate']) {
      const response = await send('GET', url);
      expect(response.statusCode).toBe(503);
      expect(response.body).not.toContain('/somewhere');
    }
    await engine.close();
    expectError(await send('GET', '/health'), 503, {
      code: 'engine_closed',
      type: 'service_unavailable',
    });
  });

  test('facts of server and model', async () => {
    const { send } = await served();
    for (const url of ['/server_info', '/get_server_info'])
      expect((await send('GET', url)).json()).toMatchObject({
        served_model_name: 'fake',
        max_model_len: 200,
        version: expect.stringMatching(/^\d+\.\d+\.\d+/),
        internal_states: [{ blocksTotal: 8 }],
      });
    expect((await send('GET', '/get_model_info')).json()).toMatchObject({
      model_path: 'fake',
      is_generation: true,
    });
  });

  test('metrics', async () => {
    const { fake, native, send, post } = await served();
    const stats = native.stats();
    native.stats = () => ({ ...stats, blocksFree: 5, blocksCached: 2, generatedTokens: 42 });
    answerWith(fake, 'abc');
    await post(chatPath, chatBody({ stream: true }));
    await post(chatPath, chatBody({ temperature: -1 }));
    const response = await send('GET', '/metrics');
    expect(response.headers['content-type']).toContain('text/plain; version=0.0.4');
    const has = (line: string) => expect(response.body.split('\n')).toContain(line);
    has(`hotpath_http_requests_total{route="${chatPath}",method="POST",status="200"} 1`);
    has(`hotpath_http_requests_total{route="${chatPath}",method="POST",status="400"} 1`);
    has(`hotpath_time_to_first_token_seconds_count{route="${chatPath}"} 1`);
    has('hotpath_generated_tokens_total 42');
    has('hotpath_kv_blocks{state="used"} 1');
    has('hotpath_kv_blocks{state="cached"} 2');
    has('hotpath_requests_active 0');
    // Two servers in one process do not share a registry, and counters of the engine are not added up.
    expect((await send('GET', '/metrics')).body).toContain('hotpath_generated_tokens_total 42\n');
    const off = await served({ metrics: false });
    expect((await off.send('GET', '/metrics')).statusCode).toBe(404);
  });
});

test('abort_request ends requests with the finish_reason abort', async () => {
  const { native, post } = await served();
  const started = ['one', 'two', 'three'].map((rid) => post(chatPath, chatBody({ rid })));
  await until(() => native.submitted.length === 3);
  expect((await post('/abort_request', { rid: 'other' })).json()).toEqual({ aborted: 0 });
  expect((await post('/abort_request', { rid: 'one' })).json()).toEqual({ aborted: 1 });
  const [first, ...others] = started;
  expect((await first!).json()).toMatchObject({ id: 'one', choices: [{ finish_reason: 'abort' }] });
  expect((await post('/abort_request', { abort_all: true })).json()).toEqual({ aborted: 2 });
  for (const other of others)
    expect((await other).json()).toMatchObject({ choices: [{ finish_reason: 'abort' }] });
  for (const body of [{}, { rid: 3 }, { rid: '' }, [], { abort_all: false }])
    expectError(await post('/abort_request', body), 400, { code: 'invalid_value', param: 'rid' });
  expectError(await post('/abort_request', { abort_all: 'yes' }), 400, {
    code: 'invalid_value',
    param: 'abort_all',
  });
});

test('the access log has a line for every request, without its query', async () => {
  const lines: string[] = [];
  const { fake, post, send } = await served({
    accessLog: { info: (line) => lines.push(line), warn: () => {} },
  });
  answerWith(fake, 'a');
  await post(chatPath, chatBody({ stream: true }));
  await send('GET', '/v1/models?secret=1');
  await post(completionPath, '{');
  expect(lines).toEqual([
    expect.stringMatching(/^POST \/v1\/chat\/completions 200 \d+\.\d ms [0-9a-f-]{36}$/),
    expect.stringMatching(/^GET \/v1\/models 200 /),
    expect.stringMatching(/^POST \/v1\/completions 400 /),
  ]);
});
