// Who may import whom, as DESIGN decides it, and how long a file may be. check-layers.mjs prints what
// findViolations returns; the unit tests call it too.
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { listFiles, root } from './tools.mjs';

/** napi -> engine -> { model, cache, sample, grammar } -> ops -> core. */
const nativeRank = {
  core: 0,
  ops: 1,
  model: 2,
  cache: 2,
  sample: 2,
  grammar: 2,
  engine: 3,
  napi: 4,
};
const backends = ['cpu', 'cuda'];
/** The one file that names the back ends (CMakeLists.txt is the other place). */
const backendSwitch = 'csrc/ops/backend.cc';

/** server, cli -> index -> engine -> everything else -> errors and the boundary's types. */
const libRank = { errors: 0, native: 0, engine: 2, index: 3, server: 4, cli: 4 };
const otherLibRank = 1;

const maxLines = [
  { name: /\.(ts|mjs)$/, lines: 400 },
  { name: /\.(cc|h|cu|cuh)$/, lines: 600 },
];

/** The rule that an include breaks, or ''. @param {string} file @param {string} included */
export function nativeViolation(file, included) {
  const [, unit = ''] = file.split('/');
  const [target = ''] = included.split('/');
  if (/^(node_api|js_native_api|napi|napi-inl)(_types)?\.h$/.test(included))
    return unit === 'napi' ? '' : 'only csrc/napi includes N-API headers';
  if (/^(cuda|cuda_runtime|cuda_runtime_api|nvrtc)\.h$/.test(included))
    return unit === 'cuda' ? '' : 'only csrc/cuda includes CUDA headers';
  if (!included.includes('/')) return '';
  if (backends.includes(target))
    return unit === target || file === backendSwitch
      ? ''
      : `${target} is named by ${backendSwitch} and CMake alone`;
  if (!(target in nativeRank)) return '';
  if (backends.includes(unit))
    return nativeRank[target] <= nativeRank.ops ? '' : `${unit} includes ops and core only`;
  if (!(unit in nativeRank)) return `csrc/${unit} has no place in scripts/layers.mjs`;
  return nativeRank[target] <= nativeRank[unit] ? '' : `${unit} is below ${target}`;
}

/** The unit of a path inside lib/: its folder, or its file's name. @param {string} path */
function libUnit(path) {
  return (path.split('/')[1] ?? '').replace(/(\.d)?\.[jt]s$/, '');
}

/** The rule that an import breaks, or ''. @param {string} file @param {string} imported */
export function libViolation(file, imported) {
  if (!imported.startsWith('.')) return '';
  const target = posix.join(posix.dirname(file), imported);
  if (!target.startsWith('lib/')) return 'lib imports nothing of the repository outside lib';
  const rank = (path) => libRank[libUnit(path)] ?? otherLibRank;
  // The boundary's types describe models in the terms of models/spec.ts.
  if (libUnit(file) === 'native' && target === 'lib/models/spec.js') return '';
  return rank(target) <= rank(file) ? '' : `${libUnit(file)} is below ${libUnit(target)}`;
}

const include = /^\s*#\s*include\s*[<"]([^>"]+)[>"]/;
// The last form ends a declaration over several lines: it counts by the line with the name.
const moduleName = new RegExp(
  [
    /^\s*import\b[^'"]*['"]([^'"]+)['"]/,
    /^\s*export\b[^'"]*\bfrom\s*['"]([^'"]+)['"]/,
    /\bimport\(\s*['"]([^'"]+)['"]/,
    /^\}\s*from\s*['"]([^'"]+)['"]/,
  ]
    .map(({ source }) => source)
    .join('|'),
);

/** @param {string} file @param {string} text */
export function* importsOf(file, text) {
  const pattern = /\.(cc|h|cu|cuh)$/.test(file) ? include : moduleName;
  for (const [index, line] of text.split('\n').entries()) {
    const name = pattern.exec(line)?.slice(1).find(Boolean);
    if (name !== undefined) yield { name, line: index + 1 };
  }
}

/** Every violation in the repository, as "file:line: what". @returns {string[]} */
export function findViolations() {
  const violations = [];
  for (const file of listFiles(['csrc', 'lib'], /\.(cc|h|cu|cuh|ts)$/)) {
    const check = file.startsWith('csrc/') ? nativeViolation : libViolation;
    for (const { name, line } of importsOf(file, readFileSync(join(root, file), 'utf8'))) {
      const problem = check(file, name);
      if (problem !== '') violations.push(`${file}:${line}: imports ${name}: ${problem}`);
    }
  }
  for (const file of listFiles(['csrc', 'lib', 'test', 'bench', 'scripts'])) {
    const limit = maxLines.find(({ name }) => name.test(file))?.lines;
    if (limit === undefined) continue;
    const lines = readFileSync(join(root, file), 'utf8').trimEnd().split('\n').length;
    if (lines > limit)
      violations.push(`${file}: ${lines} lines, at most ${limit}: split it by subject`);
  }
  return violations;
}
