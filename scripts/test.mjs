// npm test: format, types, import rules, unit, ops, engine, golden, api, cuda; builds what is missing or stale first.
//   --only <stage>[,<stage>]   some of them
// DEVICE=cuda (or cuda:<index>) makes ops, golden and api run there. The stage cuda compiles every kernel for every
// architecture where nvcc is, and needs no GPU.
// Ends with a line "N passed, N failed, N skipped" and leaves it in build/test-results/summary.txt.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { findNvcc } from './toolchain.mjs';
import { output, root, run, say } from './tools.mjs';
import { rememberedVariant } from './variant.mjs';

const { values: flags } = parseArgs({ options: { only: { type: 'string' } } });
const require = createRequire(import.meta.url);
const results = join(root, 'build/test-results');
const bin = (name, file) => join(dirname(require.resolve(`${name}/package.json`)), file);
const node = (...args) => run(process.execPath, args);

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/** One check that passes or fails as a whole. @param {number} status @returns {Counts} */
const whole = (status) =>
  status === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };

/** @param {string} project @returns {Counts} */
function vitest(project) {
  const report = join(results, `${project}.json`);
  const status = node(
    bin('vitest', 'vitest.mjs'),
    'run',
    ...['--project', project, '--reporter', 'default', '--reporter', 'json'],
    ...['--outputFile.json', report],
  );
  if (!existsSync(report)) return whole(1);
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  // A file that cannot be loaded has no failed test of its own; nor has an error outside a test.
  const broken = testResults.filter(
    ({ status: file, assertionResults }) =>
      file === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const failed = numFailedTests + broken;
  return {
    passed: numPassedTests,
    failed: failed === 0 && status !== 0 ? 1 : failed,
    skipped: numPendingTests + numTodoTests,
  };
}

/** The CUDA back end, compiled apart from build/Release unless that has it already. @returns {Counts} */
function cuda() {
  const { problem } = findNvcc();
  if (problem !== '') {
    say(`skipped: ${problem}`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const folder = rememberedVariant() === 'cuda' ? 'build/Release' : 'build/Release-cuda';
  const built =
    node('scripts/build.mjs', '--only', 'ts', '--quiet') ||
    node(
      'scripts/build.mjs',
      ...['--only', 'native', '--variant', 'cuda', '--output', folder, '--quiet', '--compile'],
    );
  if (built !== 0) return whole(1);
  const text = output(process.execPath, ['scripts/check-cuda.mjs', `${folder}/hotpath.node`], {
    okStatus: [0, 1],
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.stdout.write(text ?? '');
  const last = text?.trimEnd().split('\n').at(-1);
  if (!last?.startsWith('{')) return whole(1);
  const { passed, failed } = JSON.parse(last);
  return { passed: passed + 1, failed, skipped: 0 };
}

/** @param {Counts[]} parts @returns {Counts} */
function sum(...parts) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const part of parts) for (const key of Object.keys(total)) total[key] += part[key];
  return total;
}

/** @type {Record<string, () => Counts>} */
const stages = {
  format: () => whole(node('scripts/format.mjs')),
  types: () => whole(node(bin('typescript', 'bin/tsc'), '-p', 'tsconfig.json')),
  layers: () => whole(node('scripts/check-layers.mjs')),
  unit: () => vitest('unit'),
  ops: () => vitest('ops'),
  engine: () => vitest('engine'),
  golden: () => vitest('golden'),
  api: () => vitest('api'),
  cuda,
};
const needsBuild = new Set(['ops', 'engine', 'golden', 'api']);

const chosen = flags.only === undefined ? Object.keys(stages) : flags.only.split(',');
for (const name of chosen)
  if (!(name in stages)) {
    say(`--only: expected some of ${Object.keys(stages).join(', ')}, received ${name}`);
    process.exit(2);
  }

rmSync(results, { recursive: true, force: true });
mkdirSync(results, { recursive: true });
const builds = chosen.some((name) => needsBuild.has(name));
/** @type {[string, Counts][]} */
const done = [];
if (builds && node('scripts/build.mjs', '--tests', '--quiet') !== 0) done.push(['build', whole(1)]);
else
  for (const name of chosen) {
    say(`\n== ${name}`);
    done.push([name, stages[name]()]);
  }

const text = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
say();
for (const [name, counts] of done) say(`${name.padEnd(8)} ${text(counts)}`);
const total = sum(...done.map(([, counts]) => counts));
writeFileSync(join(results, 'summary.txt'), `${text(total)}\n`);
process.stdout.write(`${text(total)}\n`);
process.exit(total.failed === 0 ? 0 : 1);
