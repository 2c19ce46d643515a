/**
 * Headers of safetensors files: 8 bytes of length (little-endian), that many bytes of JSON
 * `{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {...}}`, then the data. Only headers are
 * read here; everything is checked before native code touches a data byte.
 */
import { promises as fs } from 'node:fs';
import { type EngineError, loadError } from '../errors.js';
import { isObject, type JsonObject, show } from '../models/values.js';

/** A tensor as its header describes it. `offset` counts from the start of the file. */
export interface StoredTensor {
  name: string;
  file: string;
  offset: number;
  bytes: number;
  /** As written in the header, one of {@link DTYPE_BITS}. */
  dtype: string;
  shape: number[];
}

/** The format's own limit. */
export const MAX_HEADER_BYTES = 100_000_000;
/** The format has three levels: the header, an entry, its arrays. */
const MAX_DEPTH = 3;
const AGAIN = 'Download or copy the file again.';

/** Every dtype of the format. Weights may be F32, F16 or BF16; others are listed and refused where used. */
export const DTYPE_BITS: ReadonlyMap<string, number> = new Map([
  ['BOOL', 8],
  ['F4', 4],
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
  ['U8', 8],
  ['I8', 8],
  ['F8_E5M2', 8],
  ['F8_E4M3', 8],
  ['F8_E8M0', 8],
  ['I16', 16],
  ['U16', 16],
  ['F16', 16],
  ['BF16', 16],
  ['I32', 32],
  ['U32', 32],
  ['F32', 32],
  ['F64', 64],
  ['I64', 64],
  ['U64', 64],
  ['C64', 64],
]);

function invalid(file: string, problem: string, cause?: unknown): EngineError {
  return loadError(`${file}: ${problem}`, 'checkpoint_invalid', cause);
}

/** Reads and checks the header of one file. */
export async function readHeader(file: string): Promise<StoredTensor[]> {
  let handle: fs.FileHandle | undefined;
  try {
    const stat = await fs.stat(file); // before open: opening a pipe would wait for a writer
    if (!stat.isFile())
      throw invalid(file, 'expected a safetensors file, received something else.');
    handle = await fs.open(file, 'r');
    const { size } = await handle.stat();
    const length = headerLength(file, size, await readExactly(handle, file, 0, Math.min(8, size)));
    return parseHeader(file, size, await readExactly(handle, file, 8, length));
  } catch (error) {
    if ((error as EngineError).code === 'checkpoint_invalid') throw error;
    throw invalid(file, `cannot be read: ${(error as Error).message}`, error);
  } finally {
    await handle?.close();
  }
}

async function readExactly(
  handle: fs.FileHandle,
  file: string,
  position: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) throw invalid(file, `became shorter while it was read. ${AGAIN}`);
    done += bytesRead;
  }
  return bytes;
}

/** Length of the JSON part. `prefix` is the first 8 bytes, fewer where the file has fewer. */
export function headerLength(file: string, fileBytes: number, prefix: Uint8Array): number {
  if (prefix.length < 8)
    throw invalid(
      file,
      `expected a safetensors file (at least 8 bytes), received ${fileBytes} bytes. ${AGAIN}`,
    );
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES))
    throw invalid(
      file,
      `expected a header of at most ${MAX_HEADER_BYTES} bytes, received a header length of ${length}: not a safetensors file, or damaged. ${AGAIN}`,
    );
  if (Number(length) > fileBytes - 8)
    throw invalid(
      file,
      `expected a header of ${length} bytes, received a file with ${fileBytes - 8} bytes after the length: truncated. ${AGAIN}`,
    );
  return Number(length);
}

/**
 * Checks a header against the size of its file: known dtypes, shapes that match their offsets, data
 * without overlap or hole that ends where the file ends. Tensors come back in file order.
 */
export function parseHeader(file: string, fileBytes: number, header: Uint8Array): StoredTensor[] {
  const entries = parseJson(file, header);
  const dataStart = 8 + header.length;
  const tensors: StoredTensor[] = [];
  for (const [name, entry] of Object.entries(entries)) {
    if (name === '__metadata__') checkMetadata(file, entry);
    else tensors.push(readEntry(file, name, entry, dataStart));
  }
  // An empty tensor at the same offset as its neighbour comes first.
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataStart;
  let previous = '';
  for (const t of tensors) {
    if (t.offset !== end) {
      const relation = t.offset < end ? `overlaps ${previous}` : 'leaves a hole before it';
      throw invalid(
        file,
        `tensor ${show(t.name)} ${relation}: expected its data at offset ${end - dataStart}, received ${t.offset - dataStart}. The file is damaged or was written wrongly; get it again from its source.`,
      );
    }
    end += t.bytes;
    previous = show(t.name);
  }
  if (end > fileBytes)
    throw invalid(
      file,
      `expected ${end} bytes, received ${fileBytes}: ${end - fileBytes} bytes are missing (truncated). ${AGAIN}`,
    );
  if (end < fileBytes)
    throw invalid(
      file,
      `expected ${end} bytes, received ${fileBytes}: ${fileBytes - end} bytes at the end belong to no tensor. ${AGAIN}`,
    );
  return tensors;
}

