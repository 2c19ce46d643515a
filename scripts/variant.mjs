// The addon is built without the CUDA back end (cpu) or with it (cuda); which of the two build/Release holds is
// remembered, so that no build that did not say so replaces the one by the other.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findNvcc, hasNvidiaGpu } from './toolchain.mjs';
import { root, writeStamp } from './tools.mjs';

/** @typedef {'cpu' | 'cuda'} Variant */

const file = 'build/variant';

/** @param {string} name @returns {name is Variant} */
export function isVariant(name) {
  return name === 'cpu' || name === 'cuda';
}

/** What build/Release was last built as; null before the first build. @returns {Variant | null} */
export function rememberedVariant() {
  const path = join(root, file);
  const name = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
  return isVariant(name) ? name : null;
}

/** @param {Variant} variant */
export function rememberVariant(variant) {
  writeStamp(file, `${variant}\n`);
}

/**
 * What was asked for, else what build/Release holds, else what fits this machine: a GPU alone cannot compile, and
 * a toolkit without a GPU would only cost minutes.
 * @param {Variant | undefined} asked
 * @param {() => Variant | null} remembered
 * @param {{ hasGpu: () => boolean, hasNvcc: () => boolean }} machine
 * @returns {Variant}
 */
export function chooseVariant(
  asked,
  remembered = rememberedVariant,
  machine = { hasGpu: hasNvidiaGpu, hasNvcc: () => findNvcc().command !== '' },
) {
  return asked ?? remembered() ?? (machine.hasGpu() && machine.hasNvcc() ? 'cuda' : 'cpu');
}
