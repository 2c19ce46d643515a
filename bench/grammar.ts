/**
 * Structured output, measured in one run and on one thread: the time from a JSON Schema to a compiled grammar, and that
 * of the mask before each token, over bench/schemas, ours beside @mlc-ai/web-xgrammar's. The grammars and masks of ours
 * run in bench/lab/grammar_lab.cc, which is compiled for it. Wall-clock time: the machine should be quiet.
 *
 *   node bench/run.mjs grammar [--vocabulary <folder with tokenizer.json>] [--size <tokens>] [--every <n>] [--peer-every <n>]
 *     [--save]
 *
 * --vocabulary: default the bundled model's. --size: how many logits the model has; default the tokenizer's own number.
 * --every: each n-th schema only; default 1. --peer-every: each n-th of these on web-xgrammar too; default 9, because it
 * takes seconds for most of them, and with a large vocabulary up to a minute. --save: a line in bench/results/grammar-<device>.jsonl.
 */
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chooseDevice } from '../lib/engine/device.js';
import { nativeVocabulary } from '../lib/engine/vocabulary.js';
import { grammarOf } from '../lib/grammar/index.js';
import { devices } from '../lib/index.js';
import type { NativeVocabulary } from '../lib/native.js';
import { Tokenizer } from '../lib/text/tokenizer.js';
import { rounded } from './lib/bench.js';
import { buildLab, type LabLine, runLab } from './lib/grammar_lab.js';
import { Xgrammar } from './lib/xgrammar.js';
import { schemaCorpus } from './schemas/index.js';

interface Text {
  text: string;
  valid: boolean;
  tokens: Int32Array;
}

interface Case {
  name: string;
  /** JSON text. */
  schema: string;
  texts: Text[];
}

interface Walk {
  /** Every token, and then a stop token. */
  accepted: boolean;
  /** Tokens taken. */
  refusedAt: number;
  masksUs: number[];
}

/** One schema on one engine. */
interface Outcome {
  /** From the parsed schema to the compiled grammar. */
  compileMs: number;
  walks: Walk[];
}

type Spread = Record<string, number>;

const root = fileURLToPath(new URL('..', import.meta.url));

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    vocabulary: { type: 'string', default: join(root, 'models/pocket') },
    size: { type: 'string' },
    every: { type: 'string', default: '1' },
    'peer-every': { type: 'string', default: '9' },
    save: { type: 'boolean', default: false },
  },
});

function wholeNumber(name: 'size' | 'every' | 'peer-every', least: number): number {
  const value = Number(flags[name]);
  if (Number.isInteger(value) && value >= least) return value;
  throw new Error(`--${name}: expected a whole number from ${least} on, received ${flags[name]}`);
}

function spread(values: number[], digits = 3): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
  const figures = { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, rounded(value, digits)]),
  );
}

async function readCases(tokenizer: Tokenizer, every: number): Promise<Case[]> {
  const encode = async (text: string, valid: boolean): Promise<Text> => ({
    text,
    valid,
    tokens: await tokenizer.encode(text, { addSpecialTokens: false }),
  });
  const cases: Case[] = [];
  for (const { name, schema, valid, invalid } of schemaCorpus().filter((_, i) => i % every === 0)) {
    const texts = [...valid.map((t) => encode(t, true)), ...invalid.map((t) => encode(t, false))];
    cases.push({ name, schema: JSON.stringify(schema), texts: await Promise.all(texts) });
  }
  return cases;
}

function lower(schema: string): { source: string; ms: number } {
  const parsed = JSON.parse(schema) as Record<string, unknown>;
  const started = performance.now();
  const { source } = grammarOf(
    { kind: 'json_schema', name: null, schema: parsed },
    { toolFrame: null, specialTokens: new Map(), startAfter: null },
  );
  return { source, ms: performance.now() - started };
}

const microseconds = (ns: number[]) => ns.map((value) => value / 1000);

function nativeOutcome(line: LabLine, lowerMs: number): Outcome | Error {
  if (line.error !== undefined) return new Error(line.error);
  const walks = line.walks.map((walk) => ({
    accepted: walk.accepted,
    refusedAt: walk.refused_at,
    masksUs: microseconds(walk.mask_ns),
  }));
  return { compileMs: lowerMs + line.compile_ns * 1e-6, walks };
}

