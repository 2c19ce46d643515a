/** A server of its own: the plugin in an app, and the app on a port. */
import type { AddressInfo, Socket } from 'node:net';
import { type FastifyInstance, fastify } from 'fastify';
import type { Engine } from '../engine.js';
import { invalidRequest } from '../errors.js';
import { errorBody, HttpError, toHttpError } from './errors.js';
import { type ListenOptions, type ServerOptions, settle, settleListen } from './options.js';
import { addServer, sendError } from './plugin.js';

/** Milliseconds for a request's head and body to come in. */
const receiveTimeoutMs = 60_000;

export interface RunningServer {
  /** Such as http://127.0.0.1:8000, without /v1. */
  url: string;
  host: string;
  port: number;
  app: FastifyInstance;
  /**
   * Takes no further requests, lets those in flight finish for `shutdownTimeout`, then ends them with an error.
   * Resolves when all connections are closed; the engine stays open. Idempotent.
   */
  close(): Promise<void>;
}

/**
 * A fastify app with the routes. It does not listen: `app.inject` answers without a socket, `app.listen` with.
 * `app.close()` is graceful as {@link RunningServer.close}. Rejects with EngineError for a wrong option.
 */
export async function createServer(
  engine: Engine,
  options: ServerOptions = {},
): Promise<FastifyInstance> {
  const { bodyLimit } = settle(options);
  const app = fastify({
    bodyLimit,
    requestTimeout: receiveTimeoutMs,
    // The plugin's own answer has OpenAI's form.
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 500 },
    frameworkErrors: (error, _request, reply) => sendError(reply, toHttpError(error)),
    clientErrorHandler: (error, socket) => refuseConnection(error, socket),
  });
  await app.register((routes) => addServer(routes, { ...options, engine }, true));
  cutSilentConnections(app);
  return app;
}

/** Connections that never sent a request would keep a closing server open. */
function cutSilentConnections(app: FastifyInstance): void {
  const silent = new Set<Socket>();
  app.server.on('connection', (socket) => {
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
  });
  app.server.on('request', ({ socket }) => silent.delete(socket));
  app.addHook('preClose', async () => {
    for (const socket of silent) socket.destroy();
  });
}

/** Serves `engine` over HTTP. Rejects with EngineError where it cannot listen, or for a wrong option. */
export async function serve(engine: Engine, options: ListenOptions = {}): Promise<RunningServer> {
  const { host, port, rest } = settleListen(options);
  const app = await createServer(engine, rest);
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw cannotListen(error as NodeJS.ErrnoException, host, port);
  }
  const address = app.server.address() as AddressInfo;
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  let closing: Promise<void> | undefined;
  return {
    url: `http://${name}:${address.port}`,
    host: address.address,
    port: address.port,
    app,
    close: () => {
      closing ??= app.close().then(() => {});
      return closing;
    },
  };
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number) {
  const reasons: Record<string, string> = {
    EADDRINUSE: 'the port is in use. Pass another port; 0 takes a free one.',
    EACCES: 'this user may not. Pass a port above 1023.',
    EADDRNOTAVAIL: 'this machine does not have that address. Pass another host.',
    ENOTFOUND: 'the host is unknown. Pass another host.',
  };
  const { code = '' } = error;
  const reason = reasons[code] ?? `${error.message}.`;
  const isPort = code === 'EADDRINUSE' || code === 'EACCES';
  return invalidRequest(`Cannot listen on ${host}:${port}: ${reason}`, isPort ? 'port' : 'host');
}

/** What comes in is no HTTP, or comes in too slowly. */
function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason, message] = {
    ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'The request did not come in in time.'],
    HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large', 'The headers are too large.'],
  }[error.code ?? ''] ?? [400, 'Bad Request', 'The request is not valid HTTP.'];
  const refusal = new HttpError(String(message), { status: Number(status), code: 'bad_request' });
  const body = JSON.stringify(errorBody(refusal));
  const head = [
    `HTTP/1.1 ${status} ${reason}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
