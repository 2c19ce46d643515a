/** hotpath complete */
import type { CompletionRequest, Engine } from '../../index.js';
import type { Cli } from '../cli.js';
import { type Context, exitCodes, readAll, UsageError, write } from '../context.js';
import { addModelFlags, bundledModel, withEngine } from '../model.js';
import { addRequestFlags, readRequestFlags, requestFlags } from '../request-flags.js';

const defaultMaxTokens = 256;
const table = requestFlags(`${defaultMaxTokens}, or what there is room for`);

export function addComplete(cli: Cli): void {
  const command = cli
    .command('complete [MODEL] [PROMPT]', 'continue a text, without a chat template')
    .option('--prompt <text>', 'the text, where MODEL is left out')
    .option('--echo', 'print the prompt before what follows it')
    .option('--json', 'print the whole response as one line of JSON, at its end')
    .addHelpText(
      'after',
      '\nWithout MODEL it is the bundled one. Without PROMPT it is all of stdin, less one newline at its end.',
    );
  addRequestFlags(command, table);
  addModelFlags(command);
  cli.run(command, async ([model = bundledModel, argument], flags) => {
    const { context } = cli;
    if (argument !== undefined && flags.prompt !== undefined)
      throw new UsageError('The prompt is given twice: as an argument and as --prompt.');
    const taken = flags.json ? ['prompt', 'stream'] : ['prompt', 'stream', 'n', 'best_of'];
    const fields = readRequestFlags(table, flags, taken);
    const prompt = argument ?? (flags.prompt as string | undefined) ?? (await piped(context));
    await withEngine(context, model, flags, async (engine) => {
      const body: CompletionRequest = {
        ...fields,
        prompt,
        ...(flags.echo === true && { echo: true }),
        max_tokens: (fields.max_tokens as number | undefined) ?? (await roomFor(engine, prompt)),
      };
      if (flags.json) {
        const response = await engine.completions({ ...body, stream: false });
        await write(context.out, `${JSON.stringify(response)}\n`);
      } else await stream(context, engine, body);
    });
    return exitCodes.ok;
  });
}

async function piped({ input }: Context): Promise<string> {
  if (input.isTTY)
    throw new UsageError(
      'There is no prompt. Pass it after MODEL, as --prompt, or through a pipe.',
    );
  return (await readAll(input)).replace(/\r?\n$/, '');
}

async function roomFor(engine: Engine, prompt: string): Promise<number> {
  const { count, max_model_len } = await engine.tokenize({ prompt });
  return Math.max(1, Math.min(defaultMaxTokens, max_model_len - count));
}

async function stream({ out }: Context, engine: Engine, body: CompletionRequest): Promise<void> {
  for await (const chunk of engine.completions({ ...body, stream: true }))
    await write(out, chunk.choices[0]?.text ?? '');
  // In a file the text is just what the model wrote.
  if (out.isTTY) await write(out, '\n');
}
