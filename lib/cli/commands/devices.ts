/** hotpath devices */
import { devices } from '../../index.js';
import type { Cli } from '../cli.js';
import { exitCodes, write } from '../context.js';
import { table } from '../report.js';

export function addDevices(cli: Cli): void {
  const command = cli
    .command('devices', 'list the devices of this machine, and why one cannot be used')
    .option('--json', 'as a JSON array');
  cli.run(command, async (_, flags) => {
    const found = devices();
    const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
    const text = flags.json
      ? `${JSON.stringify(found)}\n`
      : table(
          ['device', 'name', 'detail', 'free', 'memory', 'state'],
          found.map(({ kind, index, name, detail, freeBytes, totalBytes, unavailable }) => [
            kind === 'cpu' ? 'cpu' : `${kind}:${index}`,
            name,
            detail,
            gib(freeBytes),
            gib(totalBytes),
            unavailable ?? 'can be used',
          ]),
        );
    await write(cli.context.out, text);
    return exitCodes.ok;
  });
}
