// npm run check:pack: packs the package, installs it into an empty folder without any script, and runs it
// there. Makes the prebuild first where there is none; one with CUDA must be small and be the one that is loaded. Needs the registry for the dependencies.
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { maxCudaAddonBytes } from './check-cuda.mjs';
import { listFiles, output, root, run, say } from './tools.mjs';

/** @returns {never} */
function fail(message) {
  throw new Error(message);
}

const prebuilds = () => listFiles(['prebuilds'], /\.node$/);
const here = `prebuilds/${process.platform}-${process.arch}/`;
const isCuda = (file) => file.includes('.cuda.');
const folder = mkdtempSync(join(tmpdir(), 'hotpath-pack-'));
try {
  if (
    !prebuilds().some((file) => !isCuda(file)) &&
    run(process.execPath, ['scripts/prebuild.mjs']) !== 0
  )
    fail('there is no prebuild');
  for (const file of prebuilds().filter(isCuda)) {
    const { size } = statSync(join(root, file));
    say(`${file}: ${(size / 1e6).toFixed(1)} MB`);
    if (size > maxCudaAddonBytes) fail(`expected at most ${maxCudaAddonBytes / 1e6} MB`);
  }
  if (run('npm', ['pack', '--pack-destination', folder], { stdio: 'ignore' }) !== 0)
    fail('npm pack failed');
  const archive = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';
  const names = (output('tar', ['-tzf', join(folder, archive)]) ?? '')
    .split('\n')
    .filter(Boolean)
    .map((name) => name.replace(/^package\//, ''));
  for (const name of [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/native.d.ts',
    'LICENSE',
    'README.md',
    'CHANGELOG.md',
    ...prebuilds(),
  ])
    if (!names.includes(name)) fail(`expected ${name} in the package`);
  for (const name of names)
    if (/^(csrc|lib|test|bench|scripts)\/|binding\.gyp|CMakeLists|\.py$/.test(name))
      fail(`${name} does not belong in the package`);
  const megabytes = (statSync(join(folder, archive)).size / 1e6).toFixed(1);
  say(`packed ${names.length} files, ${megabytes} MB`);

  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  if (
    run('npm', ['install', '--ignore-scripts', '--no-package-lock', `./${archive}`], {
      cwd: folder,
    }) !== 0
  )
    fail('npm install of the archive failed');
  writeFileSync(
    join(folder, 'run.js'),
    `import { Engine } from 'hotpath';
const { loadBinding } = await import('./node_modules/hotpath/dist/binding.js');
const { version, devices } = loadBinding();
const kinds = devices().map(({ kind }) => kind);
if (${prebuilds().some((file) => isCuda(file) && file.startsWith(here))} !== kinds.includes('cuda'))
  throw new Error('the other prebuild was expected: this one knows the devices ' + kinds);
const engine = await Engine.load('node_modules/hotpath/models/pocket', { device: 'cpu' });
const answer = await engine.chatCompletions({
  messages: [{ role: 'user', content: 'What is the capital of France?' }],
  temperature: 0,
});
console.log(version, JSON.stringify(answer.choices[0].message.content));
await engine.close();
`,
  );
  if (run(process.execPath, ['run.js'], { cwd: folder }) !== 0)
    fail('the installed package does not run');
  say('check-pack: the packed package installs without scripts and runs');
} catch (error) {
  say(`check-pack: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
