#!/usr/bin/env node
/**
 * `npm start`: chat with a model in the terminal. With a prompt: answers it and ends. With a piped stdin: every
 * line is a turn of one conversation. With none of these: shows what the model can do. `hotpath chat` is the same
 * with every option of the engine.
 */
import { Command } from 'commander';
import type { LoadOptions } from '../index.js';
import { exitCodes, hasColours } from './context.js';
import { Conversation } from './conversation.js';
import { toNumber } from './flags.js';
import { bundledModel, loadEngine } from './model.js';
import { processContext } from './process.js';
import { errorLine } from './report.js';
import { answerLines, chat } from './talk.js';

interface Flags {
  model: string;
  device?: LoadOptions['device'];
  threads?: number;
  system?: string;
  maxTokens?: number;
  temperature?: number;
  seed?: number;
  thinking: boolean;
}

async function main(): Promise<boolean> {
  const command = new Command('npm start --')
    .description('Chat with a model in this terminal.')
    .argument('[prompt...]', 'answer this once and exit')
    .option('-m, --model <folder or hub id>', 'the model to load', bundledModel)
    .option('--device <device>', "'auto', 'cpu', 'cuda' or 'cuda:<index>'")
    .option('--threads <number>', 'CPU threads', toNumber)
    .option('--system <text>', 'a system message')
    .option('--max-tokens <number>', 'tokens of one answer', toNumber)
    .option('--temperature <number>', '0 is greedy', toNumber)
    .option('--seed <number>', 'the same seed gives the same answers', toNumber)
    .option('--no-thinking', 'answer without <think>, where the model can')
    .parse();
  const { model, device, threads, ...flags } = command.opts<Flags>();
  const context = processContext();
  const options = { device, numThreads: threads };
  const engine = await loadEngine(context, model, { options, quiet: false, verbose: false });
  const { system, thinking, maxTokens: max_tokens, temperature, seed } = flags;
  const answers = {
    system,
    thinking,
    colours: hasColours(context.out, context.env),
    fields: { max_tokens, temperature, seed },
  };
  try {
    const prompt = command.args.join(' ').trim();
    const talk = () => new Conversation(engine, answers, context.out);
    if (prompt === '')
      return await (context.input.isTTY ? chat(context, talk()) : answerLines(context, talk, true));
    await talk().ask(prompt);
    return true;
  } finally {
    await engine.close();
  }
}

main().then(
  (ok) => {
    process.exitCode = ok ? exitCodes.ok : exitCodes.failed;
  },
  (error: unknown) => {
    process.exitCode = exitCodes.failed;
    process.stderr.write(`${errorLine(error)}\n`);
  },
);
