/** The file of results: what an earlier run left in it, and a new line per result. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, promises as fs } from 'node:fs';
import { CommandError } from '../context.js';
import { fileError } from '../report.js';
import { isBlank, type Line, parseLine, readLines } from './lines.js';

/** A line of OpenAI's batch output; `line` is set where only the number tells which line of the input it answers. */
export interface ResultLine {
  id: string;
  custom_id: string | null;
  response: { status_code: number; request_id: string; body: unknown } | null;
  error: { code: string; message: string; line?: number } | null;
}

/** What is there already. */
export interface Earlier {
  ids: Set<string>;
  /** Numbers of refused input lines. */
  lines: Set<number>;
  succeeded: number;
  failed: number;
  /** Bytes of a half-written last line, which is cut off. */
  cut: number;
}

const idStart = 'batch_req_';
/** What every line of `resultLine` begins with. */
const lineStart = `{"id":"${idStart}`;

export function resultLine(result: Omit<ResultLine, 'id'>): string {
  return `${JSON.stringify({ id: `${idStart}${randomBytes(12).toString('hex')}`, ...result })}\n`;
}

export class Output {
  readonly #handle: fs.FileHandle;
  readonly #file: string;
  #last: Promise<void> = Promise.resolve();

  private constructor(handle: fs.FileHandle, file: string) {
    this.#handle = handle;
    this.#file = file;
  }

  /**
   * Opens a file to add to. A half-written last line, as a killed run leaves it, is cut off. With `retryFailed`
   * results other than successes are dropped, so that they are missing again.
   * Throws CommandError where the file holds anything but results of a batch, which is left as it is.
   */
  static async open(
    file: string,
    options: { retryFailed: boolean },
  ): Promise<{ output: Output; earlier: Earlier }> {
    const { earlier, size } = await survey(file);
    try {
      if (earlier.cut > 0) await fs.truncate(file, size);
      const retries = options.retryFailed && earlier.failed > 0;
      if (retries) await dropFailed(file);
      const kept = retries ? { ...(await survey(file)).earlier, cut: earlier.cut } : earlier;
      return { output: new Output(await fs.open(file, 'a'), file), earlier: kept };
    } catch (error) {
      throw error instanceof CommandError ? error : fileError('write', file, error);
    }
  }

  /** Lines are whole and one after the other, however many write at a time. */
  add(line: string): Promise<void> {
    this.#last = this.#last.then(() => this.#handle.appendFile(line));
    return this.#last.catch((error) => {
      throw fileError('write', this.#file, error);
    });
  }

  async close(): Promise<void> {
    await this.#last.catch(() => {});
    await this.#handle.close();
  }
}

async function survey(file: string): Promise<{ earlier: Earlier; size: number }> {
  const earlier: Earlier = {
    ids: new Set(),
    lines: new Set(),
    succeeded: 0,
    failed: 0,
    cut: 0,
  };
  let size = 0;
  if (!(await exists(file))) return { earlier, size };
  for await (const line of readLines(file)) {
    if (!line.ended) {
      const text = line.bytes.toString('utf8');
      if (!text.startsWith(lineStart) && !lineStart.startsWith(text)) throw foreign(file, line);
      earlier.cut = line.bytes.length;
      break;
    }
    size = line.start + line.bytes.length + 1;
    if (isBlank(line)) continue;
    const result = readResult(line);
    if (result === null) throw foreign(file, line);
    if (isSuccess(result)) earlier.succeeded += 1;
    else earlier.failed += 1;
    if (result.error?.line !== undefined) earlier.lines.add(result.error.line);
    else if (result.custom_id !== null) earlier.ids.add(result.custom_id);
  }
  return { earlier, size };
}

function isSuccess({ response }: ResultLine): boolean {
  return response?.status_code === 200;
}

function readResult(line: Line): ResultLine | null {
  try {
    const value = parseLine(line);
    const isResult =
      typeof value.id === 'string' &&
      value.id.startsWith(idStart) &&
      'custom_id' in value &&
      'response' in value &&
      'error' in value;
    return isResult ? (value as unknown as ResultLine) : null;
  } catch {
    return null;
  }
}

function foreign(file: string, { number }: Line): CommandError {
  return new CommandError(
    `'${file}' line ${number}: expected a result of an earlier batch run, received something else. ` +
      'Nothing was changed; name another output file.',
  );
}

/** By way of a second file, so that at no moment results are lost. */
async function dropFailed(file: string): Promise<void> {
  const copy = `${file}.retry`;
  const stream = createWriteStream(copy);
  try {
    for await (const line of readLines(file)) {
      const result = readResult(line);
      if (result === null || !isSuccess(result)) continue;
      if (!stream.write(Buffer.concat([line.bytes, Buffer.from('\n')])))
        await once(stream, 'drain');
    }
    stream.end();
    await once(stream, 'close');
    await fs.rename(copy, file);
  } finally {
    stream.destroy();
    await fs.rm(copy, { force: true });
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await fs.access(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw fileError('read', file, error);
  }
}
