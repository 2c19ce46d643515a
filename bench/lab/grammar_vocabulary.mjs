// The bytes of a byte-level tokenizer's tokens, for grammar_lab.cc:
//   node bench/lab/grammar_vocabulary.mjs tokenizer.json [vocabulary size] > vocabulary.bin
// Little-endian: u32 number of tokens; per token u8 special, u32 length, bytes.
import { readFileSync } from 'node:fs';

const [file, size] = process.argv.slice(2);
const { model, added_tokens: added } = JSON.parse(readFileSync(file, 'utf8'));

const byteOf = new Map();
for (let byte = 0, next = 256; byte < 256; ++byte) {
  const printable =
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  byteOf.set(String.fromCodePoint(printable ? byte : next++), byte);
}

const tokens = [];
for (const [text, id] of Object.entries(model.vocab))
  tokens[id] = { special: 0, bytes: Buffer.from([...text].map((c) => byteOf.get(c))) };
for (const { id, content, special } of added)
  tokens[id] = { special: special ? 1 : 0, bytes: Buffer.from(content) };
const count = Math.max(tokens.length, Number(size ?? 0));

const parts = [Buffer.alloc(4)];
parts[0].writeUInt32LE(count);
for (let id = 0; id < count; ++id) {
  const { special, bytes } = tokens[id] ?? { special: 1, bytes: Buffer.alloc(0) };
  const head = Buffer.alloc(5);
  head.writeUInt8(special);
  head.writeUInt32LE(bytes.length, 1);
  parts.push(head, bytes);
}
process.stdout.write(Buffer.concat(parts));
