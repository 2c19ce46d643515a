import { defineConfig } from 'vitest/config';

/** A test on a GPU takes a share of its memory: two at a time would take each other's. */
const onGpu = process.env.DEVICE?.startsWith('cuda') ?? false;

/** unit: lib without the addon. The others run what is in build/Release, some of them on $DEVICE. */
const project = (name: string, testTimeout: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    environment: 'node',
    pool: 'forks' as const,
    testTimeout,
    hookTimeout: testTimeout,
  },
});

export default defineConfig({
  test: {
    maxWorkers: onGpu ? 1 : 2,
    passWithNoTests: true,
    projects: [
      project('unit', 30_000),
      ...['ops', 'engine', 'golden', 'api'].map((name) => project(name, 120_000)),
    ],
  },
});