async function peerOutcome(xgrammar: Xgrammar, one: Case): Promise<Outcome | Error> {
  try {
    const started = performance.now();
    const grammar = await xgrammar.compile(one.schema);
    const compileMs = performance.now() - started;
    const walks: Walk[] = [];
    for (const { tokens } of one.texts) {
      const { accepted, refusedAt, maskNs } = await xgrammar.walk(grammar, tokens);
      walks.push({ accepted, refusedAt, masksUs: microseconds(maskNs) });
    }
    grammar.dispose();
    return { compileMs, walks };
  } catch (error) {
    return error as Error;
  }
}

/** Times of masks are those in valid texts. */
function summary(cases: readonly Case[], outcomes: readonly (Outcome | Error)[]) {
  const done = outcomes.flatMap((outcome, i) =>
    outcome instanceof Error ? [] : [{ ...outcome, texts: cases[i]!.texts }],
  );
  const walks = done.map(({ walks, texts }) => walks.map((w, i) => ({ ...w, ...texts[i]! })));
  const wrong = (valid: boolean) =>
    walks.flat().filter((walk) => walk.valid === valid && walk.accepted !== valid).length;
  const masks = walks.flat().flatMap((walk) => (walk.valid ? walk.masksUs : []));
  const first = walks.flatMap(([walk]) => walk!.masksUs);
  const compileMs = done.map((one) => one.compileMs);
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  return {
    schemas: cases.length,
    schemas_refused: cases.length - done.length,
    valid_refused: wrong(true),
    invalid_accepted: wrong(false),
    compile_ms: spread(compileMs),
    masks: masks.length,
    mask_us: spread(masks, 2),
    // Of each grammar's first text, when nothing of its own is cached.
    first_mask_us: spread(first, 2),
    // Compilations and the masks of all valid texts.
    total_ms: rounded(sum(compileMs) + sum(masks) / 1000, 1),
  };
}

function printRow(name: string, unit: string, figures: Spread): void {
  const cells = Object.entries(figures).map(([key, v]) => `${key} ${String(v).padStart(9)}`);
  process.stdout.write(`${name.padEnd(36)} ${cells.join('  ')} ${unit}\n`);
}

function printSummary(name: string, figures: ReturnType<typeof summary>): void {
  const label = `${name}, ${figures.schemas} schemas`;
  printRow(`${label}: compile`, 'ms', figures.compile_ms);
  printRow(`${' '.repeat(label.length)}  mask`, 'us', figures.mask_us);
  printRow(`${' '.repeat(label.length)}  first text`, 'us', figures.first_mask_us);
  process.stdout.write(
    `  ${figures.schemas_refused} schemas refused, ${figures.valid_refused} valid texts refused, ` +
      `${figures.invalid_accepted} invalid ones accepted; ${figures.total_ms} ms in all\n`,
  );
}

/** What is refused and misjudged, one of each schema. */
function printFaults(
  name: string,
  tokenizer: Tokenizer,
  cases: readonly Case[],
  outcomes: readonly (Outcome | Error)[],
): void {
  for (const [i, outcome] of outcomes.entries()) {
    const { name: schema, texts } = cases[i]!;
    if (outcome instanceof Error) {
      process.stdout.write(`${name} refuses ${schema}: ${outcome.message}\n`);
      continue;
    }
    const at = outcome.walks.findIndex((walk, k) => walk.accepted !== texts[k]!.valid);
    if (at < 0) continue;
    const { text, valid, tokens } = texts[at]!;
    const taken = tokenizer.decode(tokens.slice(0, outcome.walks[at]!.refusedAt));
    const what = valid
      ? `refuses what follows ${taken.slice(-60)}`
      : `accepts ${text.slice(0, 100)}`;
    process.stdout.write(`${name}, ${schema}: ${what}\n`);
  }
}

function printSlowest(cases: readonly Case[], outcomes: readonly (Outcome | Error)[]): void {
  const done = outcomes.flatMap((outcome, i) =>
    outcome instanceof Error ? [] : [{ ...outcome, ...cases[i]! }],
  );
  const masks = done.flatMap((one) =>
    one.walks.map((walk, i) => {
      const us = Math.max(...walk.masksUs);
      return { name: `${one.name}, text ${i}, token ${walk.masksUs.indexOf(us)}`, us };
    }),
  );
  const top = masks.sort((a, b) => b.us - a.us).slice(0, 8);
  for (const { name, us } of top) process.stdout.write(`slow mask: ${us.toFixed(0)} us, ${name}\n`);
  for (const one of done.sort((a, b) => b.compileMs - a.compileMs).slice(0, 8))
    process.stdout.write(`slow schema: ${one.compileMs.toFixed(1)} ms, ${one.name}\n`);
}

