#!/usr/bin/env node
/**
 * `npm start`: chat with a model in the terminal. With a prompt: answers it and ends. With a piped stdin: every
 * line is a turn of one conversation. With none of these: shows what the model can do.
 */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { Engine, EngineError, type LoadOptions } from '../index.js';
import { type AnswerOptions, Conversation, write } from './conversation.js';
import { progressLine } from './progress.js';

const bundledModel = fileURLToPath(new URL('../../models/pocket', import.meta.url));

/** What is asked when nobody asks; the second of a pair is a follow-up. */
const examples = [
  ["How many r's are in 'strawberry'?"],
  ['List 3 countries and their capitals.', 'What was the first country?'],
  ['What is 467 + 385?'],
  ['Extract the person as JSON: Ada lives in Paris and is 31.'],
];

/** A pipe that nobody writes to and nobody closes looks like one whose writer is slow, for that long. */
const silentPipeMs = 10_000;

interface Flags extends AnswerOptions {
  model: string;
  device?: LoadOptions['device'];
  threads?: number;
}

async function main(): Promise<void> {
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
  const flags = command.opts<Flags>();
  const engine = await load(flags);
  try {
    const prompt = command.args.join(' ').trim();
    const talk = () => new Conversation(engine, flags, process.stdout);
    if (prompt !== '') await talk().ask(prompt);
    else if (process.stdin.isTTY) await chat(talk());
    else await answerLines(talk);
  } finally {
    await engine.close();
  }
}

async function load(flags: Flags): Promise<Engine> {
  const progress = progressLine(flags.model, process.stderr);
  let done = false;
  try {
    const engine = await Engine.load(flags.model, {
      device: flags.device,
      numThreads: flags.threads,
      onProgress: (p) => progress.update(p),
    });
    done = true;
    return engine;
  } finally {
    progress.end(done);
  }
}

/** Until /exit or the end of input. Ctrl-C ends the answer; without one to end it leaves. */
async function chat(conversation: Conversation): Promise<void> {
  const { stdin: input, stdout: output } = process;
  await write(
    output,
    'Ask something. /clear forgets the conversation, /exit (or Ctrl-D) leaves.\n',
  );
  const lines = createInterface({ input, output, prompt: '> ' });
  let answering: AbortController | null = null;
  let closed = false;
  lines.once('close', () => {
    closed = true;
  });
  lines.on('SIGINT', () => {
    if (answering === null || answering.signal.aborted) lines.close();
    answering?.abort();
  });
  lines.prompt();
  for await (const line of lines) {
    const prompt = line.trim();
    if (prompt === '/exit') break;
    if (prompt === '/clear') conversation.clear();
    else if (prompt !== '') {
      answering = new AbortController();
      await conversation.ask(prompt, answering.signal).catch(report);
      answering = null;
    }
    if (!closed) lines.prompt();
  }
  lines.close();
}

async function answerLines(talk: () => Conversation): Promise<void> {
  const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
  const conversation = talk();
  let asked = false;
  const silence = setTimeout(() => {
    process.stderr.write('Nothing on stdin: here are some examples.\n');
    lines.close();
    process.stdin.destroy();
  }, silentPipeMs);
  for await (const line of lines) {
    clearTimeout(silence);
    if (line.trim() === '') continue;
    asked = true;
    await conversation.ask(line.trim()).catch(report);
  }
  clearTimeout(silence);
  if (!asked) await showExamples(talk);
}

async function showExamples(talk: () => Conversation): Promise<void> {
  for (const turns of examples) {
    const conversation = talk();
    for (const prompt of turns) {
      await write(process.stdout, `> ${prompt}\n`);
      await conversation.ask(prompt);
      await write(process.stdout, '\n');
    }
  }
}

function toNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value))
    throw new InvalidArgumentError(`expected a number, received '${text}'.`);
  return value;
}

/** One turn that failed does not end the conversation, but the process then ends with 1. */
function report(error: unknown): void {
  process.exitCode = 1;
  process.stderr.write(`${EngineError.is(error) ? error.message : String(error)}\n`);
}

// A reader that goes away, such as `head`, is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

main().catch(report);
