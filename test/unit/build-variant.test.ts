/** Which build of the addon is made, and what is said where nvcc is missing or too old. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { explainNvcc, findNvcc } from '../../scripts/toolchain.mjs';
import { chooseVariant, type Variant } from '../../scripts/variant.mjs';

describe('chooseVariant', () => {
  test.each<[Variant | undefined, Variant | null, boolean, boolean, Variant]>([
    // asked, remembered, GPU, nvcc
    [undefined, null, false, false, 'cpu'],
    [undefined, null, false, true, 'cpu'],
    [undefined, null, true, false, 'cpu'],
    [undefined, null, true, true, 'cuda'],
    [undefined, 'cuda', false, false, 'cuda'],
    [undefined, 'cpu', true, true, 'cpu'],
    ['cpu', 'cuda', true, true, 'cpu'],
    ['cuda', 'cpu', false, false, 'cuda'],
  ])('asked %s, remembered %s, GPU %s, nvcc %s: %s', (asked, remembered, gpu, nvcc, expected) => {
    const machine = { hasGpu: () => gpu, hasNvcc: () => nvcc };
    expect(chooseVariant(asked, () => remembered, machine)).toBe(expected);
  });
});

describe('findNvcc', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'hotpath-nvcc-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const found = (release: string | null) => {
    const command = join(folder, `nvcc-${release}`);
    if (release !== null) {
      const text = `Cuda compilation tools, release ${release}, V${release}.99`;
      writeFileSync(command, `#!/bin/sh\necho '${text}'\n`);
      chmodSync(command, 0o755);
    }
    vi.stubEnv('CUDACXX', command);
    try {
      return findNvcc();
    } finally {
      vi.unstubAllEnvs();
    }
  };

  test.each(['12.4', '12.10', '13.0'])('%s will do', (release) => {
    const { command, problem } = found(release);
    expect(problem).toBe('');
    expect(command).toBe(join(folder, `nvcc-${release}`));
  });

  test.each(['11.8', '12.3'])('%s is too old', (release) => {
    const { command, problem } = found(release);
    expect(command).toBe('');
    expect(problem).toContain(`CUDA ${release}, 12.4 or newer is needed`);
  });

  test('one that is missing is named, and what to do', () => {
    const { problem } = found(null);
    expect(problem).toMatch(/^CUDACXX=.*does not run$/);
    expect(explainNvcc(problem)).toMatch(/no driver and no GPU are needed.*npm run build:native/s);
  });
});
