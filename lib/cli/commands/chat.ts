/** hotpath chat */
import type { Tool } from '../../index.js';
import type { Cli, Flags } from '../cli.js';
import { exitCodes, hasColours, UsageError } from '../context.js';
import { type AnswerOptions, Conversation } from '../conversation.js';
import { addFlags, type Flag, readFlags } from '../flags.js';
import { addModelFlags, bundledModel, withEngine } from '../model.js';
import { addRequestFlags, readRequestFlags, requestFlags } from '../request-flags.js';
import { answerLines, chat } from '../talk.js';

const chatFlags = {
  prompt: { value: 'text', about: 'answer this once and exit' },
  system: { value: 'source', about: 'a system message' },
  tools: { value: 'json', about: 'tools that the model may call: an array as OpenAI has it' },
  thinking: {
    value: 'boolean',
    about: 'think before answering, where the model can',
    standard: true,
  },
  hideReasoning: { value: 'boolean', about: 'do not print what the model thinks' },
} satisfies Record<string, Flag>;

const table = requestFlags('as many as there is room for');

export function addChat(cli: Cli): void {
  const command = cli
    .command('chat [MODEL]', 'chat in this terminal; from a pipe every line is a turn')
    .addHelpText('after', '\nWithout MODEL it is the bundled one.');
  addFlags(command, chatFlags);
  addRequestFlags(command, table);
  addModelFlags(command);
  cli.run(command, async ([model = bundledModel], flags) => {
    const { context } = cli;
    const { prompt } = readFlags(chatFlags, flags) as { prompt?: string };
    const options = readAnswerOptions(flags, hasColours(context.out, context.env));
    const ok = await withEngine(context, model, flags, async (engine) => {
      const talk = () => new Conversation(engine, options, context.out);
      if (prompt === undefined)
        return context.input.isTTY
          ? chat(context, talk())
          : answerLines(context, talk, model === bundledModel);
      await talk().ask(prompt);
      return true;
    });
    return ok ? exitCodes.ok : exitCodes.failed;
  });
}

function readAnswerOptions(flags: Flags, colours: boolean): AnswerOptions {
  const { system, tools, thinking, hideReasoning } = readFlags(chatFlags, flags) as {
    system?: string;
    tools?: unknown;
    thinking?: boolean;
    hideReasoning?: boolean;
  };
  if (tools !== undefined && !Array.isArray(tools))
    throw new UsageError('--tools: expected a JSON array of tools as OpenAI has them.');
  const taken = ['messages', 'tools', 'stream', 'n'];
  const fields = readRequestFlags(table, flags, taken);
  return {
    system,
    thinking: thinking ?? true,
    hideReasoning,
    colours,
    fields: { ...fields, ...(tools && { tools: tools as Tool[] }) },
  };
}
