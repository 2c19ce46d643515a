import { defineConfig } from 'vitest/config';

/** unit: lib without the addon. The others run what is in build/Release. */
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
    maxWorkers: 2,
    passWithNoTests: true,
    projects: [
      project('unit', 30_000),
      ...['ops', 'engine', 'golden', 'api'].map((name) => project(name, 120_000)),
    ],
  },
});
