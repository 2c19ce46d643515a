/** One file over HTTP: resumed where an earlier try ended, verified, and only then given its name. */
import { createHash, type Hash } from 'node:crypto';
import { constants, promises as fs } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EngineError, loadError } from '../errors.js';

export interface RemoteFile {
  /** For messages. */
  name: string;
  url: string;
  bytes: number;
  /** Of the content; null when the hub gave none. */
  digest: { kind: 'sha256' | 'git'; hex: string } | null;
}

export interface FetchOptions {
  fetch: typeof fetch;
  signal: AbortSignal;
  /** Called with the bytes that became available: at once what an earlier try left, then each chunk. */
  onBytes: (bytes: number) => void;
  /** Tries without any progress before giving up. */
  attempts: number;
  /** Before the second try; doubles with each further one. */
  retryDelayMs: number;
}

const READ_BYTES = 1 << 20;

/**
 * Downloads into `<target>.incomplete`, which survives failures and is continued by the next call, then
 * renames it to `target`. Writers of the same file do not disturb each other: all write the same bytes at the
 * same places.
 */
export async function fetchFile(
  file: RemoteFile,
  target: string,
  options: FetchOptions,
): Promise<void> {
  const part = `${target}.incomplete`;
  const left = await fs.stat(part).catch(() => null);
  if (left && left.size > file.bytes) await fs.rm(part, { force: true });
  const handle = await fs.open(part, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    const hash = startHash(file);
    let done = await hashPart(handle, hash, options);
    let failures = 0;
    while (done < file.bytes) {
      const before = done;
      try {
        for await (const chunk of body(file, done, options)) {
          if (done + chunk.length > file.bytes)
            throw failed(file, `expected ${file.bytes} bytes, received more.`);
          await writeAll(handle, chunk, done);
          hash.update(chunk);
          done += chunk.length;
          options.onBytes(chunk.length);
        }
        if (done < file.bytes) throw new Error(`the connection ended after ${done} bytes`);
      } catch (error) {
        options.signal.throwIfAborted();
        failures = done > before ? 1 : failures + 1;
        if (isFinal(error)) throw error;
        if (failures >= options.attempts)
          throw failed(
            file,
            `expected ${file.bytes} bytes, received ${done} (${reason(error)}). What arrived is kept; load again to continue.`,
            error,
          );
        await sleep(options.retryDelayMs * 2 ** (failures - 1), undefined, {
          signal: options.signal,
        });
      }
    }
    await verify(file, hash, part);
  } finally {
    await handle.close();
  }
  await fs.rename(part, target).catch(async (error) => {
    // Another writer of the same file was first.
    if (!(await fs.stat(target).catch(() => null))) throw error;
  });
}

function startHash(file: RemoteFile): Hash {
  if (file.digest?.kind !== 'git') return createHash('sha256');
  return createHash('sha1').update(`blob ${file.bytes}\0`);
}

/** Feeds the hash with what an earlier try left; returns how much that is. */
async function hashPart(
  handle: fs.FileHandle,
  hash: Hash,
  { onBytes, signal }: FetchOptions,
): Promise<number> {
  const buffer = new Uint8Array(READ_BYTES);
  for (let done = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, done);
    if (bytesRead === 0) return done;
    hash.update(buffer.subarray(0, bytesRead));
    onBytes(bytesRead);
    done += bytesRead;
  }
}

/** The file's bytes from `start` on. */
async function* body(
  file: RemoteFile,
  start: number,
  { fetch, signal }: FetchOptions,
): AsyncGenerator<Uint8Array> {
  // identity: ranges of a compressed answer would be ranges of other bytes.
  const headers: Record<string, string> = { 'accept-encoding': 'identity' };
  if (start > 0) headers.range = `bytes=${start}-`;
  const response = await fetch(file.url, { headers, signal });
  let skip = 0;
  if (response.status === 206) {
    const range = response.headers.get('content-range') ?? '';
    if (!range.startsWith(`bytes ${start}-`)) {
      await response.body?.cancel();
      throw failed(file, `expected the range "bytes ${start}-", received "${range}".`);
    }
  } else if (response.status === 200) {
    skip = start; // The server does not know ranges: what is there already is dropped.
  } else {
    await response.body?.cancel();
    const temporary = response.status >= 500 || response.status === 429 || response.status === 408;
    if (temporary) throw new Error(`HTTP ${response.status}`);
    throw failed(file, `expected HTTP 200 or 206 from ${file.url}, received ${response.status}.`);
  }
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    const rest = chunk.subarray(Math.min(skip, chunk.length));
    skip -= chunk.length - rest.length;
    if (rest.length > 0) yield rest;
  }
}

async function writeAll(handle: fs.FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < chunk.length) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}

async function verify(file: RemoteFile, hash: Hash, part: string): Promise<void> {
  const hex = hash.digest('hex');
  if (file.digest === null || file.digest.hex === hex) return;
  await fs.rm(part, { force: true });
  throw failed(
    file,
    `expected ${file.digest.kind === 'git' ? 'git hash' : 'sha256'} ${file.digest.hex}, received content with ${hex}. The download was damaged and is removed; load again to start it anew.`,
  );
}

function failed(file: RemoteFile, problem: string, cause?: unknown): EngineError {
  return loadError(`Download of ${file.name} failed: ${problem}`, 'download_failed', cause);
}

/** Errors of ours, and of the disk, do not go away by asking again. */
function isFinal(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code === 'download_failed' || syscall === 'write';
}

/** Why a fetch failed: undici hides it in `cause`. */
export function reason(error: unknown): string {
  const { message, cause } = error as Error;
  const inner = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? '') : '';
  const detail = cause instanceof Error ? `${inner} ${cause.message}`.trim() : '';
  return detail ? `${message}: ${detail}` : message;
}
