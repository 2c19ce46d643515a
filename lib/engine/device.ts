/** Which device a model runs on. */
import { EngineError } from '../errors.js';
import type { NativeDeviceInfo } from '../native.js';

/** The device that `wanted` ('auto', 'cpu', 'cuda', 'cuda:<index>') means; never another one. */
export function chooseDevice(devices: NativeDeviceInfo[], wanted: string): NativeDeviceInfo {
  const usable = devices.filter((d) => d.unavailable === null);
  const [kind, index] = wanted.split(':');
  const chosen =
    kind === 'auto'
      ? (usable.find((d) => d.kind === 'cuda') ?? usable.find((d) => d.kind === 'cpu'))
      : usable.find((d) => d.kind === kind && (index === undefined || d.index === Number(index)));
  if (chosen) return chosen;

  const hint =
    kind === 'cuda' && !devices.some((d) => d.kind === 'cuda')
      ? 'This build of the addon has no CUDA back end: in a source checkout "npm run build:cuda" makes one. '
      : '';
  const seen = devices.map((d) => `${deviceName(d)} (${d.unavailable ?? d.name})`).join(', ');
  throw new EngineError(
    `device: '${wanted}' cannot be used; found ${seen || 'no device'}. ${hint}` +
      "Pass device: 'cpu', or 'auto' to take what there is.",
    {
      status: 503,
      type: 'service_unavailable',
      code: 'device_unavailable',
      param: 'device',
    },
  );
}

/** As native code and the option `device` name it. */
export function deviceName(device: NativeDeviceInfo): string {
  return device.kind === 'cpu' ? 'cpu' : `${device.kind}:${device.index}`;
}
