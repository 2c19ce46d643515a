/** Checkpoints by hub id: from the Hugging Face cache, or downloaded into it. */
import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import type { ListFileEntry } from '@huggingface/hub';
import { EngineError, loadError } from '../errors.js';
import {
  COMMIT,
  cacheRoot,
  checkRevision,
  findSnapshot,
  homeOfHub,
  isOffline,
  repoFolder,
  type Snapshot,
} from './cache.js';
import { fetchFile, type RemoteFile, reason } from './fetch_file.js';
import type { LoadProgress } from './index.js';
import { readJsonObject } from './json.js';
import { exists, INDEX_FILE, readWeightMap, SINGLE_FILE } from './shards.js';

export interface HubOptions {
  loadFormat: 'auto' | 'dummy';
  /** Branch, tag or commit; default "main". */
  revision?: string;
  /** The cache's root; default: as huggingface_hub has it (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME). */
  cacheDir?: string;
  /** Never use the network; default: HF_HUB_OFFLINE. */
  offline?: boolean;
  /** Default: HF_TOKEN, else the token that `hf auth login` stored. */
  token?: string;
  /** The hub's address; default: HF_ENDPOINT, else https://huggingface.co. */
  endpoint?: string;
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
  /** For proxies and tests; default: the global one. */
  fetch?: typeof fetch;
  /** @internal Wait before the first retry; default 500. */
  retryDelayMs?: number;
}

const PARALLEL_FILES = 4;
const PROGRESS_INTERVAL_MS = 50;

/** Returns the folder of a snapshot that has all files. A complete cached one is used without asking the hub. */
export async function resolveHub(id: string, options: HubOptions): Promise<string> {
  const revision = options.revision ?? 'main';
  checkRevision(revision);
  const repo = repoFolder(options.cacheDir ?? cacheRoot(), id);
  const cached = await findSnapshot(repo, revision, options.loadFormat);
  const complete = cached !== null && cached.missing === null;
  if (options.offline ?? isOffline()) {
    if (complete) return cached.folder;
    throw notCached(id, revision, repo, cached);
  }
  if (complete && (cached.hasTokenizer || options.loadFormat === 'dummy')) return cached.folder;
  return download(id, revision, repo, options);
}

async function download(
  id: string,
  revision: string,
  repo: string,
  options: HubOptions,
): Promise<string> {
  const endpoint = (options.endpoint ?? process.env.HF_ENDPOINT ?? '').replace(/\/+$/, '');
  const hubUrl = endpoint || 'https://huggingface.co';
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const fetch = await authorized(options, hubUrl, signal);
  const { commit, entries } = await list(id, revision, hubUrl, fetch, options.signal);
  const snapshot = join(repo, 'snapshots', commit);
  await fs.mkdir(snapshot, { recursive: true });
  await fs.mkdir(join(repo, 'blobs'), { recursive: true });

  const files = entries.map((entry) => remoteFile(entry, `${hubUrl}/${id}/resolve/${commit}`));
  const small = files.filter((file) => isSmall(file.name, options.loadFormat));
  const progress = new Progress(options.onProgress);
  const get = (file: Wanted) =>
    place(file, repo, snapshot, (bytes) => progress.add(file.name, bytes), {
      fetch,
      signal,
      attempts: 5,
      retryDelayMs: options.retryDelayMs ?? 500,
    });
  try {
    // Weights come last: a snapshot that has them has everything, also after an interruption.
    progress.expect(small);
    await eachParallel(small, get);
    if (options.loadFormat === 'auto') {
      const weights = await weightFiles(id, files, snapshot);
      await checkSpace(repo, weights);
      progress.expect(weights);
      await eachParallel(weights, get);
    }
    const ref = join(repo, 'refs', revision);
    if (!COMMIT.test(revision)) {
      await fs.mkdir(join(ref, '..'), { recursive: true });
      await fs.writeFile(ref, commit);
    }
  } catch (error) {
    stop.abort(); // the files that are under way beside the one that failed
    options.signal?.throwIfAborted();
    throw EngineError.is(error) ? error : unreachable(id, hubUrl, error);
  }
  progress.finish();
  return snapshot;
}

interface Wanted extends RemoteFile {
  /** Name of the blob. */
  etag: string;
}

