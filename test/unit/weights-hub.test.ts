import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { cacheRoot } from '../../lib/weights/cache.js';
import { type LoadProgress, type OpenOptions, openCheckpoint } from '../../lib/weights/index.js';
import { COMMIT, MODEL, MockHub } from './weights-mock-hub.js';

const source = fileURLToPath(new URL('../golden/checkpoints/mistral-window', import.meta.url));
const SHARD = 'model-00002-of-00003.safetensors';
const SHARDS = [1, 2, 3].map((n) => `model-0000${n}-of-00003.safetensors`);

let hub: MockHub;
let cacheDir: string;
let repo: string;

beforeEach(async () => {
  const files = new Map(
    readdirSync(source).map((name) => [name, readFileSync(join(source, name))]),
  );
  files.set('tokenizer.json', Buffer.from('{"model":{}}'));
  files.set('generation_config.json', Buffer.from('{"eos_token_id":[2,5]}'));
  files.set('chat_template.jinja', Buffer.from('{{ messages }}'));
  for (const unneeded of ['pytorch_model.bin', 'consolidated.safetensors', 'README.md'])
    files.set(unneeded, Buffer.alloc(1000));
  hub = await MockHub.start(files);
  cacheDir = mkdtempSync(join(tmpdir(), 'hotpath-hub-'));
  repo = join(cacheDir, 'models--org--tiny');
  vi.stubEnv('HF_TOKEN', '');
  vi.stubEnv('HF_HUB_OFFLINE', '');
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  rmSync(cacheDir, { recursive: true });
});

function open(options: Partial<OpenOptions> = {}) {
  return openCheckpoint(MODEL, {
    loadFormat: 'auto',
    cacheDir,
    endpoint: hub.url,
    retryDelayMs: 1,
    ...options,
  });
}

async function failure(promise: Promise<unknown>): Promise<EngineError> {
  const error = await promise.then(
    () => expect.unreachable('expected an error'),
    (e: unknown) => e,
  );
  expect(EngineError.is(error), String(error)).toBe(true);
  return error as EngineError;
}

const incomplete = () => readdirSync(join(repo, 'blobs')).filter((f) => f.endsWith('.incomplete'));

