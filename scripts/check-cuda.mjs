// node scripts/check-cuda.mjs <addon>: checks an addon with the CUDA back end on any machine, with or without a GPU.
// Prints one line per check; the last line is JSON: { passed, failed }. Needs dist/.
import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { root } from './tools.mjs';

/** Of the addon as it is packed: the nearest peer's takes several times that. */
export const maxCudaAddonBytes = 40e6;

const file = resolve(process.argv[2] ?? '');
const counts = { passed: 0, failed: 0 };

/** @param {string} name @param {() => unknown} body throws where the check fails */
async function check(name, body) {
  try {
    await body();
    counts.passed++;
    console.log(`ok ${name}`);
  } catch (error) {
    counts.failed++;
    console.log(`not ok ${name}: ${error?.message ?? error}`);
  }
}

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

async function main() {
  const binding = createRequire(import.meta.url)(file);
  const { loadParts } = await import(join(root, 'dist/engine/load.js'));
  const load = (options) => loadParts(join(root, 'models/pocket'), options, () => binding);
  const found = binding.devices();
  const gpus = found.filter(({ kind }) => kind === 'cuda');
  const usable = gpus.filter(({ unavailable }) => unavailable === null);

  await check('the addon takes at most 40 MB', () => {
    const { size } = statSync(file);
    expect(size <= maxCudaAddonBytes, `expected at most 40 MB, received ${size / 1e6} MB`);
  });
  await check('devices() lists cuda, and the reason where it cannot be used', () => {
    expect(gpus.length > 0, `expected a device of kind cuda, received ${JSON.stringify(found)}`);
    for (const { name, unavailable } of gpus)
      expect(
        unavailable === null ? name !== '' : unavailable.length > 5,
        `expected a name or a reason, received ${JSON.stringify({ name, unavailable })}`,
      );
  });
  await check('the CPU can be used whatever the GPU is', async () => {
    const { native, device } = await load({ device: 'cpu', numThreads: 1 });
    await native.close();
    expect(device === 'cpu', `expected cpu, received ${device}`);
  });
  const wanted = usable.length > 0 ? 'cuda:999' : 'cuda';
  await check(`device: '${wanted}' is an error that says why`, async () => {
    const error = await load({ device: wanted }).then(
      () => new Error('it loaded'),
      (reason) => reason,
    );
    expect(error.code === 'device_unavailable' && error.status === 503, `received ${error}`);
    const reason = gpus[0]?.unavailable;
    expect(!reason || error.message.includes(reason), `expected '${reason}', received ${error}`);
  });
  if (usable.length > 0)
    await check('the GPU loads the bundled model', async () => {
      const { native, device } = await load({ device: 'cuda', kvCacheBytes: 2 ** 24 });
      await native.close();
      expect(device.startsWith('cuda:'), `expected cuda:<index>, received ${device}`);
    });
}

if (process.argv[1]?.endsWith('check-cuda.mjs')) {
  await check('the addon loads', main);
  console.log(JSON.stringify(counts));
  process.exitCode = counts.failed === 0 ? 0 : 1;
}
