import { defineConfig } from 'vitest/config';

/** unit: lib without the addon. engine and api: with it, over build/Release. */
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
    projects: [project('unit', 30_000), project('engine', 120_000), project('api', 120_000)],
  },
});
