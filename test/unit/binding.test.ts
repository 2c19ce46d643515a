import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  explainLoadFailure,
  explainMissing,
  type Machine,
  openBinding,
} from '../../lib/binding.js';
import { EngineError } from '../../lib/errors.js';

const machine: Machine = {
  platform: 'linux',
  arch: 'x64',
  libc: 'glibc',
  node: '22.12.0',
  packageManager: 'apt-get',
};

function caught(call: () => unknown): EngineError {
  try {
    call();
  } catch (error) {
    expect(EngineError.is(error)).toBe(true);
    return error as EngineError;
  }
  throw new Error('expected an EngineError');
}

describe('openBinding', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'hotpath-binding-'));
    writeFileSync(join(root, 'package.json'), '{ "name": "hotpath", "version": "1.2.3" }');
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const put = (folder: string, name: string, content: string) => {
    mkdirSync(join(root, folder), { recursive: true });
    writeFileSync(join(root, folder, name), content);
  };

  test('nothing built and no prebuild: says for which platform and what to do', () => {
    const error = caught(() => openBinding(root, machine));
    expect(error).toMatchObject({ code: 'binding_unavailable', status: 500, type: 'server_error' });
    expect(error.message).toContain('linux-x64 glibc');
    expect(error.message).toContain('npm install hotpath');
    expect(error.cause).toBeInstanceOf(Error);
  });

  test('in a source checkout the step is the build command', () => {
    put('.', 'CMakeLists.txt', '');
    expect(caught(() => openBinding(root, machine)).message).toContain('npm run build:native');
  });

  test('a file that is no addon is found and refused with the reason of the loader', () => {
    put('build/Release', 'hotpath.node', 'not an addon');
    const error = caught(() => openBinding(root, machine));
    expect(error.code).toBe('binding_unavailable');
    expect(error.message).toContain(join(root, 'build/Release/hotpath.node'));
    expect(error.message).toContain('ERR_DLOPEN_FAILED');
  });

  test('a prebuild is found by platform, architecture and name', () => {
    put(`prebuilds/${platform()}-${arch()}`, 'hotpath.node', 'not an addon');
    expect(caught(() => openBinding(root, machine)).message).toContain('prebuilds');
  });

  test('of two prebuilds the one with CUDA is taken, in whatever order they are found', () => {
    const folder = `prebuilds/${platform()}-${arch()}`;
    const chosen = () => caught(() => openBinding(root, machine)).message.split(' ', 1)[0];
    put(folder, 'hotpath.node', 'not an addon');
    expect(chosen()).toBe(join(root, folder, 'hotpath.node'));
    put(folder, 'hotpath.cuda.node', 'not an addon');
    expect(chosen()).toBe(join(root, folder, 'hotpath.cuda.node'));
    rmSync(join(root, folder, 'hotpath.node'));
    expect(chosen()).toBe(join(root, folder, 'hotpath.cuda.node'));
  });

  test('what was compiled here comes before any prebuild', () => {
    put(`prebuilds/${platform()}-${arch()}`, 'hotpath.cuda.node', 'not an addon');
    put('build/Release', 'hotpath.node', 'not an addon');
    const { message } = caught(() => openBinding(root, machine));
    expect(message).toContain(join(root, 'build/Release/hotpath.node'));
  });

  test('an old Node is refused before anything is looked for', () => {
    for (const node of ['18.20.4', '20.18.1'])
      expect(caught(() => openBinding(root, { ...machine, node })).message).toContain(
        `needs Node 20.19 or newer, received Node ${node}`,
      );
    expect(caught(() => openBinding(root, { ...machine, node: '20.19.0' })).message).toContain(
      'no native addon',
    );
  });
});

describe('explanations', () => {
  test.each([
    ['apt-get', 'linux', 'sudo apt-get install -y g++ cmake make'],
    ['dnf', 'linux', 'sudo dnf install -y gcc-c++ cmake make'],
    ['apk', 'linux', 'apk add g++ cmake make'],
    [null, 'linux', 'package manager'],
    [null, 'darwin', 'xcode-select --install && brew install cmake'],
  ] as const)(
    '%s on %s names the command that installs the tools',
    (packageManager, os, command) => {
      const message = explainMissing({ ...machine, platform: os, packageManager }, true);
      expect(message).toContain(command);
      expect(message).toContain('headers are not needed');
    },
  );

  test('--no-addons is named, not the compiler', () => {
    const cause = Object.assign(new Error('disabled'), { code: 'ERR_DLOPEN_DISABLED' });
    const message = explainLoadFailure('/x/hotpath.node', cause, machine, false);
    expect(message).toContain('--no-addons');
    expect(message).toContain('--allow-addons');
    expect(message).not.toContain('g++');
  });

  test('a C library that is too old is named', () => {
    const cause = Object.assign(new Error("version `GLIBC_2.34' not found"), {
      code: 'ERR_DLOPEN_FAILED',
    });
    expect(explainLoadFailure('/x/hotpath.node', cause, machine, false)).toContain('older than');
  });
});
