/** Safetensors files and checkpoint folders made to order. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect } from 'vitest';
import { EngineError } from '../../lib/errors.js';

export type Header = Record<string, unknown>;

const made: string[] = [];
afterAll(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
});

export function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'hotpath-weights-'));
  made.push(folder);
  return folder;
}

export function goldenFolder(name: string): string {
  return fileURLToPath(new URL(`../golden/checkpoints/${name}`, import.meta.url));
}

/** A writable copy of a golden checkpoint. */
export function copyOf(name: string): string {
  const folder = tempFolder();
  cpSync(goldenFolder(name), folder, { recursive: true });
  return folder;
}

/** The bytes of a file with this header (an object, or text as it is) and so much data. */
export function fileBytes(header: Header | string, dataBytes: number): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

export function readParts(file: string): { header: Record<string, Entry>; data: Buffer } {
  const bytes = readFileSync(file);
  const end = 8 + Number(bytes.readBigUInt64LE());
  return { header: JSON.parse(bytes.toString('utf8', 8, end)), data: bytes.subarray(end) };
}

export interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Changes a file's tensors; `edit` gets their entries with the data of each. */
export function rewrite(
  file: string,
  edit: (tensors: Map<string, { dtype: string; shape: number[]; data: Buffer }>) => void,
): void {
  const { header, data } = readParts(file);
  const tensors = new Map<string, { dtype: string; shape: number[]; data: Buffer }>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header))
    if (name !== '__metadata__')
      tensors.set(name, { dtype, shape, data: data.subarray(...data_offsets) });
  edit(tensors);
  const entries: Header = {};
  let at = 0;
  for (const [name, t] of tensors) {
    entries[name] = { dtype: t.dtype, shape: t.shape, data_offsets: [at, at + t.data.length] };
    at += t.data.length;
  }
  const text = Buffer.from(JSON.stringify(entries));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(file, Buffer.concat([length, text, ...[...tensors.values()].map((t) => t.data)]));
}

export function editJson(file: string, edit: (value: Record<string, unknown>) => void): void {
  const value = JSON.parse(readFileSync(file, 'utf8'));
  edit(value);
  writeFileSync(file, JSON.stringify(value));
}

/** Expects an EngineError with all that a load error has, and with these parts in its message. */
export async function loadFailure(
  call: () => unknown,
  code: string,
  ...parts: (string | RegExp)[]
): Promise<void> {
  let error: unknown;
  try {
    await call();
  } catch (e) {
    error = e;
  }
  if (!EngineError.is(error)) throw new Error(`expected an EngineError, received ${String(error)}`);
  const missing = code === 'model_not_found';
  expect(error).toMatchObject({
    code,
    status: missing ? 404 : 400,
    type: missing ? 'not_found_error' : 'invalid_request_error',
    param: null,
  });
  expect(error.message.length).toBeLessThan(1500);
  for (const part of parts) expect(error.message).toMatch(part);
}