function parseJson(file: string, header: Uint8Array): JsonObject {
  let value: unknown;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(header);
    checkNesting(file, text); // first: JSON.parse keeps a stack as deep as the text asks for
    value = JSON.parse(text);
  } catch (error) {
    if ((error as EngineError).code === 'checkpoint_invalid') throw error;
    throw invalid(
      file,
      `expected a JSON header, received ${header.length} bytes that are not JSON: not a safetensors file, or damaged. ${AGAIN}`,
      error,
    );
  }
  if (!isObject(value))
    throw invalid(file, `expected a header that is a JSON object, received ${show(value)}.`);
  return value;
}

/** Refuses deep nesting, and keys that occur twice: JSON.parse would silently keep the last one. */
function checkNesting(file: string, text: string): void {
  const scopes: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b /* { */ || c === 0x5b /* [ */) {
      if (scopes.push(new Set()) > MAX_DEPTH)
        throw invalid(
          file,
          `expected a header nested at most ${MAX_DEPTH} deep, received more at character ${i}.`,
        );
    } else if (c === 0x7d /* } */ || c === 0x5d /* ] */) {
      scopes.pop();
    } else if (c === 0x22 /* " */) {
      let end = i + 1;
      while (end < text.length && text.charCodeAt(end) !== 0x22)
        end += text.charCodeAt(end) === 0x5c /* \ */ ? 2 : 1;
      let next = end + 1;
      while (' \t\n\r'.includes(text.charAt(next)) && next < text.length) next++;
      if (text.charCodeAt(next) === 0x3a /* : */) {
        const raw = text.slice(i, end + 1);
        const key = raw.includes('\\') ? String(JSON.parse(raw)) : raw.slice(1, -1);
        const scope = scopes.at(-1);
        if (scope?.has(key))
          throw invalid(file, `expected each key once, received ${show(key)} twice in the header.`);
        scope?.add(key);
      }
      i = end;
    }
  }
}

function checkMetadata(file: string, value: unknown): void {
  if (!isObject(value) || Object.values(value).some((v) => typeof v !== 'string'))
    throw invalid(
      file,
      `expected "__metadata__" to map strings to strings, received ${show(value)}.`,
    );
}

function readEntry(file: string, name: string, entry: unknown, dataStart: number): StoredTensor {
  const where = `tensor ${show(name)}`;
  if (!isObject(entry))
    throw invalid(
      file,
      `${where}: expected dtype, shape and data_offsets, received ${show(entry)}.`,
    );
  for (const key of Object.keys(entry))
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets')
      throw invalid(
        file,
        `${where}: expected only dtype, shape and data_offsets, received also ${show(key)}.`,
      );
  const { dtype, shape, data_offsets: offsets } = entry;
  const bits = typeof dtype === 'string' ? DTYPE_BITS.get(dtype) : undefined;
  if (bits === undefined)
    throw invalid(
      file,
      `${where}: expected a dtype among ${[...DTYPE_BITS.keys()].join(', ')}, received ${show(dtype)}.`,
    );
  if (!isCounts(shape))
    throw invalid(file, `${where}: expected a shape of whole numbers, received ${show(shape)}.`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!)
    throw invalid(
      file,
      `${where}: expected data_offsets [begin, end] with begin <= end, received ${show(offsets)}.`,
    );
  let count = 1;
  for (const n of shape) count *= n;
  const bytes = (count * bits) / 8;
  if (!Number.isSafeInteger(count * bits) || !Number.isInteger(bytes))
    throw invalid(
      file,
      `${where}: expected a size in whole bytes below 2^53, received ${dtype} ${show(shape)}.`,
    );
  const [begin, end] = offsets as [number, number];
  if (end - begin !== bytes)
    throw invalid(
      file,
      `${where}: expected ${bytes} bytes for ${dtype} ${show(shape)}, received ${end - begin} (data_offsets ${show(offsets)}). The header lies about a size; get the file again from its source.`,
    );
  return { name, file, offset: dataStart + begin, bytes, dtype: dtype as string, shape };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
