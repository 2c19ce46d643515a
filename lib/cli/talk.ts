/** The ways to talk to a model: at a terminal, line by line from a pipe, by examples. */
import { createInterface } from 'node:readline';
import { type Context, write } from './context.js';
import type { Conversation } from './conversation.js';
import { errorLine } from './report.js';

/** What is asked when nobody asks; the second of a pair is a follow-up. The bundled model can answer them. */
const examples = [
  ["How many r's are in 'strawberry'?"],
  ['List 3 countries and their capitals.', 'What was the first country?'],
  ['What is 467 + 385?'],
  ['Extract the person as JSON: Ada lives in Paris and is 31.'],
];

/** A pipe that nobody writes to and nobody closes looks like one whose writer is slow, for that long. */
const silentPipeMs = 10_000;

/** One turn that failed does not end the conversation; what `talk` resolves with tells. */
class Turns {
  failed = false;
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  async take(turn: Promise<void>): Promise<void> {
    try {
      await turn;
    } catch (error) {
      this.failed = true;
      await write(this.#context.err, `${errorLine(error)}\n`);
    }
  }
}

/** Until /exit or the end of input. Ctrl-C ends the answer; without one to end it leaves. */
export async function chat(context: Context, conversation: Conversation): Promise<boolean> {
  const { input, out: output } = context;
  await write(
    output,
    'Ask something. /clear forgets the conversation, /result TEXT answers a tool call, /exit (or Ctrl-D) leaves.\n',
  );
  const lines = createInterface({ input, output, prompt: '> ' });
  const turns = new Turns(context);
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
      await turns.take(take(conversation, prompt, answering.signal));
      answering = null;
    }
    if (!closed) lines.prompt();
  }
  lines.close();
  return !turns.failed;
}

function take(conversation: Conversation, line: string, signal?: AbortSignal): Promise<void> {
  const result = /^\/result\s+(.+)$/.exec(line)?.[1];
  return result === undefined
    ? conversation.ask(line, signal)
    : conversation.answerCall(result, signal);
}

/**
 * Every line is a turn of one conversation. `withExamples`: where there is none (or nothing comes for ten seconds) some
 * examples are shown. Resolves with whether all went well.
 */
export async function answerLines(
  context: Context,
  talk: () => Conversation,
  withExamples: boolean,
): Promise<boolean> {
  const { input, err } = context;
  const lines = createInterface({ input, crlfDelay: Infinity });
  const conversation = talk();
  const turns = new Turns(context);
  let asked = false;
  const silence = withExamples
    ? setTimeout(() => {
        err.write('Nothing on stdin: here are some examples.\n');
        lines.close();
        input.destroy();
      }, silentPipeMs)
    : undefined;
  for await (const line of lines) {
    clearTimeout(silence);
    if (line.trim() === '') continue;
    asked = true;
    await turns.take(take(conversation, line.trim()));
  }
  clearTimeout(silence);
  if (!asked && withExamples) await showExamples(context, talk);
  return !turns.failed;
}

async function showExamples({ out }: Context, talk: () => Conversation): Promise<void> {
  for (const turns of examples) {
    const conversation = talk();
    for (const prompt of turns) {
      await write(out, `> ${prompt}\n`);
      await conversation.ask(prompt);
      await write(out, '\n');
    }
  }
}
