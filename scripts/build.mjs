// Builds the addon (build/Release) and dist/. Does nothing where both are up to date.
//   --only native|ts      one of them
//   --tests               the native test programs too
//   --variant cpu|cuda    without or with the CUDA back end; it is remembered, and kept by later builds.
//                         Nothing said, nothing remembered: cuda where there are an NVIDIA GPU and nvcc
//   --output <folder>     elsewhere than build/Release; then nothing is remembered
//   --compile             even where a prebuilt addon fits
//   --quiet               no word where there is nothing to do
//   --needed              prints 1 where the addon would be compiled, else 0 (binding.gyp asks)
// HOTPATH_CUDA_ARCHS (such as 90a, or 80;90a) limits the CUDA back end to some architectures, for faster builds.
import { cpSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkToolchain, explainNvcc, findNvcc } from './toolchain.mjs';
import { fingerprint, isStamped, listFiles, output, root, run, say, writeStamp } from './tools.mjs';
import { chooseVariant, isVariant, rememberVariant } from './variant.mjs';

const require = createRequire(import.meta.url);
const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    tests: { type: 'boolean' },
    variant: { type: 'string' },
    output: { type: 'string', default: 'build/Release' },
    compile: { type: 'boolean' },
    quiet: { type: 'boolean' },
    needed: { type: 'boolean' },
  },
});
if (flags.variant !== undefined && !isVariant(flags.variant)) {
  say(`--variant: expected cpu or cuda, received ${flags.variant}`);
  process.exit(2);
}
const isMain = flags.output === 'build/Release';
const variant = chooseVariant(flags.variant);
const cudaArchs = process.env.HOTPATH_CUDA_ARCHS || '80;86;89;90a';
const addon = `${flags.output}/hotpath.node`;
const kind = flags.tests ? 'tests' : 'addon';
const stampFile = (name) => (isMain ? `build/${name}.stamp` : `${flags.output}.${name}.stamp`);

const addonFiles = () =>
  listFiles(['csrc', 'CMakeLists.txt', 'package.json'], /\.(cc|h|cu|cuh|txt|json)$/).filter(
    (file) => variant === 'cuda' || !/\.cuh?$/.test(file),
  );
const testFiles = () => listFiles(['test/ops', 'test/engine', 'test/device.h'], /\.(cc|h)$/);
const tsFiles = () => listFiles(['lib', 'tsconfig.json', 'tsconfig.build.json', 'package.json']);
const nativeState = (name) =>
  [
    ...(variant === 'cuda' ? ['cuda', cudaArchs] : ['cpu']),
    fingerprint(name === 'tests' ? [...addonFiles(), ...testFiles()] : addonFiles()),
  ].join(' ');

/** A prebuilt addon that belongs to these sources: it loads, has this version, and no source is newer. */
function fittingPrebuild() {
  let file;
  try {
    file = require('node-gyp-build').resolve(root);
  } catch {
    return null;
  }
  if (file.startsWith(join(root, 'build'))) return null;
  // Either one serves the CPU.
  const withCuda = file.replace(/hotpath\.(?!cuda\.)([^/]*)$/, 'hotpath.cuda.$1');
  if (variant === 'cuda') file = withCuda;
  if (!existsSync(file)) return null;
  const built = statSync(file).mtimeMs;
  if (addonFiles().some((source) => statSync(join(root, source)).mtimeMs > built)) return null;
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const answer = output(process.execPath, ['-p', `require(${JSON.stringify(file)}).version`]);
  return answer?.trim() === version ? file : null;
}

/** '' where the addon must be compiled, else why not. */
function nativeUpToDate() {
  if (existsSync(join(root, addon)) && isStamped(stampFile(kind), nativeState(kind)))
    return `${addon} is up to date`;
  if (flags.tests || flags.compile || !isMain) return '';
  const prebuild = fittingPrebuild();
  return prebuild === null ? '' : `${prebuild} fits: nothing to compile`;
}

/** The main file of a development package's program, or an explanation that ends the build. */
function program(name, file) {
  try {
    return join(dirname(require.resolve(`${name}/package.json`)), file);
  } catch {
    say(
      `${name} is missing: building hotpath from its repository needs the development packages. ` +
        'Run "npm ci" without --omit=dev.',
    );
    process.exit(1);
  }
}

