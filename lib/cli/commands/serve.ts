/** hotpath serve */
import { type Engine, EngineError } from '../../index.js';
import type { ListenOptions } from '../../server/index.js';
import { settle, settleListen } from '../../server/options.js';
import type { Cli, Flags } from '../cli.js';
import { type Context, exitCodes, UsageError, write } from '../context.js';
import { addFlags, type Flag, flagName, readFlags } from '../flags.js';
import { addModelFlags, withEngine } from '../model.js';

const ms = 'milliseconds';

/** Every option of the server; a new one does not compile before it has a row here. */
export const serverFlags = {
  host: { value: 'text', about: 'address to listen on; 0.0.0.0 is all', standard: '127.0.0.1' },
  port: { value: 'integer', about: '0 takes a free one', standard: '8000' },
  apiKey: {
    value: 'texts',
    argument: 'key',
    about: 'what `Authorization: Bearer` must say; may be given again',
    standard: 'no key is needed',
    env: 'HOTPATH_API_KEY',
  },
  bodyLimit: { value: 'bytes', about: "size of a request's body", standard: '16MiB' },
  maxQueuedRequests: {
    value: 'integer',
    about: 'requests that may wait; further ones get status 503',
    standard: '1024',
  },
  requestTimeout: {
    value: 'integer',
    argument: ms,
    about: 'time of a request, waiting included',
    standard: '0: no limit',
  },
  stallTimeout: {
    value: 'integer',
    argument: ms,
    about: 'a stream that nobody reads for so long ends; 0: never',
    standard: '120000',
  },
  cors: {
    value: 'texts',
    argument: 'origin',
    about: 'an origin whose pages may call the server, * for all; may be given again',
    standard: 'none',
  },
  accessLog: { value: 'boolean', about: 'a line on stderr for every request' },
  modelNames: {
    value: 'texts',
    argument: 'name',
    about: 'a further name of the model; may be given again',
  },
  strictModel: { value: 'boolean', about: 'refuse requests for models of other names' },
  shutdownTimeout: {
    value: 'integer',
    argument: ms,
    about: 'time for requests in flight once the server is told to end',
    standard: '30000',
  },
  metrics: { value: 'boolean', about: 'GET /metrics for Prometheus', standard: true },
  healthTimeout: {
    value: 'integer',
    argument: ms,
    about: 'how long /health_generate waits for a sign of life',
    standard: '20000',
  },
} satisfies Record<keyof ListenOptions, Flag | null>;

export function addServe(cli: Cli): void {
  const command = cli
    .command('serve <MODEL>', "serve OpenAI's API over HTTP")
    .addHelpText(
      'after',
      '\nSIGINT (Ctrl-C) or SIGTERM ends it: what is in flight may finish within --shutdown-timeout. A second\n' +
        'signal ends it at once.',
    );
  addFlags(command, serverFlags, 'Server options:');
  addModelFlags(command);
  cli.run(command, async ([model], flags) => {
    const options = readServerFlags(cli.context, flags);
    return withEngine(cli.context, model!, flags, (engine) =>
      untilSignal(cli.context, engine, options),
    );
  });
}

/** Checked before the model is loaded. */
function readServerFlags({ err }: Context, flags: Flags): ListenOptions {
  const { accessLog, ...values } = readFlags(serverFlags, flags);
  const log = (message: string) => {
    err.write(`${message}\n`);
  };
  const options = { ...values, ...(accessLog === true && { accessLog: { info: log, warn: log } }) };
  try {
    settle(settleListen(options).rest);
    return options;
  } catch (error) {
    if (!EngineError.is(error)) throw error;
    const flag = error.param === null ? '' : `--${flagName(error.param)}: `;
    throw new UsageError(`${flag}${error.message}`, { cause: error });
  }
}

async function untilSignal(
  context: Context,
  engine: Engine,
  options: ListenOptions,
): Promise<number> {
  // fastify and the metrics are loaded for this command alone.
  const { serve } = await import('../../server/index.js');
  let signalled = () => {};
  const signal = new Promise<void>((resolve) => {
    signalled = resolve;
  });
  let signals = 0;
  const release = context.onSignal((name) => {
    signals += 1;
    if (signals > 1) context.exit(name === 'SIGINT' ? 130 : 143);
    signalled();
  });
  try {
    const server = await serve(engine, options);
    await write(context.out, `Serving ${engine.model} on ${engine.device} at ${server.url}\n`);
    await signal;
    await write(context.err, 'Ending; a second signal ends at once.\n');
    await server.close();
    return exitCodes.ok;
  } finally {
    release();
  }
}
