/** A validated body becomes plans: one native request per choice, with the rules for its text. */
import { invalidRequest } from '../errors.js';
import type { NativeSamplingParams } from '../native.js';
import type { RegexProgram } from '../text/regex-program.js';
import { compileStopRegexes } from '../text/stop-regex.js';
import type { ChatFields } from './chat.js';
import { type CompletionFields, type Prompt, samplesOf } from './completions.js';
import { type CommonFields, checkVocabulary } from './fields.js';
import { type AnswerGrammar, answerGrammar, chatGrammar } from './grammar.js';
import { type MessageRules, messageRules } from './message-rules.js';
import { needsTokenizer, renderChat, type TextModel } from './render.js';
import { type ModelFacts, nativeParams, seedOf, settleMaxTokens } from './sampling.js';

/** How a choice's token ids become its text. */
export interface TextRules {
  /** The text goes on from its prompt, as completions do; a chat message is a text of its own. */
  continues: boolean;
  skipSpecialTokens: boolean;
  /** Keep what ended generation in the text. */
  keepStop: boolean;
  stops: string[];
  /** Special tokens whose text is one of `stops`: they end generation though they are not in the text. */
  stopTokens: ReadonlyMap<number, string>;
  regexes: readonly RegexProgram[];
}

export interface Plan {
  /** promptIndex * n + sample; with best_of that of all samples. */
  index: number;
  promptIndex: number;
  promptIds: Int32Array;
  params: NativeSamplingParams;
  text: TextRules;
  /** How the text is taken apart; null leaves it as it is. */
  message: MessageRules | null;
}

export interface Prepared<Fields extends CommonFields = CommonFields> {
  fields: Fields;
  plans: Plan[];
  /** Per prompt: what `echo` puts before the text. */
  promptTexts: string[];
  /** What every answer must be; null: anything. */
  grammar: AnswerGrammar | null;
}

let lastShareGroup = 0;

/** Positive, and another for every call in this process. */
function newShareGroup(): number {
  lastShareGroup = lastShareGroup === 2 ** 31 - 1 ? 1 : lastShareGroup + 1;
  return lastShareGroup;
}

export async function planChat(
  fields: ChatFields,
  text: TextModel,
  facts: ModelFacts,
): Promise<Prepared<ChatFields>> {
  if (fields.input_ids) checkVocabulary(fields.input_ids, facts.vocabSize, 'input_ids');
  const rendered = await renderChat(fields, text);
  const { ids } = rendered;
  if (ids.length === 0)
    throw invalidRequest(
      'The chat template rendered the messages to an empty prompt. Check the messages and the template.',
      'messages',
    );
  const asked =
    fields.max_completion_tokens !== undefined
      ? { value: fields.max_completion_tokens, param: 'max_completion_tokens' }
      : fields.max_tokens !== undefined
        ? { value: fields.max_tokens, param: 'max_tokens' }
        : undefined;
  const maxTokens = settleMaxTokens(ids.length, asked, facts.maxModelLen, 'messages');
  const grammar = chatGrammar(fields, text, rendered, facts);
  const message = await messageRules(fields, text, rendered);
  const plans = plansFor([ids], fields, text, facts, {
    continues: rendered.continued !== null,
    message,
    samples: fields.n ?? 1,
    lengths: () => ({
      maxTokens,
      numLogprobs: fields.logprobs ? (fields.top_logprobs ?? 0) : -1,
      numPromptLogprobs: -1,
    }),
  });
  return { fields, plans, promptTexts: [''], grammar };
}

