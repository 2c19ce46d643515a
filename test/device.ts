/**
 * Which device the suites ops, engine, golden and api run on: DEVICE=cpu (also when unset), cuda or cuda:<index>.
 * Where that one cannot be used, all of their tests are skipped, with the reason printed once a file: a suite never
 * runs on another device than it was told. test/device.h is the same for the native programs.
 */
import { describe as everyDescribe, test as everyTest } from 'vitest';
import { loadBinding } from '../lib/binding.js';
import { chooseDevice } from '../lib/engine/device.js';
import { EngineError } from '../lib/errors.js';

const asked = process.env.DEVICE || 'cpu';
if (!/^(cpu|cuda|cuda:\d{1,3})$/.test(asked))
  throw new Error(`DEVICE: expected cpu, cuda or cuda:<index>, received '${asked}'`);

/** As Engine.load and the native programs take it. */
export const device = (asked === 'cuda' ? 'cuda:0' : asked) as 'cpu' | `cuda:${number}`;
export const onCuda = device !== 'cpu';

/** Why nothing can run on it; null when it can. */
export const unavailable = onCuda ? whyUnavailable() : null;
if (unavailable !== null) console.warn(`skipped: ${unavailable}`);

/** vitest's own, which skip where the device cannot be used. */
export const test: ReturnType<typeof everyTest.skipIf> = everyTest.skipIf(unavailable !== null);
export const describe: ReturnType<typeof everyDescribe.skipIf> = everyDescribe.skipIf(
  unavailable !== null,
);

function whyUnavailable(): string | null {
  try {
    chooseDevice(loadBinding().devices(), device);
    return null;
  } catch (error) {
    if (EngineError.is(error) && error.code === 'device_unavailable') return error.message;
    throw error;
  }
}
