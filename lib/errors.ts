/**
 * The one error type that users see. `status`, `type`, `code` and `param` are OpenAI's; messages say what
 * was expected, what was received and what to do.
 */

const marker = Symbol.for('hotpath.EngineError');

export type ErrorType =
  | 'invalid_request_error'
  | 'not_found_error'
  | 'server_error'
  | 'service_unavailable';

export interface EngineErrorOptions {
  /** HTTP status that fits. */
  status: number;
  type: ErrorType;
  /** Stable, machine-readable: see {@link ErrorCode}. */
  code: ErrorCode;
  /** The request field or option at fault, such as `messages[0].role`; null where none is. */
  param?: string | null;
  cause?: unknown;
}

export type ErrorCode =
  | 'invalid_value'
  | 'invalid_type'
  | 'missing_required_parameter'
  | 'unsupported_parameter'
  | 'unsupported_value'
  | 'context_length_exceeded'
  | 'model_not_found'
  | 'checkpoint_invalid'
  | 'config_unsupported'
  | 'tokenizer_invalid'
  | 'chat_template_error'
  | 'download_failed'
  | 'out_of_memory'
  | 'device_unavailable'
  | 'binding_unavailable'
  | 'engine_closed'
  | 'engine_failed'
  | 'internal_error';

export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly status: number;
  readonly type: ErrorType;
  readonly code: ErrorCode;
  readonly param: string | null;

  constructor(message: string, options: EngineErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = options.status;
    this.type = options.type;
    this.code = options.code;
    this.param = options.param ?? null;
    Object.defineProperty(this, marker, { value: true });
  }

  /** True for an EngineError of any copy of this package. */
  static is(value: unknown): value is EngineError {
    return typeof value === 'object' && value !== null && marker in value;
  }
}

/** 400: the request's own fault. */
export function invalidRequest(
  message: string,
  param: string | null = null,
  code: ErrorCode = 'invalid_value',
): EngineError {
  return new EngineError(message, { status: 400, type: 'invalid_request_error', code, param });
}

/** The model, its files or its configuration cannot be loaded. */
export function loadError(message: string, code: ErrorCode, cause?: unknown): EngineError {
  const missing = code === 'model_not_found';
  return new EngineError(message, {
    status: missing ? 404 : 400,
    type: missing ? 'not_found_error' : 'invalid_request_error',
    code,
    cause,
  });
}

const serverCodes = new Map<string, number>([
  ['out_of_memory', 503],
  ['device_unavailable', 503],
  ['binding_unavailable', 500],
  ['engine_closed', 503],
  ['engine_failed', 500],
  ['internal_error', 500],
]);

/** An error thrown or reported by native code, by its `code`. */
export function fromNative(error: unknown): EngineError {
  if (EngineError.is(error)) return error;
  const { code, message } = error as { code?: string; message?: string };
  return nativeFailure(code ?? 'internal_error', message ?? String(error), error);
}

export function nativeFailure(code: string, message: string, cause?: unknown): EngineError {
  if (code === 'checkpoint_invalid' || code === 'config_unsupported')
    return loadError(message, code, cause);
  if (code === 'invalid_request') return invalidRequest(message);
  const known = serverCodes.has(code) ? (code as ErrorCode) : 'internal_error';
  const status = serverCodes.get(known) ?? 500;
  return new EngineError(message, {
    status,
    type: status === 503 ? 'service_unavailable' : 'server_error',
    code: known,
    cause,
  });
}
