// node bench/run.mjs <decode|prefill|serving|load|ops|constrained|grammar|serve-load|text> [--flag value ...]: runs bench/<name>.ts (a dash
// is an underscore there) over lib as it is, without a build step of its own. The addon must have been built (npm run build:native).
import { existsSync } from 'node:fs';
import { register } from 'node:module';

const name = process.argv[2] ?? '';
const file = new URL(`./${name.replaceAll('-', '_')}.ts`, import.meta.url);
if (!/^[a-z-]+$/.test(name) || !existsSync(file)) {
  process.stderr.write(
    `usage: node bench/run.mjs <decode|prefill|serving|load|ops|constrained|grammar|serve-load|text>, received '${name}'\n`,
  );
  process.exit(2);
}
register('./lib/typescript-hooks.mjs', import.meta.url);
await import(file.href);
