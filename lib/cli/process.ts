/** The process's own streams, signals and engine. */
import { Engine } from '../index.js';
import type { Context } from './context.js';

/** Call it once: a reader of stdout that goes away, such as `head`, then ends the process quietly. */
export function processContext(): Context {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
  // Nobody is left to be told.
  process.stderr.on('error', () => {});
  return {
    input: process.stdin,
    out: process.stdout,
    err: process.stderr,
    env: process.env,
    load: (model, options) => Engine.load(model, options),
    onSignal(listener) {
      const signals = ['SIGINT', 'SIGTERM'] as const;
      for (const signal of signals) process.on(signal, listener);
      return () => {
        for (const signal of signals) process.off(signal, listener);
      };
    },
    exit: (code) => process.exit(code),
  };
}
