/** What goes wrong between a socket and the engine, and the one body that every error has. */
import { EngineError, type ErrorCode, type ErrorType } from '../errors.js';

/** Codes of the server's own errors; those of the engine are ErrorCode. */
export type ServerErrorCode =
  | ErrorCode
  | 'invalid_json'
  | 'unsupported_content_type'
  | 'request_too_large'
  | 'invalid_api_key'
  | 'unknown_url'
  | 'method_not_supported'
  | 'unsupported_endpoint'
  | 'queue_full'
  | 'request_timeout'
  | 'server_closing'
  | 'bad_request';

export interface HttpErrorOptions {
  status: number;
  type?: ErrorType;
  code: ServerErrorCode;
  param?: string | null;
  headers?: Record<string, string>;
}

export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;
  readonly type: ErrorType;
  readonly code: ServerErrorCode;
  readonly param: string | null;
  readonly headers: Record<string, string>;

  constructor(message: string, options: HttpErrorOptions) {
    super(message);
    this.status = options.status;
    this.type = options.type ?? 'invalid_request_error';
    this.code = options.code;
    this.param = options.param ?? null;
    this.headers = options.headers ?? {};
  }
}

/** The official clients try 5xx again unless told so. */
const noRetry = { 'x-should-retry': 'false' };

export function queueFull(): HttpError {
  return new HttpError('The request queue is full.', {
    status: 503,
    type: 'service_unavailable',
    code: 'queue_full',
    headers: { 'retry-after': '1' },
  });
}

export function serverClosing(): HttpError {
  return new HttpError('The server is shutting down: it takes no further requests.', {
    status: 503,
    type: 'service_unavailable',
    code: 'server_closing',
    headers: { 'retry-after': '1', connection: 'close' },
  });
}

export function cutByShutdown(): HttpError {
  return new HttpError('The server shut down before this request was finished.', {
    status: 503,
    type: 'service_unavailable',
    code: 'server_closing',
    headers: { connection: 'close' },
  });
}

export function timedOut(milliseconds: number): HttpError {
  return new HttpError(
    `The request was not finished in ${milliseconds} ms, which is this server's limit. Ask for fewer tokens.`,
    { status: 503, type: 'service_unavailable', code: 'request_timeout', headers: noRetry },
  );
}

export function unauthorized(given: boolean): HttpError {
  const message = given
    ? 'Incorrect API key provided.'
    : 'No API key provided: send it as Authorization: Bearer <key>.';
  return new HttpError(message, {
    status: 401,
    code: 'invalid_api_key',
    headers: { 'www-authenticate': 'Bearer' },
  });
}

export function unknownUrl(method: string, url: string): HttpError {
  return new HttpError(`Unknown request URL: ${method} ${pathOf(url)}.`, {
    status: 404,
    code: 'unknown_url',
  });
}

export function methodNotAllowed(method: string, url: string, allow: string): HttpError {
  return new HttpError(`${method} is not allowed on ${pathOf(url)}: use ${allow}.`, {
    status: 405,
    code: 'method_not_supported',
    headers: { allow },
  });
}

export function unsupportedEndpoint(url: string, advice: string): HttpError {
  return new HttpError(`${pathOf(url)} is not supported: ${advice}`, {
    status: 501,
    code: 'unsupported_endpoint',
    headers: noRetry,
  });
}

export function unknownModel(name: string): HttpError {
  return new HttpError(`The model '${name.slice(0, 200)}' does not exist`, {
    status: 404,
    code: 'model_not_found',
    param: 'model',
  });
}

/** Without the query, which may hold secrets, and cut. */
export function pathOf(url: string): string {
  return (url.split('?', 1)[0] ?? '').slice(0, 200);
}

/** Any error as one that may be shown. What is no one's known error says nothing of itself. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (EngineError.is(error)) {
    const { message, status, type, code, param } = error;
    return new HttpError(message, { status, type, code, param });
  }
  return fromFastify(error) ?? internal();
}

function internal(): HttpError {
  return new HttpError('Internal server error. What happened is in the log of the server.', {
    status: 500,
    type: 'server_error',
    code: 'internal_error',
  });
}

function fromFastify(error: unknown): HttpError | null {
  const { code, statusCode, message } = error as {
    code?: unknown;
    statusCode?: unknown;
    message?: unknown;
  };
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new HttpError('The body of the request is too large for this server.', {
        status: 413,
        code: 'request_too_large',
      });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new HttpError("The body must be JSON: send 'Content-Type: application/json'.", {
        status: 400,
        code: 'unsupported_content_type',
      });
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new HttpError('The body is not as long as Content-Length says.', {
        status: 400,
        code: 'bad_request',
      });
  }
  const isClient = typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500;
  if (!isClient || typeof code !== 'string' || !code.startsWith('FST_ERR_')) return null;
  return new HttpError(String(message), { status: statusCode, code: 'bad_request' });
}

/** SGLang's names where it has one, else the status. */
const flatTypes: Record<number, string> = {
  400: 'BadRequestError',
  404: 'NotFoundError',
  500: 'InternalServerError',
};

/**
 * SGLang's flat keys, where `code` is the status, and OpenAI's nested `error`: clients of both find what they
 * read. The official JavaScript client shows an empty error without the latter.
 */
export function errorBody(error: HttpError) {
  const { message, param, status } = error;
  const type = flatTypes[status] ?? String(status);
  return { object: 'error', message, type, param, code: status, error: nested(error) };
}

/** What a stream that has begun says instead of its next chunk. */
export function errorEvent(error: HttpError) {
  return { error: { object: 'error', ...nested(error) } };
}

function nested({ message, type, param, code }: HttpError) {
  return { message, type, param, code };
}
