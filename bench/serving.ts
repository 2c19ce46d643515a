/**
 * Offline serving through the public API, as nano-vllm's bench.py and mini-sglang's offline bench define it: 256 prompts
 * of 100 to 1024 random ids, 100 to 1024 tokens each, temperature 0.6, EOS ignored, all submitted at once, not
 * streamed; generated tokens per second of wall time. bench/prompts/nano-vllm.json is that very list.
 *
 *   node bench/run.mjs serving --device cuda [--model qwen3-0.6b] [--batch <number of prompts>] [--rounds <n>]
 *
 * A model folder with a tokenizer.json adds what turning ids into text costs.
 */
import { readFileSync } from 'node:fs';
import { Engine } from '../lib/index.js';
import { dummyOptions, Fnv, readFlags, report, rounded } from './lib/bench.js';
import { watchThread } from './lib/thread.js';

const everything = { prompts: 256, promptTokens: 142_827, generatedTokens: 133_966 };

const given = (name: string) => process.argv.some((argument) => argument.startsWith(`--${name}`));
if (!given('model')) process.argv.push('--model', 'qwen3-0.6b');
if (!given('rounds')) process.argv.push('--rounds', '1');
const flags = readFlags();
const list = JSON.parse(
  readFileSync(new URL('./prompts/nano-vllm.json', import.meta.url), 'utf8'),
) as { max_tokens: number; prompt: number[] }[];
const count = (pick: (row: (typeof list)[number]) => number) =>
  list.reduce((sum, row) => sum + pick(row), 0);
if (
  list.length !== everything.prompts ||
  count((row) => row.prompt.length) !== everything.promptTokens ||
  count((row) => row.max_tokens) !== everything.generatedTokens
)
  throw new Error('bench/prompts/nano-vllm.json is not the list: run make_nano_vllm.py beside it');
const requests = given('batch') ? list.slice(0, flags.batch[0]) : list;
const maxTokens = requests.reduce((sum, row) => sum + row.max_tokens, 0);

await using engine = await Engine.load(flags.folder, {
  ...dummyOptions(flags),
  maxModelLen: 4096,
  maxRunningSeqs: 256,
});

/** All answers; `salt` keeps a round from finding the prompts of the one before in the cache. */
function generateAll(salt: string) {
  return Promise.all(
    requests.map(({ prompt, max_tokens }, seed) =>
      engine.completions({
        prompt,
        max_tokens,
        seed,
        temperature: 0.6,
        top_p: 1,
        top_k: -1,
        ignore_eos: true,
        return_token_ids: true,
        cache_salt: salt,
      }),
    ),
  );
}

await engine.completions({ prompt: [33, 39814, 25, 220], max_tokens: 16, ignore_eos: true });
for (let round = 0; round < flags.rounds; round++) {
  const before = engine.stats();
  const read = watchThread();
  const answers = await generateAll(String(round));
  const cost = read();
  const after = engine.stats();
  const hash = new Fnv();
  for (const { choices } of answers) hash.add(choices[0]!.token_ids!);
  const generated = answers.reduce((sum, { usage }) => sum + usage.completion_tokens, 0);
  if (generated !== maxTokens)
    throw new Error(`expected ${maxTokens} generated tokens, received ${generated}`);
  const steps = after.steps - before.steps;
  report('serving', flags, {
    round,
    prompts: requests.length,
    prompt_tokens: after.promptTokens - before.promptTokens,
    generated_tokens: generated,
    wall_s: rounded(cost.wallSeconds, 3),
    tokens_per_s: rounded(generated / cost.wallSeconds, 1),
    steps,
    step_ms: rounded((cost.wallSeconds * 1000) / steps, 4),
    step_seconds: rounded(after.stepSeconds - before.stepSeconds, 3),
    preemptions: after.preemptions - before.preemptions,
    js_thread_cpu_s: cost.mainThreadSeconds && rounded(cost.mainThreadSeconds, 3),
    js_thread_percent_of_core: cost.mainThreadShare && rounded(100 * cost.mainThreadShare, 1),
    event_loop_percent: rounded(100 * cost.loopUtilization, 1),
    process_cpu_s: rounded(cost.processSeconds, 3),
    hash: String(hash),
  });
}
