/**
 * The Hugging Face cache, shared with Python's huggingface_hub:
 * `<root>/models--org--name/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<file> -> blob}`.
 */
import { promises as fs } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { loadError } from '../errors.js';
import { show } from '../models/values.js';
import { readJsonObject } from './json.js';
import { exists, INDEX_FILE, readWeightMap, SINGLE_FILE } from './shards.js';

export const COMMIT = /^[0-9a-f]{40}$/;

/** HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  return env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(homeOfHub(env), 'hub');
}

export function homeOfHub(env: NodeJS.ProcessEnv = process.env): string {
  return env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
}

/** HF_HUB_OFFLINE, as huggingface_hub reads it. */
export function isOffline(env: NodeJS.ProcessEnv = process.env): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((env.HF_HUB_OFFLINE ?? '').toUpperCase());
}

export function repoFolder(root: string, id: string): string {
  return join(root, `models--${id.replace('/', '--')}`);
}

/** A branch, tag or commit; it becomes part of paths. */
export function checkRevision(revision: string): void {
  if (!/^[\w][\w./-]*$/.test(revision) || revision.includes('..'))
    throw loadError(
      `revision: expected a branch, tag or commit such as "main", received ${show(revision)}.`,
      'model_not_found',
    );
}

export interface Snapshot {
  folder: string;
  /** The first file that is not there; null when the snapshot can be loaded. */
  missing: string | null;
  hasTokenizer: boolean;
}

/** The cached snapshot of a revision; null when there is none. No network. */
export async function findSnapshot(
  repo: string,
  revision: string,
  loadFormat: 'auto' | 'dummy',
): Promise<Snapshot | null> {
  const commit = COMMIT.test(revision)
    ? revision
    : (await fs.readFile(join(repo, 'refs', revision), 'utf8').catch(() => '')).trim();
  const folder = join(repo, 'snapshots', commit);
  if (!COMMIT.test(commit) || !(await exists(folder))) return null;
  const missing = await firstMissing(folder, loadFormat);
  return { folder, missing, hasTokenizer: await exists(join(folder, 'tokenizer.json')) };
}

async function firstMissing(folder: string, loadFormat: 'auto' | 'dummy'): Promise<string | null> {
  if (!(await exists(join(folder, 'config.json')))) return 'config.json';
  if (loadFormat === 'dummy' || (await exists(join(folder, SINGLE_FILE)))) return null;
  const index = await readJsonObject(join(folder, INDEX_FILE));
  if (index === null) return SINGLE_FILE;
  for (const shard of new Set(readWeightMap(index, join(folder, INDEX_FILE)).values()))
    if (!(await exists(join(folder, shard)))) return shard;
  return null;
}
