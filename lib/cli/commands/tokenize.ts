/** hotpath tokenize: needs the tokenizer's files, and neither weights nor a device. */
import { ChatTemplates } from '../../text/template.js';
import { Tokenizer } from '../../text/tokenizer.js';
import { openCheckpoint } from '../../weights/index.js';
import type { Cli, Flags } from '../cli.js';
import { CommandError, exitCodes, readAll, UsageError, write } from '../context.js';
import { engineFlags, readEngineFlags } from '../engine-flags.js';
import { addFlags } from '../flags.js';
import { bundledModel } from '../model.js';

const { chatTemplate, chatTemplateKwargs, revision, cacheDir, offline, token } = engineFlags;

export function addTokenize(cli: Cli): void {
  const command = cli
    .command('tokenize [MODEL] [TEXT]', 'show the tokens of a text, one per line: id and bytes')
    .option('--text <text>', 'the text, where MODEL is left out')
    .option('--chat', "take the text as a user's message and render the chat template")
    .option('--no-special', 'without the tokens that a tokenizer adds, such as a beginning of text')
    .option('--decode', 'the other way: TEXT is token ids, the result is text')
    .option('--count', 'print the number of tokens only')
    .option('--json', 'print {"tokens": [...], "count": n}, or with --decode {"text": "..."}')
    .addHelpText(
      'after',
      '\nWithout MODEL it is the bundled one. Without TEXT it is all of stdin, to the last newline.',
    );
  addFlags(command, { chatTemplate, chatTemplateKwargs, revision, cacheDir, offline, token });
  cli.run(command, async ([model = bundledModel, argument], flags) => {
    const { input, out } = cli.context;
    const given = argument ?? (flags.text as string | undefined);
    if (given === undefined && input.isTTY)
      throw new UsageError('There is no text. Pass it after MODEL, as --text, or through a pipe.');
    const text = given ?? (await readAll(input));
    const { tokenizer, render } = await open(model, flags);
    await write(
      out,
      flags.decode
        ? decoded(tokenizer, text, flags)
        : shown(tokenizer, await encoded(tokenizer, render, text, flags), flags),
    );
    return exitCodes.ok;
  });
}

async function open(model: string, flags: Flags) {
  const { chatTemplate: source, chatTemplateKwargs: kwargs, ...hub } = readEngineFlags(flags);
  // 'dummy': config.json alone, the weights are not looked at.
  const { folder } = await openCheckpoint(model, { ...hub, loadFormat: 'dummy' });
  const tokenizer = await Tokenizer.load(folder);
  const sources = source === undefined ? tokenizer.chatTemplates : new Map([['default', source]]);
  const render = (text: string) =>
    new ChatTemplates(sources, tokenizer).render([{ role: 'user', content: text }], {
      addGenerationPrompt: true,
      kwargs,
    });
  return { tokenizer, render };
}

function encoded(
  tokenizer: Tokenizer,
  render: (text: string) => string,
  text: string,
  flags: Flags,
): Promise<Int32Array> {
  if (!flags.chat) return tokenizer.encode(text, { addSpecialTokens: flags.special !== false });
  // The template writes its own beginning-of-sequence token.
  return tokenizer.encode(render(text), { addSpecialTokens: false });
}

function shown(tokenizer: Tokenizer, ids: Int32Array, flags: Flags): string {
  if (flags.json) return `${JSON.stringify({ tokens: [...ids], count: ids.length })}\n`;
  if (flags.count) return `${ids.length}\n`;
  return [...ids].map((id) => `${id}\t${shownToken(tokenizer, id)}\n`).join('');
}

/** JSON, or where the token's bytes alone are no text its bytes, as in logprobs. */
function shownToken(tokenizer: Tokenizer, id: number): string {
  const text = tokenizer.wholeText(id);
  if (text !== null) return JSON.stringify(text);
  const hex = Buffer.from(tokenizer.tokenBytes(id)).toString('hex');
  return `bytes:${hex.replaceAll(/../g, '\\x$&')}`;
}

function decoded(tokenizer: Tokenizer, text: string, flags: Flags): string {
  const ids = text.split(/[\s,[\]]+/).filter((word) => word !== '');
  const numbers = ids.map((word) => {
    const id = /^\d+$/.test(word) ? Number(word) : -1;
    if (tokenizer.hasId(id)) return id;
    throw new CommandError(
      `Expected token ids of this model, separated by spaces or commas, received '${word}'.`,
    );
  });
  const result = tokenizer.decode(numbers, { skipSpecialTokens: flags.special === false });
  return flags.json ? `${JSON.stringify({ text: result })}\n` : `${result}\n`;
}