export async function planCompletion(
  fields: CompletionFields,
  text: TextModel | null,
  facts: ModelFacts,
): Promise<Prepared<CompletionFields>> {
  const prompts = await Promise.all(
    fields.prompts.map((prompt, i) => encodePrompt(prompt, text, facts, paramOf(fields, i))),
  );
  const value = fields.max_tokens ?? 16;
  const lengths = prompts.map((ids) => {
    // The default gives way to the context; a number that was asked for does not.
    const room = Math.max(1, facts.maxModelLen - ids.length);
    const asked = fields.max_tokens === undefined ? Math.min(value, room) : value;
    return settleMaxTokens(
      ids.length,
      { value: asked, param: 'max_tokens' },
      facts.maxModelLen,
      'prompt',
    );
  });
  const grammar = answerGrammar(fields, text, facts);
  const scoring = fields.echo && (fields.logprobs !== undefined || value === 0);
  const plans = plansFor(prompts, fields, text, facts, {
    continues: true,
    message: null,
    samples: samplesOf(fields),
    lengths: (promptIndex) => ({
      maxTokens: lengths[promptIndex]!,
      // The best samples are told by their logprobs.
      numLogprobs: fields.logprobs ?? (samplesOf(fields) > (fields.n ?? 1) ? 0 : -1),
      // Native code needs something to do where no token is asked for.
      numPromptLogprobs: scoring ? (fields.logprobs ?? 0) : -1,
    }),
  });
  const promptTexts = fields.prompts.map((prompt, i) => {
    if (!fields.echo) return '';
    if (typeof prompt === 'string') return prompt;
    const skipSpecialTokens = fields.skip_special_tokens ?? true;
    return text?.tokenizer.decode(prompts[i]!, { skipSpecialTokens }) ?? '';
  });
  return { fields, plans, promptTexts, grammar };
}

function paramOf(fields: CompletionFields, i: number): string {
  const [first] = fields.prompt as unknown[];
  const single = typeof fields.prompt === 'string' || typeof first === 'number';
  return single ? 'prompt' : `prompt[${i}]`;
}

async function encodePrompt(
  prompt: Prompt,
  text: TextModel | null,
  facts: ModelFacts,
  param: string,
): Promise<Int32Array> {
  if (typeof prompt !== 'string') {
    checkVocabulary(prompt, facts.vocabSize, param);
    return Int32Array.from(prompt);
  }
  if (text === null) throw needsTokenizer(param);
  const ids = await text.tokenizer.encode(prompt, { addSpecialTokens: true });
  if (ids.length === 0)
    throw invalidRequest('The prompt has no tokens. Pass another text, or token ids.', param);
  return ids;
}

interface PlanShape {
  continues: boolean;
  message: MessageRules | null;
  /** Per prompt. */
  samples: number;
  lengths: (promptIndex: number) => {
    maxTokens: number;
    numLogprobs: number;
    numPromptLogprobs: number;
  };
}

function plansFor(
  prompts: Int32Array[],
  fields: CommonFields,
  text: TextModel | null,
  facts: ModelFacts,
  { continues, message, samples, lengths }: PlanShape,
): Plan[] {
  const rules = textRules(fields, text, continues);
  return prompts.flatMap((promptIds, promptIndex) => {
    checkExpertsStart(fields, promptIds.length);
    const shareGroup = samples > 1 ? newShareGroup() : 0;
    const shared = nativeParams(fields, facts, { ...lengths(promptIndex), shareGroup });
    return Array.from({ length: samples }, (_, sample) => ({
      index: promptIndex * samples + sample,
      promptIndex,
      promptIds,
      params: { ...shared, seed: seedOf(fields, sample) },
      text: rules,
      message,
    }));
  });
}

function textRules(fields: CommonFields, text: TextModel | null, continues: boolean): TextRules {
  const stops = listOf(fields.stop);
  const patterns = listOf(fields.stop_regex);
  for (const [param, list] of [
    ['stop', stops],
    ['stop_regex', patterns],
  ] as const) {
    if (list.length === 0) continue;
    if (text === null) throw needsTokenizer(param);
    if (fields.return_routed_experts)
      throw invalidRequest(
        `return_routed_experts cannot be combined with ${param}: experts come with the natural end of a ` +
          'request only. Use stop_token_ids instead.',
        'return_routed_experts',
        'unsupported_value',
      );
  }
  const stopTokens = new Map<number, string>();
  for (const stop of stops) {
    const id = text?.tokenizer.tokenToId(stop) ?? null;
    if (id !== null && text?.tokenizer.isSpecial(id)) stopTokens.set(id, stop);
  }
  return {
    continues,
    skipSpecialTokens: fields.skip_special_tokens ?? true,
    keepStop: fields.no_stop_trim ?? false,
    stops,
    stopTokens,
    regexes: compileStopRegexes(patterns),
  };
}

function listOf(value: string | string[] | undefined): string[] {
  return typeof value === 'string' ? [value] : (value ?? []);
}

function checkExpertsStart(fields: CommonFields, promptLength: number): void {
  const start = fields.routed_experts_start_len ?? 0;
  if (start <= promptLength) return;
  throw invalidRequest(
    `routed_experts_start_len must be in [0, ${promptLength}] (the prompt's tokens), got ${start}.`,
    'routed_experts_start_len',
  );
}
