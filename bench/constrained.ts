/**
 * What constraints cost a step: decode of a batch whose every sequence has a grammar, against the same batch without
 * one, in turns. Random weights and a made-up vocabulary of the model's size (bytes, words with and without a space
 * before them, pieces of JSON); the grammar is a JSON Schema whose text never ends.
 *
 *   node bench/run.mjs constrained --model llama-3.1-8b --device cuda --batch 32
 */
import { grammarOf } from '../lib/grammar/index.js';
import type { NativeVocabulary } from '../lib/native.js';
import { median, randomIds, readFlags, report, rounded } from './lib/bench.js';
import { BenchModel } from './lib/model.js';

const schema = {
  type: 'array',
  minItems: 1000,
  items: {
    type: 'object',
    properties: {
      name: { type: 'string' },
      kind: { enum: ['alpha', 'beta', 'gamma', 'delta'] },
      score: { type: 'number' },
      tags: { type: 'array', items: { type: 'string' } },
    },
    required: ['name', 'kind', 'score', 'tags'],
    additionalProperties: false,
  },
};

function madeUpVocabulary(size: number): NativeVocabulary {
  const json = [
    '{"',
    '":',
    '": "',
    '", "',
    '"}',
    '"},',
    '[]',
    '["',
    '"]',
    '},{',
    '\n  ',
    '": [',
    '],',
    'null',
  ];
  const parts: Buffer[] = [];
  for (let byte = 0; byte < 256; byte++) parts.push(Buffer.from([byte]));
  for (const text of json) parts.push(Buffer.from(text));
  const letters = 'etaoinshrdlucmfwypvbgkjqxz0123456789';
  for (const ids = randomIds(1, size * 8, letters.length); parts.length < size; ) {
    const n = parts.length;
    const length = 2 + (ids[n]! % 7);
    const word = ids.slice(n * 8 - length, n * 8).map((id) => letters[id]);
    parts.push(Buffer.from((n % 2 ? ' ' : '') + word.join('')));
  }
  const offsets = new Uint32Array(size + 1);
  for (const [i, part] of parts.entries()) offsets[i + 1] = offsets[i]! + part.length;
  return {
    bytes: new Uint8Array(Buffer.concat(parts)),
    offsets,
    special: new Uint8Array(size),
    stopIds: Int32Array.of(size - 1),
  };
}

const flags = readFlags();
const model = await BenchModel.load(
  flags,
  {
    maxModelLen: flags.prompt + flags.generate,
    maxRunningSeqs: Math.max(...flags.batch),
  },
  madeUpVocabulary,
);
const { source } = grammarOf(
  { kind: 'json_schema', schema, name: null },
  { toolFrame: null, specialTokens: new Map(), startAfter: null },
);
const started = performance.now();
const grammar = await model.parts.native.compileGrammar(source);
const compileMs = performance.now() - started;

for (const batch of flags.batch) {
  const prompts = Array.from({ length: batch }, (_, i) =>
    randomIds(1000 * batch + i, flags.prompt, model.spec.vocabSize),
  );
  const stepMs = async (constrained: boolean) => {
    const more = { temperature: 1, ...(constrained && { grammar }) };
    const { full } = await model.run(prompts, flags.generate, -1, more);
    if (full === null) throw new Error('no step had all sequences: raise --generate');
    const steps = (full.end.tokens - full.begin.tokens) / batch;
    return (full.end.time - full.begin.time) / steps;
  };
  await stepMs(true);
  const free: number[] = [];
  const bound: number[] = [];
  for (let i = 0; i < flags.rounds; i++) {
    free.push(await stepMs(false));
    bound.push(await stepMs(true));
  }
  report('constrained', flags, {
    batch,
    vocabulary: model.spec.vocabSize,
    compile_ms: rounded(compileMs),
    step_ms: rounded(median(free), 4),
    constrained_step_ms: rounded(median(bound), 4),
    added_percent: rounded(100 * (median(bound.map((ms, i) => ms / free[i]!)) - 1), 2),
  });
}
await model.close();
