/** How the command line speaks of errors, models and tables. */
import { inspect } from 'node:util';
import { EngineError } from '../index.js';
import { CommandError, UsageError } from './context.js';

/** One line. Of an error that says all there is to say only the message; of any other the kind too. */
export function errorLine(error: unknown): string {
  const known =
    EngineError.is(error) || error instanceof CommandError || error instanceof UsageError;
  const text = known ? error.message : String(error);
  return text.replaceAll(/\s*\n\s*/g, ' ').trim();
}

/** For --verbose: the stack, the fields and the causes. */
export function errorDetails(error: unknown): string {
  return inspect(error, { depth: 4 });
}

/** What the operating system says of a file, as a sentence: without its codes and call names. */
export function fileError(action: string, file: string, error: unknown): CommandError {
  const { code, message } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    ENOENT: 'there is no such file or folder',
    EISDIR: 'it is a folder',
    EACCES: 'permission denied',
    ENOSPC: 'no space is left on the disk',
  };
  return new CommandError(`Cannot ${action} '${file}': ${reasons[code ?? ''] ?? message}.`, {
    cause: error,
  });
}

/** Columns padded to their widest cell; those whose cells are all numbers stand right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)));
  const right = head.map((_, i) => rows.length > 0 && rows.every((row) => isNumber(row[i])));
  const line = (row: readonly string[]) =>
    head
      .map((_, i) => {
        const cell = row[i] ?? '';
        return right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!);
      })
      .join('  ')
      .trimEnd();
  return `${all.map(line).join('\n')}\n`;
}

function isNumber(cell: string | undefined): boolean {
  return cell !== undefined && /^-?[\d,.]+$/.test(cell);
}