function buildNative() {
  const reason = nativeUpToDate();
  if (reason !== '') {
    if (!flags.quiet) say(`hotpath: ${reason}`);
    return;
  }
  const { found, message } = checkToolchain();
  if (message !== '') {
    say(`hotpath: ${message}`);
    process.exit(1);
  }
  const nvcc = variant === 'cuda' ? findNvcc() : null;
  if (nvcc !== null) {
    if (nvcc.problem !== '') {
      say(`hotpath: ${explainNvcc(nvcc.problem)}`);
      process.exit(1);
    }
    found.push(nvcc.found);
  }
  const what =
    (kind === 'tests' ? 'the native addon and its tests' : 'the native addon') +
    (variant === 'cuda' ? ', with the CUDA back end,' : '');
  say(`hotpath: compiling ${what} with ${found.join(', ')} (once; some minutes)`);
  const states = (kind === 'tests' ? ['tests', 'addon'] : [kind]).map((name) => [
    name,
    nativeState(name),
  ]);
  const started = Date.now();
  const env = { ...process.env };
  // Under node-gyp's make: its job server is not ours.
  for (const name of ['MAKEFLAGS', 'MFLAGS', 'MAKELEVEL']) delete env[name];
  // CMake's files apart from build/ itself, where node-gyp puts its own Makefile.
  const treeName = variant === 'cuda' ? 'build/cmake-cuda' : 'build/cmake';
  const tree = join(root, treeName);
  const cmakeJs = (command, ...args) =>
    run(
      process.execPath,
      [
        program('cmake-js', 'bin/cmake-js'),
        command,
        ...['--log-level', 'warn', '--directory', root, '--out', tree],
        ...args,
      ],
      { env },
    );
  const configure = () =>
    cmakeJs(
      'configure',
      `--CDNODE_EXECUTABLE=${process.execPath}`,
      `--CDHOTPATH_OUTPUT_DIR=${join(root, flags.output)}`,
      ...(nvcc === null
        ? ['--CDHOTPATH_CUDA=OFF']
        : [
            '--CDHOTPATH_CUDA=ON',
            `--CDCMAKE_CUDA_COMPILER=${nvcc.command}`,
            `--CDHOTPATH_CUDA_ARCHS=${cudaArchs}`,
          ]),
    );
  let status = configure();
  if (status !== 0 && existsSync(tree)) {
    // Made by another generator or compiler, or the repository was moved.
    say(`hotpath: trying once more from an empty ${treeName}`);
    rmSync(tree, { recursive: true });
    status = configure();
  }
  if (status === 0)
    status = cmakeJs(
      'build',
      ...['--parallel', String(availableParallelism())],
      ...(kind === 'tests' ? [] : ['--target', 'hotpath']),
    );
  if (status !== 0) {
    say(
      `\nhotpath: compiling failed; the first error is above. It was tried with ${found.join(', ')}. ` +
        `After installing or updating a tool, remove build/ and run "npm run build:${variant === 'cuda' ? 'cuda' : 'native'}".`,
    );
    process.exit(1);
  }
  for (const [name, state] of states) writeStamp(stampFile(name), state);
  if (isMain) rememberVariant(variant);
  say(`hotpath: built ${what} in ${Math.round((Date.now() - started) / 1000)} s`);
}

function buildTypeScript() {
  const stamp = fingerprint(tsFiles());
  if (existsSync(join(root, 'dist')) && isStamped(stampFile('ts'), stamp)) {
    if (!flags.quiet) say('hotpath: dist/ is up to date');
    return;
  }
  const tsc = program('typescript', 'bin/tsc');
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  if (run(process.execPath, [tsc, '-p', 'tsconfig.build.json']) !== 0) {
    say('hotpath: TypeScript found the errors above');
    process.exit(1);
  }
  // tsc emits neither hand-written declarations nor data files.
  for (const file of listFiles(['lib']))
    if (file.endsWith('.d.ts') || !file.endsWith('.ts'))
      cpSync(join(root, file), join(root, 'dist', file.slice('lib/'.length)));
  writeStamp(stampFile('ts'), stamp);
  if (!flags.quiet) say('hotpath: built dist/');
}

if (flags.needed) {
  process.stdout.write(nativeUpToDate() === '' ? '1' : '0');
} else {
  if (flags.only !== 'ts') buildNative();
  if (flags.only !== 'native') buildTypeScript();
}
