/** What the user's model string means: a folder, a config.json, or a hub id. */
import { promises as fs } from 'node:fs';
import { basename, resolve } from 'node:path';
import { loadError } from '../errors.js';
import { show } from '../models/values.js';

export type Location =
  | { kind: 'folder'; folder: string; name: string }
  /** loadFormat 'dummy' only. */
  | { kind: 'config'; file: string; name: string }
  | { kind: 'hub'; id: string };

/** `org/name`, as the hub allows it. */
const HUB_ID = /^[\w.-]{1,96}\/[\w.-]{1,96}$/;

/** Existing paths win over hub ids. */
export async function locate(model: string): Promise<Location> {
  if (typeof model !== 'string' || model === '' || model.includes('\0'))
    throw loadError(
      `model: expected a folder or a hub id such as "org/name", received ${show(model)}.`,
      'model_not_found',
    );
  const path = resolve(model);
  const stat = await fs.stat(path).catch(() => null);
  if (stat?.isDirectory()) return { kind: 'folder', folder: path, name: basename(path) };
  if (stat?.isFile() && path.endsWith('.json'))
    return { kind: 'config', file: path, name: basename(path, '.json') };
  if (stat)
    throw loadError(
      `${path}: expected the folder of a checkpoint, received a file. Pass the folder that holds config.json and the .safetensors files.`,
      'model_not_found',
    );
  if (isHubId(model)) return { kind: 'hub', id: model };
  throw loadError(
    `${show(model)}: expected an existing folder or a hub id such as "org/name", received a path where nothing is (${path}). Check the path.`,
    'model_not_found',
  );
}

function isHubId(model: string): boolean {
  return HUB_ID.test(model) && !/^[.-]|[.-]$|\/[.-]|[.-]\/|\.\.|--/.test(model);
}
