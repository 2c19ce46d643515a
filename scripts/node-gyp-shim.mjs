#!/usr/bin/env node
// prebuildify calls "node-gyp rebuild" and takes build/Release/*.node; this answers with our CMake build.
import { run } from './tools.mjs';

const args = ['--only', 'native', '--variant', 'cpu', '--compile'];
process.exit(run(process.execPath, ['scripts/build.mjs', ...args]));
