// Looks for what compiling needs and says how to install what is missing.
import { existsSync } from 'node:fs';
import { output } from './tools.mjs';

/**
 * @typedef {object} Tool
 * @property {string} name
 * @property {string} found what was found, for messages; empty where nothing was
 * @property {string} problem empty where it will do
 */

/** @param {string} version @param {number[]} least */
function isAtLeast(version, least) {
  const parts = version.split('.').map(Number);
  for (const [i, want] of least.entries()) {
    const have = parts[i] ?? 0;
    if (have !== want) return have > want;
  }
  return true;
}

/** @returns {Tool} */
function findCMake() {
  const text = output('cmake', ['--version']);
  if (text === null) return { name: 'cmake', found: '', problem: 'cmake is not installed' };
  const version = /(\d+\.\d+(\.\d+)?)/.exec(text)?.[1] ?? '0';
  return {
    name: 'cmake',
    found: `cmake ${version}`,
    problem: isAtLeast(version, [3, 20]) ? '' : `cmake ${version} is too old, 3.20 is needed`,
  };
}

/** The compiler that CMake will choose: $CXX, else the first of the usual names. @returns {Tool} */
function findCompiler() {
  const chosen = process.env.CXX;
  for (const command of chosen ? [chosen] : ['c++', 'g++', 'clang++']) {
    const text = output(command, ['--version'], { shell: Boolean(chosen) });
    if (text === null) continue;
    const isClang = /clang/i.test(text);
    const version = /(\d+\.\d+(\.\d+)?)/.exec(text.replace(/\([^)]*\)/g, ''))?.[1] ?? '0';
    const [kind, least] = isClang ? ['clang', 14] : ['g++', 11];
    return {
      name: 'compiler',
      found: `${command} (${kind} ${version})`,
      problem: isAtLeast(version, [least])
        ? ''
        : `${command} is ${kind} ${version}; C++20 needs ${kind} ${least} or newer ` +
          '(set CXX to a newer one that is installed)',
    };
  }
  const problem = chosen ? `CXX=${chosen} does not run` : 'no C++ compiler is installed';
  return { name: 'compiler', found: '', problem };
}

/** @returns {Tool} */
function findMake() {
  for (const command of ['ninja', 'make'])
    if (output(command, ['--version']) !== null)
      return { name: 'make', found: command, problem: '' };
  return { name: 'make', found: '', problem: 'neither make nor ninja is installed' };
}

const packages = /** @type {const} */ ({
  'apt-get': { bin: '/usr/bin/apt-get', install: 'sudo apt-get install -y', compiler: 'g++' },
  dnf: { bin: '/usr/bin/dnf', install: 'sudo dnf install -y', compiler: 'gcc-c++' },
  apk: { bin: '/sbin/apk', install: 'apk add', compiler: 'g++' },
});

/** The command that installs the given tools here. @param {string[]} names */
export function installCommand(names) {
  if (process.platform === 'darwin') {
    const commands = names.some((name) => name !== 'cmake') ? ['xcode-select --install'] : [];
    if (names.includes('cmake')) commands.push('brew install cmake');
    return commands.join(' && ');
  }
  for (const { bin, install, compiler } of Object.values(packages))
    if (existsSync(bin))
      return `${install} ${names.map((n) => (n === 'compiler' ? compiler : n)).join(' ')}`;
  return "install cmake (3.20+), g++ (11+) and make with your system's package manager";
}

/** The first release with what the kernels use. */
const leastNvcc = [12, 4];

/**
 * The CUDA compiler: $CUDACXX, else nvcc of the PATH, of $CUDA_HOME or $CUDA_PATH, of /usr/local/cuda.
 * `command` is '' where there is none that will do.
 */
export function findNvcc() {
  const { CUDACXX, CUDA_HOME, CUDA_PATH } = process.env;
  const folders = [CUDA_HOME, CUDA_PATH, '/usr/local/cuda'].filter(Boolean);
  const places = CUDACXX ? [CUDACXX] : ['nvcc', ...folders.map((folder) => `${folder}/bin/nvcc`)];
  for (const command of places) {
    const version = /release (\d+\.\d+)/.exec(output(command, ['--version']) ?? '')?.[1];
    if (version === undefined) continue;
    if (isAtLeast(version, leastNvcc))
      return { command, found: `nvcc ${version} (${command})`, problem: '' };
    const problem = `${command} is of CUDA ${version}, ${leastNvcc.join('.')} or newer is needed`;
    return { command: '', found: `nvcc ${version}`, problem };
  }
  const problem = CUDACXX ? `CUDACXX=${CUDACXX} does not run` : 'nvcc is not installed';
  return { command: '', found: '', problem };
}

/** Whether NVIDIA's driver serves this machine. */
export function hasNvidiaGpu() {
  return existsSync('/dev/nvidiactl') || existsSync('/proc/driver/nvidia');
}

/** Why the CUDA back end cannot be compiled, and what to do. @param {string} problem */
export function explainNvcc(problem) {
  return (
    `cannot compile the CUDA back end:\n  - ${problem}\n` +
    "Install NVIDIA's CUDA toolkit (https://developer.nvidia.com/cuda-downloads; no driver and no GPU are " +
    'needed to compile), or set CUDACXX to its nvcc, then run again. "npm run build:native" compiles the ' +
    'CPU back end alone.'
  );
}

/** What there is, and a message about what is missing ('' where compiling can start). */
export function checkToolchain() {
  const tools = [findCMake(), findCompiler(), findMake()];
  const found = tools.map((tool) => tool.found).filter(Boolean);
  const bad = tools.filter((tool) => tool.problem !== '');
  const message =
    bad.length === 0
      ? ''
      : `cannot compile the native addon:\n${bad.map((tool) => `  - ${tool.problem}\n`).join('')}` +
        `Install with:\n  ${installCommand(bad.map((tool) => tool.name))}\nthen run again.`;
  return { found, message };
}
