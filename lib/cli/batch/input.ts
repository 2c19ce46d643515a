/** Lines of OpenAI's batch input: { custom_id, method, url, body }. */
import { isBlank, type Line, parseLine, readLines } from './lines.js';
import type { Earlier } from './output.js';

export interface Task {
  kind: 'task';
  line: number;
  customId: string;
  method: unknown;
  url: unknown;
  body: unknown;
}

/** A line that cannot be told from others by its custom_id, so that its number has to name it. */
export interface Refusal {
  kind: 'refusal';
  line: number;
  customId: string | null;
  code: 'invalid_json' | 'invalid_custom_id' | 'duplicate_custom_id';
  message: string;
}

/** In the file's order. A custom_id counts once: its second line is refused. */
export async function* readTasks(file: string): AsyncGenerator<Task | Refusal> {
  const lineOf = new Map<string, number>();
  for await (const line of readLines(file)) {
    if (isBlank(line)) continue;
    const task = readTask(line);
    const first = task.kind === 'task' ? lineOf.get(task.customId) : undefined;
    if (first !== undefined) {
      yield refusal(
        line,
        'duplicate_custom_id',
        `custom_id '${task.customId}' is that of line ${first} already. Give each line its own.`,
        task.customId,
      );
      continue;
    }
    if (task.kind === 'task') lineOf.set(task.customId, task.line);
    yield task;
  }
}

/** Whether an earlier run has answered it. A refused line that has been mended is a task, and missing. */
export function isAnswered(task: Task | Refusal, earlier: Earlier): boolean {
  return task.kind === 'task' ? earlier.ids.has(task.customId) : earlier.lines.has(task.line);
}

/** How many lines there are to answer, and how many have no answer yet. */
export async function countTasks(
  file: string,
  earlier: Earlier,
): Promise<{ total: number; missing: number }> {
  let total = 0;
  let missing = 0;
  for await (const task of readTasks(file)) {
    total += 1;
    if (!isAnswered(task, earlier)) missing += 1;
  }
  return { total, missing };
}

function readTask(line: Line): Task | Refusal {
  let value: Record<string, unknown>;
  try {
    value = parseLine(line);
  } catch (error) {
    const reason = (error as Error).message;
    return refusal(line, 'invalid_json', `expected one JSON object per line: ${reason}.`);
  }
  const { custom_id: customId, method, url, body } = value;
  if (typeof customId !== 'string' || customId === '')
    return refusal(
      line,
      'invalid_custom_id',
      `custom_id must be a non-empty string, got ${JSON.stringify(customId) ?? 'nothing'}.`,
    );
  return { kind: 'task', line: line.number, customId, method, url, body };
}

function refusal(
  { number }: Line,
  code: Refusal['code'],
  reason: string,
  customId: string | null = null,
): Refusal {
  return {
    kind: 'refusal',
    line: number,
    customId,
    code,
    message: `Line ${number}: ${reason}`.slice(0, 500),
  };
}
