/** The documents say what the code does. Their examples run in test/api/readme.test.ts. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { SUPPORTED_FAMILIES } from '../../lib/models/index.js';
import { parseLoadOptions } from '../../lib/options.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');

/** The code names in the first column of the table below a heading. */
function firstColumn(markdown: string, heading: string): string[] {
  const section = markdown.split(/^## /m).find((part) => part.startsWith(heading));
  return [...(section ?? '').matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]!);
}

describe('README.md', () => {
  const readme = read('README.md');

  it('has the two commands', () => {
    expect(readme).toMatch(/^npm ci && npm start\b/m);
    expect(readme).toMatch(/^npm ci && npm test\b/m);
    const { scripts } = JSON.parse(read('package.json'));
    for (const [, name] of readme.matchAll(/`npm run ([\w:]+)/g))
      expect(scripts).toHaveProperty(name!);
  });

  it('lists every option of Engine.load', () => {
    let message = '';
    try {
      parseLoadOptions({ '-': 1 });
    } catch (error) {
      message = (error as Error).message;
    }
    const names = /Options are ([\w, ]+)\./.exec(message)?.[1]?.split(', ') ?? [];
    expect(names.length).toBeGreaterThan(20);
    expect(firstColumn(readme, 'Options of').sort()).toEqual(names.sort());
  });

  it('lists every model family', () => {
    expect(firstColumn(readme, 'Models').sort()).toEqual([...SUPPORTED_FAMILIES].sort());
  });
});

describe('links between documents', () => {
  const docs = existsSync(join(root, 'docs'))
    ? readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))
    : [];
  it.each(['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...docs.map((name) => `docs/${name}`)])(
    '%s: every link leads somewhere',
    (file) => {
      for (const [, target] of read(file).matchAll(/\]\(([^)]+)\)/g)) {
        if (/^https?:/.test(target!)) continue;
        const [path, anchor] = target!.split('#');
        const to = path === '' ? file : join(dirname(file), path!);
        expect(existsSync(join(root, to)), `${file}: ${target}`).toBe(true);
        if (anchor === undefined) continue;
        const anchors = [...read(to).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
          heading!
            .toLowerCase()
            .replace(/[^\w -]/g, '')
            .replaceAll(' ', '-'),
        );
        expect(anchors, `${file}: ${target}`).toContain(anchor);
      }
    },
  );
});
