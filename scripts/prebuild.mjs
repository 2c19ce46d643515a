// npm run prebuild: compiles the addon for this platform into prebuilds/ and checks that it loads.
//   -- --cuda   the one with the CUDA back end, as hotpath.cuda.<libc>.node beside the plain one
import { chmodSync, copyFileSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { explainNvcc, findNvcc } from './toolchain.mjs';
import { output, root, run, say } from './tools.mjs';

const require = createRequire(import.meta.url);
const { values: flags } = parseArgs({ options: { cuda: { type: 'boolean', default: false } } });
const { version } = require('../package.json');

/** @returns {never} */
function fail(message) {
  say(`prebuild: ${message}`);
  process.exit(1);
}

/** build/Release becomes the plain build: that is where prebuildify looks. */
function buildPlain() {
  const prebuildify = join(dirname(require.resolve('prebuildify/package.json')), 'bin.js');
  const status = run(process.execPath, [
    prebuildify,
    ...['--napi', '--strip', '--tag-libc'],
    ...['--node-gyp', join(root, 'scripts/node-gyp-shim.mjs')],
  ]);
  if (status !== 0) process.exit(status);
}

/** What `npm test` compiles too; build/Release stays as it is. @returns {string} the file in prebuilds/ */
function buildCuda() {
  if (process.platform !== 'linux') fail('expected Linux for --cuda');
  const { problem } = findNvcc();
  if (problem !== '') fail(explainNvcc(problem));
  const folder = 'build/Release-cuda';
  const args = ['--only', 'native', '--variant', 'cuda', '--output', folder, '--compile'];
  const status = run(process.execPath, ['scripts/build.mjs', ...args]);
  if (status !== 0) process.exit(status);
  const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc';
  const file = `prebuilds/${process.platform}-${process.arch}/hotpath.cuda.${libc}.node`;
  mkdirSync(join(root, dirname(file)), { recursive: true });
  copyFileSync(join(root, folder, 'hotpath.node'), join(root, file));
  chmodSync(join(root, file), 0o755);
  if (run(process.env.STRIP ?? 'strip', [file]) !== 0) fail(`${file} could not be stripped`);
  return file;
}

/** @param {string} file */
function loadedVersion(file) {
  return output(process.execPath, ['-p', `require(${JSON.stringify(file)}).version`])?.trim();
}

let file;
if (flags.cuda) file = join(root, buildCuda());
else {
  buildPlain();
  const env = { ...process.env, PREBUILDS_ONLY: '1' };
  const found = output(process.execPath, ['-p', "require('node-gyp-build').resolve('.')"], { env });
  file = found?.trim().replace('hotpath.cuda.', 'hotpath.') ?? fail('no prebuild was found');
}
const loaded = loadedVersion(file);
if (loaded !== version)
  fail(`expected version ${version} to load from ${file}, received ${loaded ?? 'an error'}`);
say(`prebuild: ${file}, ${(statSync(file).size / 1e6).toFixed(1)} MB`);