describe('download', () => {
  test('gets what is needed, in the layout of huggingface_hub, and asks nothing the second time', async () => {
    const reports: LoadProgress[] = [];
    const checkpoint = await open({ onProgress: (p) => reports.push({ ...p }) });

    expect(checkpoint.name).toBe(MODEL);
    expect(checkpoint.folder).toBe(join(repo, 'snapshots', COMMIT));
    expect(checkpoint.eosTokenIds).toEqual([2, 5]);
    expect(checkpoint.tensors).toHaveLength(39);
    expect(readdirSync(checkpoint.folder).sort()).toEqual(
      [
        ...SHARDS,
        'chat_template.jinja',
        'config.json',
        'generation_config.json',
        'model.safetensors.index.json',
        'tokenizer.json',
      ].sort(),
    );
    expect(readFileSync(join(repo, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    const shard = join(checkpoint.folder, SHARD);
    expect(lstatSync(shard).isSymbolicLink()).toBe(true);
    expect(readlinkSync(shard)).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    expect(readFileSync(shard).equals(hub.files.get(SHARD)!)).toBe(true);
    expect(incomplete()).toEqual([]);

    const total = readdirSync(checkpoint.folder)
      .map((name) => hub.files.get(name)!.length)
      .reduce((a, b) => a + b);
    expect(reports.at(-1)).toMatchObject({
      phase: 'download',
      bytesDone: total,
      bytesTotal: total,
    });
    for (const [i, p] of reports.entries()) {
      expect(p.bytesDone).toBeLessThanOrEqual(p.bytesTotal);
      expect(p.bytesDone).toBeGreaterThanOrEqual(reports[i - 1]?.bytesDone ?? 0);
    }

    const asked = hub.requests.length;
    expect((await open()).folder).toBe(checkpoint.folder);
    expect((await open({ offline: true })).folder).toBe(checkpoint.folder);
    expect(hub.requests).toHaveLength(asked);
  });

  test('continues after a cut connection where it ended, without starting over', async () => {
    hub.faults.cut = [
      { file: SHARD, after: 20_000 },
      { file: SHARD, after: 50_000 },
    ];
    const checkpoint = await open();
    const starts = hub.ranges(SHARD).map((r) => Number(/\d+/.exec(r ?? '0')));
    expect(starts).toHaveLength(3);
    expect(starts[0]).toBe(0);
    expect(starts[1]).toBeGreaterThan(0);
    expect(starts[1]).toBeLessThanOrEqual(20_000);
    expect(starts[2]).toBeGreaterThan(starts[1]!);
    expect(readFileSync(join(checkpoint.folder, SHARD)).equals(hub.files.get(SHARD)!)).toBe(true);
  });

  test('an interrupted download is kept and continued by the next call', async () => {
    const controller = new AbortController();
    hub.faults.cut = [{ file: SHARD, after: 30_000 }];
    let seen = 0;
    const own: typeof fetch = async (input, init) => {
      const answer = await fetch(input, init);
      if (String(input).endsWith(SHARD) && ++seen === 2) controller.abort(new Error('enough'));
      return answer;
    };
    await expect(open({ signal: controller.signal, fetch: own })).rejects.toThrow('enough');
    const [part] = incomplete().map((f) => statSync(join(repo, 'blobs', f)).size);
    expect(part).toBeGreaterThan(0);
    expect(existsSync(join(repo, 'refs', 'main'))).toBe(false);

    hub.requests.length = 0;
    const reports: LoadProgress[] = [];
    const checkpoint = await open({ onProgress: (p) => reports.push(p) });
    expect(hub.ranges(SHARD)).toEqual([`bytes=${part}-`]);
    expect(hub.ranges('config.json')).toEqual([]);
    expect(readFileSync(join(checkpoint.folder, SHARD)).equals(hub.files.get(SHARD)!)).toBe(true);
    expect(reports.at(-1)!.bytesDone).toBe(reports.at(-1)!.bytesTotal);
  });

  test('works with a server that knows no ranges', async () => {
    hub.faults = { noRanges: true, cut: [{ file: SHARD, after: 30_000 }] };
    const checkpoint = await open();
    expect(hub.ranges(SHARD)[1]).toMatch(/^bytes=\d+-$/);
    expect(readFileSync(join(checkpoint.folder, SHARD)).equals(hub.files.get(SHARD)!)).toBe(true);
  });

  test('waits while the server is busy, and gives up when it stays so', async () => {
    hub.faults.busy = 3;
    await open();
    rmSync(repo, { recursive: true });
    hub.faults.busy = 1000;
    const error = await failure(open());
    expect(error).toMatchObject({ code: 'download_failed', param: null });
    expect(error.message).toMatch(
      /Download of .* failed: expected \d+ bytes, received 0 \(HTTP 503\)/,
    );
    expect((error.cause as Error).message).toBe('HTTP 503');
  });

  test('refuses content with another hash and does not keep it', async () => {
    for (const [file, kind] of [
      [SHARD, 'sha256'],
      ['config.json', 'git hash'],
    ] as const) {
      hub.faults.corrupt = file;
      const error = await failure(open());
      expect(error.code).toBe('download_failed');
      expect(error.message).toContain(`Download of ${file} failed: expected ${kind} `);
      expect(error.message).toContain('received content with');
      expect(existsSync(join(repo, 'snapshots', COMMIT, file))).toBe(false);
      hub.faults.corrupt = undefined;
      await open();
      rmSync(repo, { recursive: true });
    }
  });

  test('resumed bytes that are wrong are found out by the hash', async () => {
    const oid = createHash('sha256').update(hub.files.get(SHARD)!).digest('hex');
    mkdirSync(join(repo, 'blobs'), { recursive: true });
    const part = join(repo, 'blobs', `${oid}.incomplete`);
    writeFileSync(part, Buffer.alloc(20_000, 1));
    expect((await failure(open())).message).toContain('expected sha256');
    expect(hub.ranges(SHARD)).toEqual(['bytes=20000-']);
    expect(incomplete()).toEqual([]);
    // Longer than the file can be: not the start of it.
    writeFileSync(part, Buffer.alloc(1_000_000, 1));
    await open();
    expect(incomplete()).toEqual([]);
  });

  test('the token goes to the hub and not to where it redirects', async () => {
    await open({ token: 'secret' });
    for (const request of hub.requests)
      expect(request.authorization).toBe(request.cdn ? undefined : 'Bearer secret');
    expect(hub.requests.some((r) => r.cdn)).toBe(true);
  });

  test('takes token and endpoint from the environment', async () => {
    vi.stubEnv('HF_TOKEN', 'from-env');
    vi.stubEnv('HF_ENDPOINT', `${hub.url}/`);
    await open({ endpoint: undefined });
    expect(hub.requests[0]!.authorization).toBe('Bearer from-env');
  });

  test('an abort ends it at once with the reason', async () => {
    hub.faults.stall = true;
    const controller = new AbortController();
    const pending = open({ signal: controller.signal });
    const settled = expect(pending).rejects.toBe('my reason');
    await vi.waitUntil(() => hub.requests.some((r) => r.cdn));
    controller.abort('my reason');
    await settled;
    await expect(open({ signal: controller.signal })).rejects.toBe('my reason');
  });

  test('loads at the same time do not disturb each other', async () => {
    const loads = await Promise.all(Array.from({ length: 6 }, () => open()));
    for (const { folder, tensors } of loads) {
      expect(readdirSync(folder)).toHaveLength(8);
      expect(tensors).toHaveLength(39);
      for (const shard of SHARDS)
        expect(readFileSync(join(folder, shard)).equals(hub.files.get(shard)!)).toBe(true);
    }
    expect(incomplete()).toEqual([]);
  });

  test('dummy gets the configs only; a full load afterwards gets the rest', async () => {
    const dummy = await open({ loadFormat: 'dummy' });
    expect(readdirSync(dummy.folder).sort()).toEqual(['config.json', 'generation_config.json']);
    expect(dummy).toMatchObject({ tensors: [], weightDtype: 'f16', eosTokenIds: [2, 5] });
    expect((await open()).tensors).toHaveLength(39);
  });
});

describe('what goes wrong', () => {
  test.each([
    [404, 'model_not_found', 404, ['HTTP 404', 'no such model or revision', 'Check the name']],
    [401, 'download_failed', 400, ['HTTP 401', 'private', 'HF_TOKEN']],
    [403, 'download_failed', 400, ['HTTP 403', 'accept the terms']],
    [500, 'download_failed', 400, ['mock says no', 'Check the network']],
  ] as const)('HTTP %i', async (received, code, status, parts) => {
    hub.faults.status = received;
    const error = await failure(open());
    expect(error).toMatchObject({ code, status, param: null });
    for (const part of [`${MODEL} (revision "main")`, hub.url, ...parts])
      expect(error.message).toContain(part);
  });

  test('an unknown revision', async () => {
    const error = await failure(open({ revision: 'v9' }));
    expect(error.code).toBe('model_not_found');
    expect(error.message).toContain('revision "v9"');
    for (const revision of ['../../etc', '/etc', '']) {
      const bad = await failure(open({ revision }));
      expect(bad.code).toBe('model_not_found');
      expect(bad.message).toContain('expected a branch, tag or commit');
    }
  });

  test('no network', async () => {
    const endpoint = hub.url;
    await hub.close();
    const error = await failure(open({ endpoint }));
    expect(error.code).toBe('download_failed');
    expect(error.message).toContain('ECONNREFUSED');
    expect(error.message).toContain('pass a folder or fill the cache beforehand');
    expect(error.cause).toBeInstanceOf(Error);
    hub = await MockHub.start(new Map());
  });

  test('offline and not in the cache', async () => {
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    const error = await failure(open());
    expect(error).toMatchObject({ code: 'model_not_found', status: 404, param: null });
    for (const part of [MODEL, 'revision "main"', repo, 'received none', 'HF_HUB_OFFLINE'])
      expect(error.message).toContain(part);
    expect(hub.requests).toEqual([]);
  });

  test('offline with an incomplete snapshot: it says which file is missing', async () => {
    const { folder } = await open();
    unlinkSync(join(folder, SHARD));
    const error = await failure(open({ offline: true }));
    expect(error.message).toContain(`an incomplete snapshot without ${SHARD}`);
    // A link whose blob is gone counts as missing; online, the file comes back.
    const { folder: again } = await open();
    const { length } = hub.requests;
    rmSync(join(repo, 'blobs', readlinkSync(join(again, SHARDS[0]!)).split('/').at(-1)!));
    expect((await failure(open({ offline: true }))).message).toContain(SHARDS[0]);
    await open();
    expect(hub.requests.length).toBeGreaterThan(length);
  });

  test('a repository without safetensors', async () => {
    for (const name of [...SHARDS, 'model.safetensors.index.json']) hub.files.delete(name);
    const error = await failure(open());
    expect(error.code).toBe('checkpoint_invalid');
    expect(error.message).toContain('expected model.safetensors or model.safetensors.index.json');
    expect(error.message).toContain('pytorch_model.bin');
  });

  test('a repository without a shard of its index', async () => {
    hub.files.delete(SHARD);
    const error = await failure(open());
    expect(error.code).toBe('checkpoint_invalid');
    expect(error.message).toContain(`expected the shard ${SHARD}`);
  });

  test('a listing cannot lead outside of the cache', async () => {
    hub.faults.listing = (entries) => [
      ...entries,
      { type: 'file', path: '../evil.json', size: 2, oid: 'a'.repeat(40) },
    ];
    await open();
    expect(hub.requests.some((r) => r.path.includes('evil'))).toBe(false);
    rmSync(repo, { recursive: true });
    hub.faults.listing = (entries) => entries.map((e) => ({ ...e, oid: '../../evil' }));
    const error = await failure(open());
    expect(error.code).toBe('download_failed');
    expect(error.message).toContain('expected a size and a hash');
  });
});

test('the cache is where huggingface_hub has it', () => {
  expect(cacheRoot({ HF_HUB_CACHE: '/a', HF_HOME: '/b' })).toBe('/a');
  expect(cacheRoot({ HUGGINGFACE_HUB_CACHE: '/c', HF_HOME: '/b' })).toBe('/c');
  expect(cacheRoot({ HF_HOME: '/b', XDG_CACHE_HOME: '/d' })).toBe('/b/hub');
  expect(cacheRoot({ XDG_CACHE_HOME: '/d' })).toBe('/d/huggingface/hub');
  expect(cacheRoot({})).toMatch(/\/\.cache\/huggingface\/hub$/);
});

test('a snapshot that Python wrote is found by branch, tag path and commit', async () => {
  const folder = join(repo, 'snapshots', COMMIT);
  for (const dir of [folder, join(repo, 'refs', 'refs', 'pr')]) mkdirSync(dir, { recursive: true });
  for (const name of readdirSync(source))
    writeFileSync(join(folder, name), readFileSync(join(source, name)));
  writeFileSync(join(repo, 'refs', 'main'), COMMIT);
  writeFileSync(join(repo, 'refs', 'refs', 'pr', '1'), COMMIT);
  for (const revision of [undefined, 'main', 'refs/pr/1', COMMIT])
    expect((await open({ revision, offline: true })).folder).toBe(folder);
  expect(hub.requests).toEqual([]);
});
