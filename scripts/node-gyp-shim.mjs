#!/usr/bin/env node
// prebuildify calls "node-gyp rebuild" and takes build/Release/*.node; this answers with our CMake build.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './tools.mjs';

rmSync(join(root, 'build/Release/hotpath.node'), { force: true });
process.exit(run(process.execPath, ['scripts/build.mjs', '--only', 'native', '--prebuild']));
