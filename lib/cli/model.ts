/** What every command that runs a model shares: which one, how it is loaded, that it is closed. */
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import type { Engine, LoadOptions } from '../index.js';
import { type Context, write } from './context.js';
import { addEngineFlags, readEngineFlags } from './engine-flags.js';
import { progressLine } from './progress.js';

export const bundledModel = fileURLToPath(new URL('../../models/pocket', import.meta.url));

/** The flags of `withEngine`. */
export function addModelFlags(command: Command): Command {
  command.option('--quiet', 'no word about loading and progress');
  addEngineFlags(command);
  return command;
}

/** Loads, runs, and closes whatever happens. */
export async function withEngine<T>(
  context: Context,
  model: string,
  flags: Record<string, unknown>,
  run: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = await loadEngine(context, model, {
    options: readEngineFlags(flags),
    quiet: flags.quiet === true,
    verbose: flags.verbose === true,
  });
  try {
    return await run(engine);
  } finally {
    await engine.close();
  }
}

export async function loadEngine(
  context: Context,
  model: string,
  { options, quiet, verbose }: { options: LoadOptions; quiet: boolean; verbose: boolean },
): Promise<Engine> {
  const notes: string[] = [];
  const progress = quiet ? null : progressLine(model, context.err);
  let done = false;
  try {
    const engine = await context.load(model, {
      ...options,
      ...(progress && { onProgress: (p) => progress.update(p) }),
      // Once the line of progress has ended.
      logger: {
        info: (message) => {
          if (verbose) notes.push(message);
        },
        warn: (message) => {
          notes.push(message);
        },
      },
    });
    done = true;
    return engine;
  } finally {
    progress?.end(done);
    for (const note of notes) await write(context.err, `${note}\n`);
  }
}
