/** The command line without a process: streams that a test writes and reads, and an engine that it gives. */
import { PassThrough, Writable } from 'node:stream';
import type { Context } from '../../lib/cli/context.js';
import { runCli } from '../../lib/cli/program.js';
import type { Engine, LoadOptions } from '../../lib/index.js';

export interface Loaded {
  model: string;
  options: LoadOptions;
}

export class TestContext implements Context {
  readonly input = new PassThrough() as PassThrough & { isTTY?: boolean };
  readonly out = new Collected();
  readonly err = new Collected();
  readonly loaded: Loaded[] = [];
  readonly exits: number[] = [];
  env: Record<string, string | undefined> = {};
  engine: (() => Promise<Engine>) | null = null;
  #listeners = new Set<(signal: 'SIGINT' | 'SIGTERM') => void>();

  async load(model: string, options: LoadOptions): Promise<Engine> {
    this.loaded.push({ model, options });
    if (this.engine === null) throw new Error('the test gave no engine');
    return this.engine();
  }

  onSignal(listener: (signal: 'SIGINT' | 'SIGTERM') => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get listening(): number {
    return this.#listeners.size;
  }

  signal(name: 'SIGINT' | 'SIGTERM'): void {
    for (const listener of this.#listeners) listener(name);
  }

  exit(code: number): void {
    this.exits.push(code);
  }
}

class Collected extends Writable {
  isTTY?: boolean;
  text = '';

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

/** Runs with this stdin, at once closed. */
export async function run(context: TestContext, args: string[], stdin = ''): Promise<number> {
  context.input.end(stdin);
  return runCli(args, context);
}
