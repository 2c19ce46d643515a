/** Names that requests have: of paths that there are not, and of models. */
import { expect, test, vi } from 'vitest';
import {
  answerWith,
  chatBody,
  chatPath,
  completionPath,
  expectError,
  served,
} from './server-fixtures.js';

test('an unknown path is logged, counted and open to other origins as the others are', async () => {
  const info = vi.fn();
  const { send } = await served({ cors: true, accessLog: { info, warn: info } });
  const { headers } = await send('GET', '/v1/nothing?key=secret', {
    headers: { origin: 'http://a' },
  });
  expect(headers['access-control-allow-origin']).toBe('*');
  expect(info).toHaveBeenCalledExactlyOnceWith(
    expect.stringMatching(/^GET \/v1\/nothing 404 [\d.]+ ms /),
  );
  expect(info.mock.calls[0]![0]).toContain(headers['x-request-id']);
  expect((await send('GET', '/metrics')).body).toContain(
    'hotpath_http_requests_total{route="other",method="GET",status="404"} 1',
  );
});

test('an unknown path needs the key as well', async () => {
  const { send } = await served({ apiKey: 'key' });
  expectError(await send('GET', '/v1/nothing'), 401, { code: 'invalid_api_key' });
});

test('a model may be named', async () => {
  const { post } = await served();
  const model = 'fake';
  expect((await post('/tokenize', { prompt: 'a', model })).statusCode).toBe(200);
  expect((await post('/tokenize', chatBody({ model }))).statusCode).toBe(200);
  expect((await post('/detokenize', { tokens: [97], model })).json().text).toBe('a');
  expectError(await post('/tokenize', { prompt: 'a', model: 3 }), 400, {
    code: 'invalid_type',
    param: 'model',
  });
});

test('a further name may have a colon, as names of Ollama have', async () => {
  const { fake, post } = await served({ strictModel: true, modelNames: ['qwen:7b'] });
  answerWith(fake, 'a');
  for (const [path, body] of [
    [chatPath, chatBody({ model: 'qwen:7b' })],
    [completionPath, { prompt: 'a', model: 'qwen:7b' }],
  ] as const) {
    const answer = await post(path, body);
    expect(answer.statusCode).toBe(200);
    expect(answer.json().model).toBe('qwen:7b');
  }
  expectError(await post(chatPath, chatBody({ model: 'qwen:7b:mine' })), 400, {
    code: 'unsupported_value',
    param: 'model',
    message: expect.stringContaining("'mine'"),
  });
  expectError(await post(chatPath, chatBody({ model: 'qwen:8b' })), 404, {
    code: 'model_not_found',
    param: 'model',
  });
});
