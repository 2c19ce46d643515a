/** A hub on 127.0.0.1 that serves one model, with a second server as its CDN, and with faults on demand. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const MODEL = 'org/tiny';
export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

export interface Request {
  path: string;
  range: string | undefined;
  authorization: string | undefined;
  /** Sent to the CDN, not to the hub itself. */
  cdn: boolean;
}

export interface Faults {
  /** Ends the connection after so many bytes of the file; once per entry. */
  cut?: { file: string; after: number }[];
  /** Answers 200 with the whole file whatever the range. */
  noRanges?: boolean;
  /** For all requests to the API. */
  status?: number;
  /** For file requests: so many answers with 503 first. */
  busy?: number;
  /** Replaces the content of a file, not its hash. */
  corrupt?: string;
  /** Sends the head of files and the first byte, then waits. */
  stall?: boolean;
  /** Changes the listing before it is sent. */
  listing?: (entries: Record<string, unknown>[]) => Record<string, unknown>[];
}

export class MockHub {
  readonly requests: Request[] = [];
  faults: Faults = {};
  #hub = createServer((req, res) => this.#serve(req, res, false));
  #cdn = createServer((req, res) => this.#serve(req, res, true));

  url = '';

  private constructor(readonly files: Map<string, Buffer>) {}

  static async start(files: Map<string, Buffer>): Promise<MockHub> {
    const mock = new MockHub(files);
    for (const server of [mock.#hub, mock.#cdn])
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    mock.url = `http://127.0.0.1:${(mock.#hub.address() as AddressInfo).port}`;
    return mock;
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  /** Ranges asked for, in order, of one file at the CDN. */
  ranges(file: string): (string | undefined)[] {
    return this.requests.filter((r) => r.cdn && r.path.endsWith(file)).map((r) => r.range);
  }

  #serve(req: IncomingMessage, res: ServerResponse, cdn: boolean): void {
    const path = new URL(req.url!, 'http://localhost').pathname;
    const { range, authorization } = req.headers;
    this.requests.push({ path, range, authorization, cdn });
    if (path.startsWith('/api/')) this.#serveApi(path, res);
    else if (!cdn) {
      const { port } = this.#cdn.address() as AddressInfo;
      res.writeHead(302, { location: `http://127.0.0.1:${port}/cdn/${path.split('/').at(-1)}` });
      res.end();
    } else this.#serveFile(path.split('/').at(-1)!, range, res);
  }

  #serveApi(path: string, res: ServerResponse): void {
    const { status, listing } = this.faults;
    const [code, body] = ((): [number, unknown] => {
      if (status) return [status, { error: 'mock says no' }];
      if (path === `/api/models/${MODEL}/revision/main`)
        return [200, { _id: '1', id: MODEL, sha: COMMIT, lastModified: '2025-01-01T00:00:00Z' }];
      if (path !== `/api/models/${MODEL}/tree/${COMMIT}`)
        return [404, { error: 'Repository not found' }];
      const entries = [...this.files].map(([name, content]) => entryOf(name, content));
      return [200, listing ? listing(entries) : entries];
    })();
    res.writeHead(code, { 'content-type': 'application/json' });
    res.end(JSON.stringify(body));
  }

  #serveFile(name: string, range: string | undefined, res: ServerResponse): void {
    if (this.faults.busy) {
      this.faults.busy--;
      res.writeHead(503);
      return void res.end();
    }
    let content = this.files.get(name)!;
    if (this.faults.corrupt === name) content = Buffer.from(content).fill(7, 0, 100);
    const start = range && !this.faults.noRanges ? Number(/^bytes=(\d+)-$/.exec(range)![1]) : 0;
    const headers: Record<string, string | number> = { 'content-length': content.length - start };
    if (start > 0)
      headers['content-range'] = `bytes ${start}-${content.length - 1}/${content.length}`;
    res.writeHead(start > 0 ? 206 : 200, headers);
    if (this.faults.stall) return void res.write(content.subarray(start, start + 1));
    const at = this.faults.cut?.findIndex((c) => c.file === name && c.after > start) ?? -1;
    if (at < 0) return void res.end(content.subarray(start));
    const { after } = this.faults.cut!.splice(at, 1)[0]!;
    // The pause lets the bytes leave before the reset, which may discard what is unsent.
    res.write(content.subarray(start, after), () => setTimeout(() => res.destroy(), 20));
  }
}

/** As the hub lists it: safetensors through LFS with their sha256, the rest with git's hash. */
function entryOf(name: string, content: Buffer): Record<string, unknown> {
  const git = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  const entry = { type: 'file', path: name, size: content.length, oid: git };
  if (!name.endsWith('.safetensors')) return entry;
  const oid = createHash('sha256').update(content).digest('hex');
  return { ...entry, lfs: { oid, size: content.length, pointerSize: 134 } };
}
