/** hotpath grammar: why a text is, or is not, what a constrained answer may be. */
import type { ConstraintCheck, ConstraintRequest } from '../../index.js';
import type { Cli, Flags } from '../cli.js';
import { type Context, exitCodes, readAll, UsageError, write } from '../context.js';
import { addFlags, type Flag, readFlags } from '../flags.js';
import { addModelFlags, bundledModel, withEngine } from '../model.js';

const formFlags = {
  schema: { value: 'json', about: 'a JSON Schema' },
  regex: { value: 'text', about: 'a regular expression, of the whole text' },
  ebnf: { value: 'source', about: 'a grammar whose rule root is the text' },
  responseFormat: {
    value: 'json',
    about: 'response_format of a request, such as {"type": "json_object"}',
  },
  tools: { value: 'json', about: 'tools that the text calls: an array as OpenAI has it' },
} satisfies Record<string, Flag>;

const toolFlags = {
  toolChoice: {
    value: 'text',
    argument: 'auto, required or a name',
    about: 'with --tools: whether, or which of them, the text has to call',
    standard: 'auto, which constrains calls of strict tools only',
  },
  parallelToolCalls: {
    value: 'boolean',
    about: 'with --tools: the text may have more than one call',
    standard: true,
  },
} satisfies Record<string, Flag>;

interface Forms {
  schema?: unknown;
  regex?: string;
  ebnf?: string;
  responseFormat?: unknown;
  tools?: unknown;
}

/** Of the text before the place that is at fault. */
const shownBefore = 40;
const shownAfter = 20;

export function addGrammar(cli: Cli): void {
  const group = cli.program
    .command('grammar')
    .description('what constrained answers may be: grammar check --help');
  const command = cli
    .command('check [MODEL] [TEXT]', 'whether a constraint allows a text, and where not', group)
    .option('--text <text>', 'the text, where MODEL is left out')
    .option('--json', 'print {"accepted", "complete", "failedAt", "expected"} as one line')
    .addHelpText(
      'after',
      '\nWithout MODEL it is the bundled one: which model it is matters for --tools and special tokens alone.\n' +
        'Without TEXT it is all of stdin, less one newline at its end.\n' +
        'Exit codes: 0 the text is a whole answer, 1 it is not or something failed, 2 the command line is wrong.',
    );
  addFlags(command, formFlags, 'The constraint, one of:');
  addFlags(command, toolFlags);
  addModelFlags(command);
  cli.run(command, async ([model = bundledModel, argument], flags) => {
    const { context } = cli;
    const body = readForm(flags);
    const text = await readText(context, argument, flags.text as string | undefined);
    const check = await withEngine(context, model, flags, (engine) =>
      engine.checkConstraint(body, text),
    );
    await write(context.out, flags.json ? `${JSON.stringify(check)}\n` : described(check, text));
    return check.complete ? exitCodes.ok : exitCodes.failed;
  });
}

/** As fields of a request; what is in them the engine judges. */
function readForm(flags: Flags): ConstraintRequest {
  const forms = readFlags(formFlags, flags) as Forms;
  const names = Object.keys(forms).map((name) => `--${name.replace('F', '-f')}`);
  if (names.length !== 1)
    throw new UsageError(
      'Expected one of --schema, --regex, --ebnf, --response-format and --tools, received ' +
        `${names.length === 0 ? 'none' : names.join(' and ')}.`,
    );
  const choice = readFlags(toolFlags, flags) as {
    toolChoice?: string;
    parallelToolCalls?: boolean;
  };
  if (forms.tools === undefined && Object.keys(choice).length > 0)
    throw new UsageError('--tool-choice and --parallel-tool-calls say something of --tools alone.');
  const { schema, responseFormat, ...fields } = forms;
  const { toolChoice, parallelToolCalls } = choice;
  return {
    ...fields,
    // As text it may be any JSON, such as true.
    ...(schema !== undefined && { json_schema: JSON.stringify(schema) }),
    ...(responseFormat !== undefined && { response_format: responseFormat }),
    ...(toolChoice !== undefined && { tool_choice: choiceOf(toolChoice) }),
    ...(parallelToolCalls !== undefined && { parallel_tool_calls: parallelToolCalls }),
  } as ConstraintRequest;
}

function choiceOf(text: string): ConstraintRequest['tool_choice'] {
  if (text === 'auto' || text === 'required' || text === 'none') return text;
  return { type: 'function', function: { name: text } };
}

async function readText(
  { input }: Context,
  argument: string | undefined,
  flag: string | undefined,
): Promise<string> {
  if (argument !== undefined && flag !== undefined)
    throw new UsageError('The text is given twice: as an argument and as --text.');
  const given = argument ?? flag;
  if (given !== undefined) return given;
  if (input.isTTY)
    throw new UsageError('There is no text. Pass it after MODEL, as --text, or through a pipe.');
  return (await readAll(input)).replace(/\r?\n$/, '');
}

function described({ accepted, complete, failedAt, expected }: ConstraintCheck, text: string) {
  if (complete) {
    const more = expected.filter((each) => each !== 'end of text');
    return `complete\n${more.length === 0 ? '' : listed('It could go on with', more)}`;
  }
  if (accepted) return `accepted, but not complete\n${listed('It has to go on with', expected)}`;
  return `not allowed ${placeOf(text, failedAt)}${listed('Expected', expected)}`;
}

/** The line that is at fault, and a mark below its first character that is. */
function placeOf(text: string, failedAt: number): string {
  const at = charactersBefore(text, failedAt);
  const before = text.slice(0, at);
  const lineStart = before.lastIndexOf('\n') + 1;
  const line = before.split('\n').length;
  const column = [...before.slice(lineStart)].length + 1;
  const place = `at byte ${failedAt} (line ${line}, column ${column})`;
  if (at === text.length) return `${place}: the text ends there\n`;
  const left = [...before.slice(lineStart)].slice(-shownBefore).map(visible).join('');
  const right = [...text.slice(at).split('\n', 1)[0]!].slice(0, shownAfter).map(visible).join('');
  return `${place}: ${JSON.stringify(String.fromCodePoint(text.codePointAt(at)!))}\n  ${left}${right}\n  ${' '.repeat(left.length)}^\n`;
}

/** The UTF-16 offset of the character that this byte of the text's UTF-8 is in. */
function charactersBefore(text: string, byte: number): number {
  let [bytes, units] = [0, 0];
  for (const char of text) {
    bytes += Buffer.byteLength(char);
    if (bytes > byte) break;
    units += char.length;
  }
  return units;
}

/** One column each, as far as a terminal has it so. */
function visible(char: string): string {
  return /[\p{C}\p{M}\p{Zl}\p{Zp}]/u.test(char) ? '\u00b7' : char;
}

function listed(head: string, items: readonly string[]): string {
  if (items.length === 0) return `${head} nothing: no text can follow.\n`;
  return `${head}:\n${items.map((item) => `  ${item}\n`).join('')}`;
}
