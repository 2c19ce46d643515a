import { describe, expect, test } from 'vitest';
import { findViolations, importsOf, libViolation, nativeViolation } from '../../scripts/layers.mjs';

test('the repository keeps the import and length rules', () => {
  expect(findViolations()).toEqual([]);
});

describe('C++', () => {
  test.each([
    ['csrc/napi/addon.cc', 'engine/engine.h'],
    ['csrc/napi/js.h', 'node_api.h'],
    ['csrc/engine/scheduler.cc', 'cache/block_pool.h'],
    ['csrc/model/model.h', 'ops/ops.h'],
    ['csrc/cpu/gemm.cc', 'ops/batch.h'],
    ['csrc/cpu/gemm.cc', 'cpu/kernels.h'],
    ['csrc/ops/backend.cc', 'cpu/cpu_ops.h'],
    ['csrc/core/tensor.h', 'vector'],
    ['csrc/core/thread_pool.cc', 'sys/mman.h'],
  ])('%s may include %s', (file, included) => {
    expect(nativeViolation(file, included)).toBe('');
  });
  test.each([
    ['csrc/engine/engine.cc', 'node_api.h'],
    ['csrc/engine/engine.cc', 'napi/js.h'],
    ['csrc/model/weights.cc', 'engine/engine.h'],
    ['csrc/ops/ops.h', 'model/spec.h'],
    ['csrc/core/tensor.h', 'ops/ops.h'],
    ['csrc/cpu/gemm.cc', 'model/spec.h'],
    ['csrc/cpu/gemm.cc', 'cuda/gemm.h'],
    ['csrc/model/transformer.cc', 'cpu/kernels.h'],
    ['csrc/ops/ops.cc', 'cpu/cpu_ops.h'],
    ['csrc/model/weights.cc', 'cuda_runtime.h'],
    ['csrc/somewhere/new.cc', 'core/tensor.h'],
  ])('%s must not include %s', (file, included) => {
    expect(nativeViolation(file, included)).not.toBe('');
  });
});

describe('TypeScript', () => {
  test.each([
    ['lib/engine.ts', './generation.js'],
    ['lib/engine/load.ts', '../models/index.js'],
    ['lib/cli/start.ts', '../index.js'],
    ['lib/generation.ts', './text/detokenize.js'],
    ['lib/text/template.ts', '../errors.js'],
    ['lib/text/template.ts', 'node:fs'],
    ['lib/native.d.ts', './models/spec.js'],
  ])('%s may import %s', (file, imported) => {
    expect(libViolation(file, imported)).toBe('');
  });
  test.each([
    ['lib/generation.ts', './engine.js'],
    ['lib/models/llama.ts', '../engine/load.js'],
    ['lib/engine.ts', './cli/start.js'],
    ['lib/engine.ts', './index.js'],
    ['lib/errors.ts', './mailbox.js'],
    ['lib/native.d.ts', './mailbox.js'],
    ['lib/engine.ts', '../scripts/tools.mjs'],
  ])('%s must not import %s', (file, imported) => {
    expect(libViolation(file, imported)).not.toBe('');
  });

  test('imports of every form are seen, with their line', () => {
    const source = [
      "import { a } from './a.js';",
      "import type { B } from './b.js';",
      'import {',
      '  c,',
      "} from './c.js';",
      "export { d } from './d.js';",
      "const e = await import('./e.js');",
      "import './f.js';",
      "export const text = './not-an-import.js';",
    ].join('\n');
    expect([...importsOf('lib/x.ts', source)].map(({ name, line }) => `${line} ${name}`)).toEqual([
      '1 ./a.js',
      '2 ./b.js',
      '5 ./c.js',
      '6 ./d.js',
      '7 ./e.js',
      '8 ./f.js',
    ]);
  });
});
