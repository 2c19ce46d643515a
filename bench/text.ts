/** The text side of a request, on the bundled model's tokenizer and template: microseconds per call. */
import { fileURLToPath } from 'node:url';
import { Bench } from 'tinybench';
import { IncrementalDetokenizer } from '../lib/text/detokenize.js';
import { StopStrings } from '../lib/text/stop-strings.js';
import { ChatTemplates } from '../lib/text/template.js';
import { Tokenizer } from '../lib/text/tokenizer.js';

const tokenizer = await Tokenizer.load(fileURLToPath(new URL('../models/pocket', import.meta.url)));
const templates = new ChatTemplates(tokenizer.chatTemplates, tokenizer);
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'List 3 countries and their capitals.' },
];
const text = 'Sure, here are 3 countries and their capitals:\n\n1. Egypt - Cairo\n'.repeat(16);
const ids = await tokenizer.encode(text, { addSpecialTokens: false });

const bench = new Bench({ time: 500, warmupTime: 200 });
bench
  .add('chat template, 2 messages', () => {
    templates.render(messages, { addGenerationPrompt: true });
  })
  .add(`encode ${text.length} characters`, async () => {
    await tokenizer.encode(text, { addSpecialTokens: false });
  })
  .add(`detokenize ${ids.length} tokens one by one`, () => {
    const detokenizer = new IncrementalDetokenizer(tokenizer, { skipSpecialTokens: true });
    for (const id of ids) detokenizer.push(id);
    detokenizer.flush();
  })
  .add(`two stop strings over ${text.length} characters`, () => {
    const stops = new StopStrings(['\n\n\n', 'Observation:']);
    for (let i = 0; i < text.length; i += 4) stops.push(text.slice(i, i + 4));
    stops.flush();
  });
await bench.run();
for (const { name, result } of bench.tasks) {
  if (!('latency' in result)) throw new Error(`${name} was not measured`);
  const { p50, p99 } = result.latency;
  console.log(
    `${name.padEnd(44)} ${(p50 * 1000).toFixed(1)} us (p99 ${(p99 * 1000).toFixed(1)} us)`,
  );
}
