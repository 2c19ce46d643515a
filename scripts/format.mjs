// npm run format (--write) and npm run check:format: biome for TypeScript and JSON, clang-format for C++.
import { createRequire } from 'node:module';
import { listFiles, output, run, say } from './tools.mjs';

const write = process.argv.includes('--write');
// The release that formatted the sources; others break lines differently.
const clangFormatMajor = '14';

const biome = createRequire(import.meta.url).resolve('@biomejs/biome/bin/biome');
let status = run(process.execPath, [biome, 'check', ...(write ? ['--write'] : [])]);

const version = output('clang-format', ['--version'])?.match(/version (\d+)/)?.[1];
if (version === clangFormatMajor) {
  const files = listFiles(['csrc', 'test'], /\.(cc|h|cu|cuh)$/);
  const args = write ? ['-i'] : ['--dry-run', '-Werror'];
  if (files.length > 0) status = run('clang-format', [...args, ...files]) || status;
} else {
  const found = version === undefined ? 'not installed' : `version ${version}`;
  say(`note: C++ is not checked: clang-format ${clangFormatMajor} is needed, it is ${found}`);
}
process.exit(status);
