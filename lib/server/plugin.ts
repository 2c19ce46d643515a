/** The routes as a fastify plugin. */
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type {
  FastifyInstance,
  FastifyPluginAsync,
  FastifyReply,
  FastifyRequest,
  HTTPMethods,
} from 'fastify';
import type { Engine } from '../engine.js';
import { corsHeaders, keyCheck } from './access.js';
import {
  errorBody,
  type HttpError,
  methodNotAllowed,
  pathOf,
  toHttpError,
  unknownUrl,
} from './errors.js';
import { invalidJson } from './json.js';
import { type ServerOptions, settle } from './options.js';
import { type Route, routesOf } from './routes.js';
import { ServerState } from './state.js';

export interface HotpathServerOptions extends ServerOptions {
  /** Answers the requests; whoever loaded it closes it, after the app. */
  engine: Engine;
  /** fastify's: goes before every route. */
  prefix?: string;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of hotpath's routes: needs no API key. */
    hotpathOpen?: boolean;
  }
}

/**
 * `app.register(hotpathServer, { engine, prefix: '/llm' })` gives a fastify app the OpenAI routes. Hooks,
 * errors and the JSON parser are the plugin's own: nothing of the rest of the app changes. Paths that nobody
 * has are answered in OpenAI's form below a prefix, and by the app where there is none.
 */
export const hotpathServer: FastifyPluginAsync<HotpathServerOptions> = (app, given) =>
  addServer(app, given, app.prefix !== '');

/** @param ownsPaths paths that nobody has are answered here, with hooks and headers as all others */
export async function addServer(
  app: FastifyInstance,
  given: HotpathServerOptions,
  ownsPaths: boolean,
): Promise<void> {
  const { engine, prefix: _, ...rest } = given;
  const state = await ServerState.create(engine, settle(rest));
  const checkKey = keyCheck(state.options.apiKeys);
  const addCors = corsHeaders(state.options.cors);

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', randomUUID());
    whenOver(reply.raw, (isOut) => report(state, { request, reply, isOut }));
    addCors(request, reply);
    const isFree = request.routeOptions.config.hotpathOpen || request.method === 'OPTIONS';
    if (!isFree) checkKey(request);
    if (!request.routeOptions.config.hotpathOpen) state.requests.checkOpen();
  });
  app.addHook('preClose', async () => state.requests.close());
  app.addHook('onClose', async () => state.requests.dispose());
  app.addHook('onSend', async (_request, reply) => {
    if (state.requests.closing) reply.header('connection', 'close');
  });
  // Streams' heads said otherwise: their connections would be kept alive, and the server with them.
  app.addHook('onResponse', async () => {
    if (state.requests.closing) setImmediate(() => app.server.closeIdleConnections());
  });
  app.setErrorHandler((error, _request, reply) => {
    state.logFault(error);
    return sendError(reply, toHttpError(error));
  });
  if (ownsPaths) addNotFound(app);
  readJson(app);

  const routes = routesOf(state);
  const { bodyLimit } = state.options;
  for (const { methods, url, isOpen, handler } of routes)
    app.route({ method: methods, url, handler, config: { hotpathOpen: isOpen }, bodyLimit });
  addOtherMethods(app, routes);
}

/** Answers what no route does. */
function addNotFound(app: FastifyInstance): void {
  app.setNotFoundHandler((request, reply) =>
    sendError(reply, unknownUrl(request.method, request.url)),
  );
}

export function sendError(reply: FastifyReply, error: HttpError): FastifyReply {
  return reply.code(error.status).headers(error.headers).send(errorBody(error));
}

/** JSON and nothing else, with the place of a fault in it. */
function readJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    const text = body as string;
    parse(request, text, (error, value) => {
      if (error) done(invalidJson(text));
      else done(null, value);
    });
  });
}

const everyMethod: HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** OPTIONS says what a path takes, every other method is status 405. */
function addOtherMethods(app: FastifyInstance, routes: readonly Route[]): void {
  for (const { methods, url } of routes) {
    const taken: HTTPMethods[] = methods.flatMap((m) => (m === 'GET' ? ['GET', 'HEAD'] : [m]));
    const allow = [...taken, 'OPTIONS'].join(', ');
    app.route({
      method: 'OPTIONS',
      url,
      handler: (_request, reply) => reply.code(204).header('allow', allow).send(),
    });
    app.route({
      method: everyMethod.filter((other) => !taken.includes(other) && other !== 'OPTIONS'),
      url,
      // Before the body is read: it does not matter.
      onRequest: async (request) => {
        throw methodNotAllowed(request.method, request.url, allow);
      },
      handler: () => {},
    });
  }
}

/** Once, when the response is out or can no longer be; fastify's onResponse knows of the former alone. */
function whenOver(response: ServerResponse, callback: (isOut: boolean) => void): void {
  const over = (isOut: boolean) => {
    response.off('finish', finish);
    response.off('close', close);
    callback(isOut);
  };
  const finish = () => over(true);
  const close = () => over(false);
  response.on('finish', finish);
  response.on('close', close);
}

/** The metrics, and a line in the access log. */
function report(
  state: ServerState,
  { request, reply, isOut }: { request: FastifyRequest; reply: FastifyReply; isOut: boolean },
): void {
  const { method, url, routeOptions } = request;
  const status = isOut ? reply.raw.statusCode : 499;
  state.metrics?.answered(routeOptions.url ?? 'other', method, status);
  state.options.accessLog?.info(
    `${method} ${pathOf(url)} ${status} ${reply.elapsedTime.toFixed(1)} ms ${reply.getHeader('x-request-id')}`,
  );
}
