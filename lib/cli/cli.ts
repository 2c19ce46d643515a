/** What commands are made of: commander's, with this program's rules for errors and exit codes. */
import { Command } from 'commander';
import { type Context, exitCodes } from './context.js';

/** The values of a command's flags, by commander's names. */
export type Flags = Record<string, unknown>;

/** Resolves with the exit code. */
export type Run = (args: (string | undefined)[], flags: Flags) => Promise<number>;

export class Cli {
  readonly context: Context;
  readonly program: Command;
  exitCode: number = exitCodes.ok;

  constructor(context: Context, name: string, version: string) {
    this.context = context;
    this.program = new Command(name)
      .version(version, '-V, --version', 'print the version')
      .helpOption('-h, --help', 'print this help')
      .exitOverride()
      .configureOutput({
        writeOut: (text) => context.out.write(text),
        writeErr: (text) => context.err.write(text),
        // One line, the suggestion at its end.
        outputError: (text, write) => write(`${text.trim().replaceAll(/\s*\n\s*/g, ' ')}\n`),
        getOutHasColors: () => false,
        getErrHasColors: () => false,
      });
  }

  /** A command with the flags that all have. */
  command(usage: string, description: string, parent: Command = this.program): Command {
    return parent
      .command(usage)
      .description(description)
      .option('--verbose', 'more words; errors with their stack');
  }

  run(command: Command, run: Run): void {
    command.action(async () => {
      this.exitCode = await run(command.processedArgs as (string | undefined)[], command.opts());
    });
  }
}