/** The commit that the revision stands for, and the files at the root of the repository. */
async function list(
  id: string,
  revision: string,
  hubUrl: string,
  fetch: typeof globalThis.fetch,
  signal?: AbortSignal,
): Promise<{ commit: string; entries: ListFileEntry[] }> {
  try {
    const hub = await import('@huggingface/hub');
    const info = await hub.modelInfo({
      name: id,
      revision,
      additionalFields: ['sha'],
      hubUrl,
      fetch,
    });
    const commit = info.sha;
    if (typeof commit !== 'string' || !COMMIT.test(commit))
      throw new Error(`expected a commit, received ${commit}`);
    const entries: ListFileEntry[] = [];
    for await (const entry of hub.listFiles({ repo: id, revision: commit, hubUrl, fetch }))
      if (entry.type === 'file' && /^\w[\w.-]*$/.test(entry.path)) entries.push(entry);
    return { commit, entries };
  } catch (error) {
    signal?.throwIfAborted();
    throw unreachable(id, hubUrl, error, revision);
  }
}

function remoteFile(entry: ListFileEntry, base: string): Wanted {
  const { path, lfs, oid, xetHash, size } = entry;
  const etag = lfs?.oid ?? xetHash ?? oid ?? '';
  if (!/^[0-9a-f]{40,64}$/.test(etag) || !Number.isSafeInteger(lfs?.size ?? size))
    throw loadError(
      `The hub's listing of ${path}: expected a size and a hash, received ${size} and "${etag}".`,
      'download_failed',
    );
  let digest: RemoteFile['digest'] = null;
  if (lfs) digest = { kind: 'sha256', hex: lfs.oid };
  else if (oid && !xetHash) digest = { kind: 'git', hex: oid };
  return { name: path, url: `${base}/${path}`, bytes: lfs?.size ?? size, digest, etag };
}

/** What loading reads besides weights. */
function isSmall(name: string, loadFormat: 'auto' | 'dummy'): boolean {
  if (loadFormat === 'dummy') return /^(generation_)?config\.json$/.test(name);
  return (
    /\.jinja$/.test(name) ||
    (/\.json$/.test(name) && !/\.(bin|h5|msgpack)\.index\.json$/.test(name))
  );
}

/** model.safetensors, else the shards of the index; some repositories hold the weights in other forms too. */
async function weightFiles(id: string, files: Wanted[], snapshot: string): Promise<Wanted[]> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const single = byName.get(SINGLE_FILE);
  if (single) return [single];
  const index = await readJsonObject(join(snapshot, INDEX_FILE));
  if (index === null)
    throw loadError(
      `${id}: expected ${SINGLE_FILE} or ${INDEX_FILE} on the hub, received ${
        files
          .map((f) => f.name)
          .slice(0, 12)
          .join(', ') || 'an empty repository'
      }. Use a repository with safetensors weights.`,
      'checkpoint_invalid',
    );
  const names = new Set(readWeightMap(index, join(snapshot, INDEX_FILE)).values());
  return [...names].map((name) => {
    const file = byName.get(name);
    if (!file)
      throw loadError(
        `${id}: expected the shard ${name} of ${INDEX_FILE} on the hub, received a repository without it.`,
        'checkpoint_invalid',
      );
    return file;
  });
}

/** Puts a file into blobs/ if it is not there, and its name into the snapshot. */
async function place(
  file: Wanted,
  repo: string,
  snapshot: string,
  onBytes: (bytes: number) => void,
  options: Omit<Parameters<typeof fetchFile>[2], 'onBytes'>,
): Promise<void> {
  const blob = join(repo, 'blobs', file.etag);
  if (await exists(blob)) onBytes(file.bytes);
  else await fetchFile(file, blob, { ...options, onBytes });
  const name = join(snapshot, file.name);
  if (await exists(name)) return;
  // Renamed into place: another load of the model never sees the name go away, and a link to a blob that is
  // gone is replaced.
  const fresh = `${name}.${randomUUID()}`;
  try {
    await fs.symlink(join('..', '..', 'blobs', file.etag), fresh);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EPERM' && code !== 'ENOTSUP') throw error;
    await fs.copyFile(blob, fresh); // file systems without links
  }
  await fs.rename(fresh, name);
}

