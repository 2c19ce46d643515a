/** Reading the JSON files of a checkpoint. */
import { promises as fs } from 'node:fs';
import { loadError } from '../errors.js';
import { isObject, type JsonObject, show } from '../models/values.js';

/** Far above any real one; tokenizer.json, the largest, is read elsewhere. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;

/** Reads a file that holds one JSON object. Null when there is no such file. */
export async function readJsonObject(path: string): Promise<JsonObject | null> {
  let text: string;
  try {
    const stat = await fs.stat(path);
    if (!stat.isFile()) throw loadError(`${path}: expected a file.`, 'checkpoint_invalid');
    if (stat.size > MAX_JSON_BYTES)
      throw loadError(
        `${path}: expected a JSON file of at most ${MAX_JSON_BYTES} bytes, received ${stat.size} bytes.`,
        'checkpoint_invalid',
      );
    text = await fs.readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    if (code === 'checkpoint_invalid') throw error;
    throw loadError(`${path}: cannot be read: ${message}`, 'checkpoint_invalid', error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw loadError(
      `${path}: expected a JSON object, received text that is not JSON (${(error as Error).message}). Restore the file from its source.`,
      'checkpoint_invalid',
      error,
    );
  }
  if (!isObject(value))
    throw loadError(
      `${path}: expected a JSON object, received ${show(value)}.`,
      'checkpoint_invalid',
    );
  return value;
}
