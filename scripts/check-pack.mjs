// npm run check:pack: packs the package, installs it into an empty folder without any script, and runs it
// there. Makes the prebuild first where there is none. Needs the registry for the dependencies.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listFiles, output, run, say } from './tools.mjs';

function fail(message) {
  say(`check-pack: ${message}`);
  process.exit(1);
}

const prebuilds = () => listFiles(['prebuilds'], /\.node$/);
if (prebuilds().length === 0 && run(process.execPath, ['scripts/prebuild.mjs']) !== 0)
  fail('no prebuild');

const folder = mkdtempSync(join(tmpdir(), 'hotpath-pack-'));
try {
  const packed = output('npm', ['pack', '--json', '--pack-destination', folder]);
  if (packed === null) fail('npm pack failed');
  // `prepare` may print before the JSON.
  const [{ files, size, unpackedSize }] = JSON.parse(packed.slice(packed.indexOf('[\n')));
  const names = files.map((/** @type {{ path: string }} */ file) => file.path);
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
  say(
    `packed ${names.length} files, ${(size / 1e6).toFixed(1)} MB, ${(unpackedSize / 1e6).toFixed(1)} MB unpacked`,
  );

  const archive = readdirSync(folder).find((name) => name.endsWith('.tgz'));
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
const { version } = loadBinding();
const engine = await Engine.load('node_modules/hotpath/models/pocket');
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
} finally {
  rmSync(folder, { recursive: true, force: true });
}
