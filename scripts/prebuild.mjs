// npm run prebuild: compiles the addon for this platform into prebuilds/ and checks that it loads.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { output, root, run, say } from './tools.mjs';

const require = createRequire(import.meta.url);
const prebuildify = join(dirname(require.resolve('prebuildify/package.json')), 'bin.js');
const status = run(process.execPath, [
  prebuildify,
  ...['--napi', '--strip', '--tag-libc'],
  ...['--node-gyp', join(root, 'scripts/node-gyp-shim.mjs')],
]);
if (status !== 0) process.exit(status);

const { version } = require('../package.json');
const loaded = output(
  process.execPath,
  ['-p', `const load = require('node-gyp-build'); load.resolve('.') + ' ' + load('.').version`],
  { env: { ...process.env, PREBUILDS_ONLY: '1' } },
)?.trim();
if (!loaded?.endsWith(` ${version}`)) {
  say(
    `prebuild: expected version ${version} to load from prebuilds/, received ${loaded ?? 'an error'}`,
  );
  process.exit(1);
}
say(`prebuild: ${loaded.split(' ')[0]}`);
