/** @mlc-ai/web-xgrammar, the yardstick of bench/grammar.ts, behind what the bench needs of it. */
import { readFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import type * as WebXgrammar from '@mlc-ai/web-xgrammar';
import type { NativeVocabulary } from '../../lib/native.js';

export interface Walk {
  /** Every token, and then a stop token. */
  accepted: boolean;
  /** Tokens taken. */
  refusedAt: number;
  /** Before each token and at the end. */
  maskNs: number[];
}

/** The package is CommonJS that calls itself ESM: neither import nor require reads it. */
function load(): typeof WebXgrammar {
  const path = createRequire(import.meta.url).resolve('@mlc-ai/web-xgrammar');
  const module = new Module(path) as Module & { _compile(source: string, path: string): void };
  module._compile(readFileSync(path, 'utf8'), path.replace(/\.js$/, '.cjs'));
  return module.exports as typeof WebXgrammar;
}

/** A byte as the byte-level tokenizers write it. */
const letterOf = (() => {
  const letters: string[] = [];
  for (let byte = 0, next = 256; byte < 256; byte++) {
    const isPlain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte !== 173);
    letters[byte] = String.fromCodePoint(isPlain ? byte : next++);
  }
  return letters;
})();

export class Xgrammar {
  private constructor(
    readonly library: typeof WebXgrammar,
    readonly compiler: WebXgrammar.GrammarCompiler,
    readonly vocabularyMs: number,
    readonly stopIds: readonly number[],
    /** What its C++ has printed, warnings and why it aborts. */
    readonly said: string[],
  ) {}

  static async create(vocabulary: NativeVocabulary): Promise<Xgrammar> {
    const { bytes, offsets, special, stopIds } = vocabulary;
    const library = load();
    const stop = [...stopIds];
    // Tokens without text are special ones to it.
    const tokens = Array.from(special, (isSpecial, id) =>
      isSpecial && !stop.includes(id)
        ? ''
        : Array.from(bytes.subarray(offsets[id], offsets[id + 1]), (b) => letterOf[b]).join(''),
    );
    const { length } = tokens;
    const said: string[] = [];
    const { log, error } = console;
    // The module takes these when it is made, and keeps them.
    console.log = console.error = (...parts: unknown[]) => said.push(parts.join(' '));
    const started = performance.now();
    const info = await library.TokenizerInfo.createTokenizerInfo(
      tokens,
      'byte_level',
      false,
      length,
      stop,
    );
    Object.assign(console, { log, error });
    const vocabularyMs = performance.now() - started;
    const compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
    return new Xgrammar(library, compiler, vocabularyMs, stop, said);
  }

  /**
   * Any whitespace, which is its default, and other properties where the schema allows them, which is not: so that it
   * means what the schema does.
   *
   * @throws Error with its own words
   */
  async compile(schema: string): Promise<WebXgrammar.CompiledGrammar> {
    this.said.length = 0;
    try {
      return await this.compiler.compileJSONSchema(schema, true, undefined, undefined, false);
    } catch (cause) {
      const reason = this.said.find((line) => line.includes('[FATAL]')) ?? String(cause);
      throw new Error(reason.replace(/^\[FATAL\] \S+ /, ''), { cause });
    }
  }

  async walk(grammar: WebXgrammar.CompiledGrammar, tokens: ArrayLike<number>): Promise<Walk> {
    const matcher = await this.library.GrammarMatcher.createGrammarMatcher(grammar);
    const maskNs: number[] = [];
    const mask = async () => {
      const started = process.hrtime.bigint();
      const words = await matcher.getNextTokenBitmask();
      maskNs.push(Number(process.hrtime.bigint() - started));
      return words;
    };
    try {
      for (let i = 0; i < tokens.length; i++) {
        await mask();
        if (!matcher.acceptToken(tokens[i]!)) return { accepted: false, refusedAt: i, maskNs };
      }
      const words = await mask();
      const accepted = this.stopIds.some((id) => ((words[id >> 5]! >> (id & 31)) & 1) === 1);
      return { accepted, refusedAt: tokens.length, maskNs };
    } finally {
      matcher.dispose();
    }
  }
}
