/**
 * Finds the native addon, checks that it belongs to this version of the package, and says what to do where it
 * cannot be loaded.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineError } from './errors.js';
import type { NativeBinding } from './native.js';

const require = createRequire(import.meta.url);
const nodeGypBuild = require('node-gyp-build') as { resolve(root: string): string };

/** The folder with package.json: lib/ and dist/ both lie directly in it. */
const packageRoot = fileURLToPath(new URL('..', import.meta.url));
const oldestNode = [20, 19] as const;

let loaded: NativeBinding | undefined;

/** The addon; the first call loads it. Throws an EngineError with code `binding_unavailable`. */
export function loadBinding(): NativeBinding {
  loaded ??= openBinding(packageRoot);
  return loaded;
}

/** What the explanations depend on; `thisMachine` reads it from the process. */
export interface Machine {
  platform: string;
  arch: string;
  /** "glibc", "musl" or "" where the platform has one C library only. */
  libc: string;
  node: string;
  /** First package manager found: names the command that installs a compiler. */
  packageManager: 'apt-get' | 'dnf' | 'apk' | 'brew' | null;
}

/** @internal Loads the addon of the package in `root`. */
export function openBinding(root: string, machine: Machine = thisMachine()): NativeBinding {
  if (isOldNode(machine.node))
    throw unavailable(
      `hotpath needs Node ${oldestNode.join('.')} or newer, received Node ${machine.node}. ` +
        'Install a current Node (https://nodejs.org) and run again.',
    );
  let file: string;
  try {
    file = preferCuda(nodeGypBuild.resolve(root));
  } catch (cause) {
    throw unavailable(explainMissing(machine, isSourceCheckout(root)), cause);
  }
  let binding: NativeBinding;
  try {
    binding = require(file) as NativeBinding;
  } catch (cause) {
    throw unavailable(explainLoadFailure(file, cause, machine, isSourceCheckout(root)), cause);
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  if (binding.version !== version)
    throw unavailable(
      `${file} was built for hotpath ${binding.version}, expected ${version}. ${rebuildStep(
        machine,
        isSourceCheckout(root),
      )}`,
    );
  return binding;
}

/**
 * Of two prebuilds of one platform, `hotpath.<libc>.node` and `hotpath.cuda.<libc>.node`, the second: it does
 * all that the first does, also where there is no driver. node-gyp-build does not know this tag.
 */
function preferCuda(file: string): string {
  const name = basename(file);
  if (basename(dirname(dirname(file))) !== 'prebuilds' || name.includes('.cuda.')) return file;
  const withCuda = join(dirname(file), name.replace(/^hotpath\./, 'hotpath.cuda.'));
  return existsSync(withCuda) ? withCuda : file;
}

/** @internal No prebuilt addon fits and none was compiled. */
export function explainMissing(machine: Machine, sourceCheckout: boolean): string {
  const { platform, arch, libc, node } = machine;
  const target = [`${platform}-${arch}`, libc].filter(Boolean).join(' ');
  return (
    `no native addon of hotpath for ${target} (Node ${node}): neither a compiled one in ` +
    `build/Release nor a prebuilt one in prebuilds/${platform}-${arch}. ` +
    rebuildStep(machine, sourceCheckout)
  );
}

/** @internal The addon is there, but process.dlopen refused it. */
export function explainLoadFailure(
  file: string,
  cause: unknown,
  machine: Machine,
  sourceCheckout: boolean,
): string {
  const { code, message } = cause as { code?: string; message?: string };
  if (code === 'ERR_DLOPEN_DISABLED')
    return (
      'this process must not load native addons, and hotpath is one. Start node without ' +
      '--no-addons; under --permission, add --allow-addons.'
    );
  const reason = (message ?? String(cause)).split('\n', 1)[0];
  const libraries = /GLIBC(XX)?_[\d.]+|libstdc\+\+/.test(reason ?? '')
    ? 'The C or C++ library of this system is older than the one the addon was built with. '
    : '';
  return (
    `${file} cannot be loaded on ${machine.platform}-${machine.arch}` +
    `${machine.libc && ` ${machine.libc}`}, Node ${machine.node}: ${reason} ` +
    `(${code ?? 'no code'}). ${libraries}${rebuildStep(machine, sourceCheckout)}`
  );
}

function rebuildStep(machine: Machine, sourceCheckout: boolean): string {
  const tools = `g++ 11 or clang 14 or newer, cmake 3.20 or newer and make (${installCommand(machine)})`;
  return sourceCheckout
    ? `Run "npm run build:native"; it needs ${tools}. Node's headers are not needed, nothing is downloaded.`
    : 'Reinstall the package (npm install hotpath); where your platform has no prebuilt addon, clone ' +
        `hotpath's repository, run "npm ci && npm pack" there and install that file: it needs ${tools}.`;
}

function installCommand({ platform, packageManager }: Machine): string {
  if (platform === 'darwin') return 'xcode-select --install && brew install cmake';
  switch (packageManager) {
    case 'apt-get':
      return 'sudo apt-get install -y g++ cmake make';
    case 'dnf':
      return 'sudo dnf install -y gcc-c++ cmake make';
    case 'apk':
      return 'apk add g++ cmake make';
    case 'brew':
      return 'brew install gcc cmake make';
    default:
      return "install them with your system's package manager";
  }
}

function isOldNode(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1]);
}

/** True where the sources are at hand, false in an installed package. */
function isSourceCheckout(root: string): boolean {
  return existsSync(join(root, 'CMakeLists.txt'));
}

function thisMachine(): Machine {
  const { platform, arch } = process;
  const managers = { 'apt-get': '/usr/bin', dnf: '/usr/bin', apk: '/sbin' } as const;
  const found = Object.entries(managers).find(([name, folder]) => existsSync(`${folder}/${name}`));
  return {
    platform,
    arch,
    libc: platform !== 'linux' ? '' : existsSync('/etc/alpine-release') ? 'musl' : 'glibc',
    node: process.versions.node,
    packageManager: (found?.[0] as Machine['packageManager']) ?? null,
  };
}

function unavailable(message: string, cause?: unknown): EngineError {
  return new EngineError(message, {
    status: 500,
    type: 'server_error',
    code: 'binding_unavailable',
    cause,
  });
}