async function checkSpace(repo: string, files: Wanted[]): Promise<void> {
  let needed = 0;
  for (const file of files) {
    const blob = join(repo, 'blobs', file.etag);
    if (await exists(blob)) continue;
    needed += file.bytes - ((await fs.stat(`${blob}.incomplete`).catch(() => null))?.size ?? 0);
  }
  const { bavail, bsize } = await fs.statfs(repo);
  if (needed > bavail * bsize)
    throw loadError(
      `${repo}: expected ${needed} bytes of free space for the weights, received ${bavail * bsize}. Free some, or set HF_HUB_CACHE to a folder on another disk.`,
      'download_failed',
    );
}

/** Adds token and signal to every request. fetch itself drops the token where a redirect leaves the hub. */
async function authorized(
  options: HubOptions,
  hubUrl: string,
  signal: AbortSignal,
): Promise<typeof fetch> {
  const token = options.token ?? (await storedToken());
  const inner = options.fetch ?? fetch;
  return (input, init) => {
    const headers = new Headers(init?.headers);
    const { origin } = new URL(input instanceof Request ? input.url : input);
    if (token && origin === new URL(hubUrl).origin) headers.set('authorization', `Bearer ${token}`);
    headers.set('user-agent', 'hotpath');
    return inner(input, { ...init, headers, signal });
  };
}

async function storedToken(): Promise<string> {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH } = process.env;
  const given = HF_TOKEN ?? HUGGING_FACE_HUB_TOKEN;
  if (given !== undefined) return given.trim();
  const path = HF_TOKEN_PATH ?? join(homeOfHub(), 'token');
  return (await fs.readFile(path, 'utf8').catch(() => '')).trim();
}

/** The first failure is thrown once no file is being written any more. */
async function eachParallel<T>(items: T[], run: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  let failure: { error: unknown } | null = null;
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined && !failure; item = queue.shift())
      await run(item).catch((error) => {
        failure ??= { error };
      });
  };
  await Promise.all(Array.from({ length: PARALLEL_FILES }, worker));
  if (failure) throw (failure as { error: unknown }).error;
}

class Progress {
  #done = 0;
  #total = 0;
  #reported = 0;

  constructor(readonly report?: (progress: LoadProgress) => void) {}

  expect(files: RemoteFile[]): void {
    for (const file of files) this.#total += file.bytes;
  }

  add(file: string, bytes: number): void {
    this.#done += bytes;
    const now = Date.now();
    if (now - this.#reported < PROGRESS_INTERVAL_MS) return;
    this.#reported = now;
    this.#send(file);
  }

  finish(): void {
    this.#send();
  }

  #send(file?: string): void {
    this.report?.({ phase: 'download', file, bytesDone: this.#done, bytesTotal: this.#total });
  }
}

function notCached(
  id: string,
  revision: string,
  repo: string,
  found: Snapshot | null,
): EngineError {
  const seen = found ? `an incomplete snapshot without ${found.missing} (${found.folder})` : 'none';
  return loadError(
    `${id}: expected a complete snapshot of revision "${revision}" in the Hugging Face cache (${repo}), received ${seen}; offline, nothing is downloaded. Load it once with network (HF_HUB_OFFLINE unset), or pass the folder of a checkpoint.`,
    'model_not_found',
  );
}

function unreachable(id: string, hubUrl: string, error: unknown, revision?: string): EngineError {
  const status = (error as { statusCode?: number }).statusCode;
  const at = revision === undefined ? id : `${id} (revision "${revision}")`;
  if (status === 404)
    return loadError(
      `${at}: expected a model on ${hubUrl}, received HTTP 404: no such model or revision. Check the name; a folder must exist or start with "./".`,
      'model_not_found',
      error,
    );
  if (status === 401 || status === 403)
    return loadError(
      `${at}: expected access on ${hubUrl}, received HTTP ${status}: the model does not exist, is private, or its terms must be accepted first. Check the name, accept the terms on its page, and set HF_TOKEN.`,
      'download_failed',
      error,
    );
  return loadError(
    `${at}: expected an answer of ${hubUrl}, received: ${reason(error)}. Check the network; without one, pass a folder or fill the cache beforehand.`,
    'download_failed',
    error,
  );
}
