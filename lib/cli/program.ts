/** `hotpath`: its commands, and from a list of arguments to an exit code. */
import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { Cli } from './cli.js';
import { addBatch } from './commands/batch.js';
import { addBench } from './commands/bench.js';
import { addChat } from './commands/chat.js';
import { addComplete } from './commands/complete.js';
import { addDevices } from './commands/devices.js';
import { addGrammar } from './commands/grammar.js';
import { addServe } from './commands/serve.js';
import { addTokenize } from './commands/tokenize.js';
import { type Context, exitCodes, UsageError, write } from './context.js';
import { flagName } from './flags.js';
import { errorDetails, errorLine } from './report.js';

/** In the order of the help. */
const commands = [
  addServe,
  addChat,
  addComplete,
  addBatch,
  addBench,
  addTokenize,
  addGrammar,
  addDevices,
] satisfies ((cli: Cli) => void)[];

export function createCli(context: Context): Cli {
  const cli = new Cli(context, 'hotpath', packageVersion());
  cli.program
    .description('An LLM inference engine that lives inside a Node process.')
    .addHelpText(
      'after',
      '\nMODEL is a folder in Hugging Face form or a hub id such as Qwen/Qwen3-0.6B.\n' +
        'Exit codes: 0 all went well, 1 something failed, 2 the command line is wrong.',
    );
  for (const add of commands) add(cli);
  return cli;
}

/** Never rejects: an error becomes one line and an exit code. `args` are those after the program's name. */
export async function runCli(args: readonly string[], context: Context): Promise<number> {
  try {
    const cli = createCli(context);
    await cli.program.parseAsync(inKebabCase(args, cli), { from: 'user' });
    return cli.exitCode;
  } catch (error) {
    if (error instanceof CommanderError)
      // What commander has to say it has said.
      return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const text = args.includes('--verbose') ? errorDetails(error) : errorLine(error);
    await write(context.err, `error: ${text}\n`);
    return error instanceof UsageError ? exitCodes.usage : exitCodes.failed;
  }
}

/** --maxModelLen is --max-model-len, where the command has such a flag. */
function inKebabCase(args: readonly string[], { program }: Cli): string[] {
  let command = program;
  for (const arg of args) {
    const next = command.commands.find((each) => each.name() === arg);
    if (next === undefined) break;
    command = next;
  }
  const known = new Set(command.options.map(({ long }) => long));
  const end = args.indexOf('--');
  return args.map((arg, index) => {
    if (end >= 0 && index > end) return arg;
    const [, name, rest = ''] = /^--([a-z]+(?:[A-Z][A-Za-z]*)+)(=.*)?$/s.exec(arg) ?? [];
    if (name === undefined) return arg;
    const flag = `--${flagName(name)}`;
    return known.has(flag) ? flag + rest : arg;
  });
}

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
