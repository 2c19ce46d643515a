/** Rows 7 and 8 of SGLang's tests, and what only a server has: its routes, and errors as the client shows them. */
import OpenAI, { APIError, BadRequestError, NotFoundError } from 'openai';
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, pocketConfig, user } from '../pocket.js';
import { story } from './helpers.js';
import { live } from './transports.js';

describe('one model', () => {
  const parts = live();
  const get = async (path: string) => {
    const response = await fetch(`${parts().server.url}${path}`);
    return { status: response.status, body: await response.text() };
  };

  test('row 7: models are listed and found by name; others are not', async () => {
    const { client } = parts();
    const models = await collect(client.models.list());
    const card = {
      id: 'pocket',
      root: 'pocket',
      object: 'model',
      owned_by: expect.any(String),
      created: expect.any(Number),
      max_model_len: pocketConfig.max_position_embeddings,
    };
    expect(models).toMatchObject([card]);
    expect(await client.models.retrieve('pocket')).toMatchObject(card);
    const error = await client.models.retrieve('nobody').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error).toMatchObject({
      code: 'model_not_found',
      param: 'model',
      message: "404 The model 'nobody' does not exist",
    });
  });

  test.each(['/health', '/health_generate', '/server_info', '/model_info'])(
    'row 8: %s',
    async (path) => {
      const { status, body } = await get(path);
      expect(status).toBe(200);
      expect(JSON.parse(body)).toBeTypeOf('object');
    },
  );

  test('row 8: /metrics count what was asked', async () => {
    await parts().client.completions.create({ model: 'pocket', ...story });
    const { status, body } = await get('/metrics');
    expect(status).toBe(200);
    expect(body).toMatch(/^# TYPE \w+/m);
    expect(body).toMatch(/\/v1\/completions/);
  });

  test('an error of the client has message, code, param and type', async () => {
    const body = { model: 'pocket', messages: user('x'), temperature: -1 };
    for (const stream of [false, true]) {
      const error = await parts()
        .client.chat.completions.create({ ...body, stream })
        .then(
          () => null,
          (e: unknown) => e,
        );
      expect(error).toBeInstanceOf(BadRequestError);
      expect(error).toMatchObject({
        status: 400,
        message: expect.stringMatching(/^400 temperature must be .*got -1/),
        code: 'invalid_value',
        param: 'temperature',
        type: 'invalid_request_error',
      });
      expect((error as APIError).requestID).toMatch(/\S/);
    }
  });

  test('and a body for those who read it as SGLang writes it', async () => {
    const response = await fetch(`${parts().server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'x', n: 0 }),
    });
    const body = (await response.json()) as Record<string, unknown>;
    expect(response.status).toBe(400);
    expect(body).toMatchObject({ object: 'error', type: 'BadRequestError', param: 'n', code: 400 });
    expect(body.error).toMatchObject({ message: body.message, code: 'invalid_value', param: 'n' });
  });

  test.each([
    ['{"prompt": "x",}', 'application/json', 'invalid_json'],
    ['', 'application/json', 'invalid_json'],
    ['{"prompt": "x"}', 'text/plain', 'unsupported_content_type'],
  ])('%j as %s is refused', async (body, type, code) => {
    const response = await fetch(`${parts().server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ object: 'error', code: 400, error: { code } });
  });

  test('what it cannot do is said', async () => {
    const { client } = parts();
    const embedding = client.embeddings.create({ model: 'pocket', input: 'x' });
    await expect(embedding).rejects.toMatchObject({ status: 501, code: 'unsupported_endpoint' });
    const unknown = client.get('/nothing');
    await expect(unknown).rejects.toMatchObject({ status: 404, code: 'unknown_url' });
    for (const route of ['load_lora_adapter', 'unload_lora_adapter']) {
      const error = await client
        .post(`${parts().server.url}/${route}`, { body: { lora_name: 'x', lora_path: 'x' } })
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(APIError);
      expect([404, 501]).toContain((error as APIError).status);
    }
  });

  test('the wire of a stream: events, and [DONE] at the end', async () => {
    const response = await fetch(`${parts().server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...story, max_tokens: 3, stream: true }),
    });
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const events = (await response.text()).split('\n\n');
    expect(events.pop()).toBe('');
    expect(events.pop()).toBe('data: [DONE]');
    for (const event of events) {
      expect(event.startsWith('data: ')).toBe(true);
      expect(JSON.parse(event.slice(6))).toMatchObject({ object: 'text_completion' });
    }
  });
});

describe('a key, further names and no others', () => {
  const parts = live({ server: { apiKey: 'secret', modelNames: ['gpt'], strictModel: true } });
  const keyed = () => new OpenAI({ baseURL: `${parts().server.url}/v1`, apiKey: 'secret' });

  test('without the key there is nothing but health', async () => {
    await expect(collect(parts().client.models.list())).rejects.toMatchObject({
      status: 401,
      code: 'invalid_api_key',
    });
    expect((await fetch(`${parts().server.url}/health`)).status).toBe(200);
  });

  test('with it every name that the model has is answered, and others are not', async () => {
    const client = keyed();
    const models = await collect(client.models.list());
    expect(models.map((model) => model.id)).toEqual(['pocket', 'gpt']);
    const answer = await client.completions.create({ model: 'gpt', ...story, max_tokens: 1 });
    expect(answer.model).toBe('gpt');
    await expect(client.completions.create({ model: 'other', ...story })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
    });
  });
});
