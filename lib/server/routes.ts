/** The table of routes, and the handlers that are a few lines each. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isObject } from '../request/validate.js';
import type { DetokenizeRequest, TokenizeRequest } from '../types.js';
import { HttpError, unknownModel, unsupportedEndpoint } from './errors.js';
import { askChat, askCompletion, generationHandler } from './generate.js';
import { healthGenerate, healthy } from './health.js';
import { packageVersion, type ServerState } from './state.js';

export interface Route {
  methods: ('GET' | 'POST')[];
  url: string;
  /** Needs no key. */
  isOpen?: boolean;
  handler: (request: FastifyRequest, reply: FastifyReply) => unknown;
}

const unsupported: [advice: string, ...urls: string[]][] = [
  ['the model generates text and gives no embeddings.', '/v1/embeddings', '/encode'],
  ['use /v1/chat/completions.', '/v1/responses', '/v1/messages', '/v1/messages/count_tokens'],
  ['use /v1/completions.', '/generate'],
  ['the model does not score.', '/v1/score', '/v1/rerank', '/v1/classify', '/classify'],
  ['the model judges no content.', '/v1/moderations'],
  [
    'the model reads and writes text only.',
    '/v1/audio/speech',
    '/v1/audio/transcriptions',
    '/v1/audio/translations',
    '/v1/images/generations',
    '/v1/images/edits',
  ],
  ['send the requests one by one.', '/v1/batches', '/v1/files'],
];

export function routesOf(state: ServerState): Route[] {
  const { engine } = state;
  const tokenize: Route['handler'] = ({ body }) => engine.tokenize(body as TokenizeRequest);
  const detokenize: Route['handler'] = ({ body }) => engine.detokenize(body as DetokenizeRequest);
  const generation = (url: string, ask: typeof askChat): Route => ({
    methods: ['POST'],
    url,
    handler: generationHandler(state, url, ask),
  });
  const get = (url: string, handler: Route['handler'], isOpen = false): Route => ({
    methods: ['GET'],
    url,
    isOpen,
    handler,
  });
  const post = (url: string, handler: Route['handler']): Route => ({
    methods: ['POST'],
    url,
    handler,
  });
  return [
    generation('/v1/chat/completions', askChat),
    generation('/v1/completions', askCompletion),
    get('/v1/models', () => ({
      object: 'list',
      data: state.modelNames.map((name) => modelCard(state, name)),
    })),
    // Names of the hub have a slash in them.
    get('/v1/models/*', ({ params }) => {
      const name = (params as { '*': string })['*'];
      if (!state.modelNames.includes(name)) throw unknownModel(name);
      return modelCard(state, name);
    }),
    get('/health', () => healthy(state), true),
    get('/health_generate', () => healthGenerate(state), true),
    ...(state.metrics === null ? [] : [get('/metrics', metricsHandler(state), true)]),
    post('/tokenize', tokenize),
    post('/v1/tokenize', tokenize),
    post('/detokenize', detokenize),
    post('/v1/detokenize', detokenize),
    post('/abort_request', ({ body }) => abort(state, body)),
    ...['/server_info', '/get_server_info'].map((url) => get(url, () => serverInfo(state))),
    ...['/model_info', '/get_model_info'].map((url) => get(url, () => modelInfo(state))),
    ...unsupported.flatMap(([advice, ...urls]) => urls.map((url) => refusal(url, advice))),
  ];
}

function refusal(url: string, advice: string): Route {
  const handler: Route['handler'] = (request) => {
    throw unsupportedEndpoint(request.url, advice);
  };
  return { methods: ['GET', 'POST'], url, handler };
}

function modelCard({ engine, created }: ServerState, id: string) {
  return {
    id,
    object: 'model',
    created,
    owned_by: 'hotpath',
    root: engine.model,
    parent: null,
    max_model_len: engine.maxModelLen,
  };
}

function metricsHandler({ metrics }: ServerState): Route['handler'] {
  return async (_request, reply) => {
    reply.type(metrics!.contentType);
    return metrics!.text();
  };
}

/** SGLang's: ends the request with that `rid`, or all there are. An unknown rid is no error, it may have ended. */
function abort({ engine }: ServerState, body: unknown) {
  const { rid, abort_all: all } = isObject(body) ? body : {};
  if (all !== undefined && all !== null && typeof all !== 'boolean')
    throw badField('abort_all', 'a boolean');
  if (all) return { aborted: engine.abortAll() };
  if (typeof rid !== 'string' || rid === '')
    throw badField('rid', 'the rid of a request (or abort_all: true)');
  return { aborted: engine.abort(rid) ? 1 : 0 };
}

function badField(param: string, expected: string): HttpError {
  const message = `Invalid value for '${param}': expected ${expected}.`;
  return new HttpError(message, { status: 400, code: 'invalid_value', param });
}

function serverInfo({ engine, modelNames, requests }: ServerState) {
  return {
    version: packageVersion(),
    served_model_name: engine.model,
    model_names: modelNames,
    max_model_len: engine.maxModelLen,
    device: engine.device,
    active_requests: requests.size,
    internal_states: [engine.stats()],
  };
}

function modelInfo({ engine }: ServerState) {
  return {
    model_path: engine.model,
    is_generation: true,
    max_model_len: engine.maxModelLen,
    weight_version: 'default',
  };
}
