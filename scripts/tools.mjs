// What the build scripts share: files, up-to-date stamps, running programs.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Prints to stderr, so that a program's own output stays clean. */
export function say(message = '') {
  process.stderr.write(`${message}\n`);
}

/**
 * Every file below the given files and folders (relative to the repository) whose name matches, sorted, with
 * forward slashes. Missing ones are skipped.
 * @param {string[]} places
 * @param {RegExp} name
 * @returns {string[]}
 */
export function listFiles(places, name = /./) {
  const found = [];
  for (const place of places) {
    const path = join(root, place);
    if (!existsSync(path)) continue;
    if (statSync(path).isFile()) found.push(place);
    else
      for (const entry of readdirSync(path, { recursive: true, withFileTypes: true }))
        if (entry.isFile())
          found.push(relative(root, join(entry.parentPath ?? entry.path, entry.name)));
  }
  return found
    .map((file) => file.split(sep).join('/'))
    .filter((file) => name.test(file))
    .sort();
}

/**
 * Identifies the state of files: changes when one is added, removed, renamed or written.
 * @param {string[]} files
 */
export function fingerprint(files) {
  const hash = createHash('sha256');
  for (const file of files) {
    const { mtimeMs, size } = statSync(join(root, file));
    hash.update(`${file}\0${mtimeMs}\0${size}\n`);
  }
  return hash.digest('hex');
}

/** @param {string} stampFile @param {string} stamp */
export function isStamped(stampFile, stamp) {
  const path = join(root, stampFile);
  return existsSync(path) && readFileSync(path, 'utf8') === stamp;
}

/** @param {string} stampFile @param {string} stamp */
export function writeStamp(stampFile, stamp) {
  const path = join(root, stampFile);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, stamp);
}

/**
 * Runs a program in the repository with this terminal; returns its exit status (1 where it did not start).
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} options
 */
export function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) say(`${command}: ${error.message}`);
  return status ?? 1;
}

/**
 * A program's stdout, or null where it is missing or ends with none of `okStatus`.
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions & { okStatus?: number[] }} options
 */
export function output(command, args, { okStatus = [0], ...options } = {}) {
  const { status, stdout } = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options });
  return status !== null && okStatus.includes(status) ? String(stdout) : null;
}