function ourFigures(
  cases: readonly Case[],
  outcomes: readonly (Outcome | Error)[],
  lines: readonly LabLine[],
  lowered: Record<'first' | 'warm', number[]>,
) {
  const done = lines.filter((line) => line.error === undefined);
  const walks = done.flatMap((line) => line.walks);
  return {
    ...summary(cases, outcomes),
    lower_ms: spread(lowered.warm),
    // In a process that has lowered nothing before: the JIT is cold.
    first_lower_ms: spread(lowered.first),
    native_compile_ms: spread(done.map((line) => line.compile_ns * 1e-6)),
    accept_us: spread(microseconds(walks.flatMap((walk) => walk.accept_ns)), 2),
    grammar_kb: spread(
      done.map((line) => line.bytes / 1024),
      1,
    ),
    mask_and_accept_disagree: walks.reduce((sum, walk) => sum + walk.disagreed, 0),
  };
}

async function main(folder: string): Promise<void> {
  const building = buildLab(folder);
  const tokenizer = await Tokenizer.load(resolve(flags.vocabulary));
  flags.size ??= String(tokenizer.vocabSize);
  const size = wholeNumber('size', tokenizer.vocabSize);
  const cases = await readCases(tokenizer, wholeNumber('every', 1));
  const peerEvery = wholeNumber('peer-every', 1);
  if (tokenizer.eosTokenId === null) throw new Error('the tokenizer names no end-of-text token');
  const vocabulary: NativeVocabulary = nativeVocabulary(tokenizer, size, [tokenizer.eosTokenId]);
  const lab = await building;

  const first = cases.map(({ schema }) => lower(schema).ms);
  const lowered = cases.map(({ schema }) => lower(schema));
  const lines = await runLab(
    lab,
    folder,
    vocabulary,
    cases.map(({ texts }, i) => ({
      grammar: lowered[i]!.source,
      texts: texts.map(({ tokens }) => tokens),
    })),
  );
  const native = lines.map((line, i) => nativeOutcome(line, lowered[i]!.ms));

  const xgrammar = await Xgrammar.create(vocabulary);
  const peerCases = cases.filter((_, i) => i % peerEvery === 0);
  const peer: (Outcome | Error)[] = [];
  for (const one of peerCases) peer.push(await peerOutcome(xgrammar, one));
  const same = native.filter((_, i) => i % peerEvery === 0);

  const ours = ourFigures(cases, native, lines, { first, warm: lowered.map(({ ms }) => ms) });
  const sideBySide = { ours: summary(peerCases, same), web_xgrammar: summary(peerCases, peer) };
  const info = chooseDevice(devices(), 'cpu');
  const packageJson = readFileSync(join(root, 'package.json'), 'utf8');
  const line = JSON.stringify({
    bench: 'grammar',
    date: new Date().toISOString().slice(0, 10),
    version: (JSON.parse(packageJson) as { version: string }).version,
    device: info.name,
    node: process.version,
    threads: 1,
    vocabulary: basename(resolve(flags.vocabulary)),
    vocabulary_size: size,
    texts: cases.reduce((sum, { texts }) => sum + texts.length, 0),
    ours,
    side_by_side: { ...sideBySide, web_xgrammar_vocabulary_ms: Math.round(xgrammar.vocabularyMs) },
  });
  process.stdout.write(`${line}\n\n`);
  printRow('lower (TypeScript)', 'ms', ours.lower_ms);
  printRow('compile (native)', 'ms', ours.native_compile_ms);
  printSummary('ours', ours);
  printSummary('ours', sideBySide.ours);
  printSummary('xgrammar', sideBySide.web_xgrammar);
  printFaults('ours', tokenizer, cases, native);
  printFaults('xgrammar', tokenizer, peerCases, peer);
  printSlowest(cases, native);
  if (!flags.save) return;
  const slug = info.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  const file = `bench/results/grammar-${slug.replaceAll(/^-|-$/g, '')}.jsonl`;
  appendFileSync(join(root, file), `${line}\n`);
}

const folder = mkdtempSync(join(tmpdir(), 'hotpath-grammar-'));
try {
  await main(folder);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
