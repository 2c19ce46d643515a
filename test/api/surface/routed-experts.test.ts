/** Row 37 of SGLang's tests: which experts every position went to. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, pocketConfig } from '../pocket.js';
import { greeting, story } from './helpers.js';
import { overBoth } from './transports.js';

const layers = pocketConfig.num_hidden_layers!;
const experts = pocketConfig.num_experts!;
const topK = pocketConfig.num_experts_per_tok!;

/** [rows][layers * topK] */
function rowsOf({ routed_experts: base64 }: { routed_experts: string }): number[][] {
  const bytes = Buffer.from(base64, 'base64');
  const width = 4 * layers * topK;
  expect(bytes.length % width).toBe(0);
  return Array.from({ length: bytes.length / width }, (_, row) =>
    Array.from({ length: layers * topK }, (_, i) => bytes.readInt32LE(row * width + 4 * i)),
  );
}

function expectExperts(rows: number[][]): void {
  for (const row of rows) {
    for (let layer = 0; layer < layers; layer++) {
      const chosen = row.slice(layer * topK, (layer + 1) * topK);
      expect(new Set(chosen).size).toBe(topK);
      for (const id of chosen) expect(id >= 0 && id < experts).toBe(true);
    }
  }
}

overBoth(
  (surface) => {
    const text = {
      prompt: 'Once upon a time there was a fox. '.repeat(3),
      max_tokens: 10,
      ignore_eos: true,
    };
    const asking = { ...text, return_routed_experts: true };

    describe('row 37: routed experts', () => {
      test('of a completion: a row for every position but the last', async () => {
        const { usage, sglext, choices } = await surface.complete(asking);
        const rows = rowsOf(sglext!);
        expect(rows).toHaveLength(usage.prompt_tokens + usage.completion_tokens - 1);
        expectExperts(rows);
        // Where SGLang's code has them, and where its documentation does.
        expect(choices[0]!.sgl_ext).toEqual(sglext);
      });

      test('of a chat, the EOS counted', async () => {
        const answer = await surface.chat({ ...greeting, return_routed_experts: true });
        const { usage, sglext, choices } = answer;
        const rows = rowsOf(sglext!);
        expect(choices[0]!.finish_reason).toBe('stop');
        expect(rows).toHaveLength(usage.prompt_tokens + usage.completion_tokens - 1);
        expectExperts(rows);
        expect(choices[0]!.sgl_ext).toEqual(sglext);
      });

      test('from a position on, up to the length of the prompt', async () => {
        const { usage, sglext } = await surface.complete(asking);
        const all = rowsOf(sglext!);
        const length = usage.prompt_tokens;
        for (const start of [0, Math.floor(length / 2), length]) {
          const later = await surface.complete({ ...asking, routed_experts_start_len: start });
          expect(rowsOf(later.sglext!)).toEqual(all.slice(start));
        }
        for (const start of [length + 1, -1])
          await expect(
            surface.complete({ ...asking, routed_experts_start_len: start }),
          ).rejects.toMatchObject({ status: 400, param: 'routed_experts_start_len' });
      });

      test('of positions from the cache too, also where the cache goes past the start', async () => {
        const body = { ...asking, cache_salt: `row 37, ${surface.name}` };
        const cold = await surface.complete(body);
        const warm = await surface.complete({ ...body, routed_experts_start_len: 3 });
        expect(warm.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(3);
        expect(rowsOf(warm.sglext!)).toEqual(rowsOf(cold.sglext!).slice(3));
      });

      test('neighbours that do not ask get none', async () => {
        const [asked, plain, other] = await Promise.all([
          surface.complete(asking),
          surface.complete(text),
          surface.chat(greeting),
        ]);
        expect(rowsOf(asked.sglext!).length).toBeGreaterThan(0);
        for (const answer of [plain, other]) {
          expect('sglext' in answer).toBe(false);
          expect('sgl_ext' in answer.choices[0]!).toBe(false);
        }
        expect(plain.choices[0]!.text).toBe(asked.choices[0]!.text);
      });

      test('in streams: one chunk without choices', async () => {
        const whole = await surface.complete(asking);
        const chunks = await collect(surface.completeStream(asking));
        const carrying = chunks.filter((chunk) => chunk.sglext);
        expect(carrying).toHaveLength(1);
        expect(carrying[0]!.choices).toEqual([]);
        expect(carrying[0]!.sglext).toEqual(whole.sglext);

        const chat = await surface.chat({ ...greeting, return_routed_experts: true });
        const said = await collect(
          surface.chatStream({ ...greeting, return_routed_experts: true }),
        );
        expect(said.filter((chunk) => chunk.sglext).map((chunk) => chunk.sglext)).toEqual([
          chat.sglext,
        ]);
      });

      test('of every one of n samples its own', async () => {
        const body = { ...asking, temperature: 20, seed: 1, n: 3 };
        const { choices, sglext } = await surface.complete(body);
        const own = choices.map((choice) => choice.sgl_ext!.routed_experts);
        expect(new Set(own).size).toBe(3);
        expect(sglext!.routed_experts).toBe(own[0]);
      });

      test('with best_of: of the sample that is returned', async () => {
        const body = { ...asking, temperature: 20, seed: 1, best_of: 6 };
        const { choices, sglext } = await surface.complete(body);
        expect(choices).toHaveLength(1);
        expect(sglext!.routed_experts).toBe(choices[0]!.sgl_ext!.routed_experts);
      });

      test('of several prompts each its own', async () => {
        const prompt = [story.prompt, text.prompt];
        const { choices } = await surface.complete({ ...asking, prompt });
        const counts = await Promise.all(
          prompt.map(async (one) => (await surface.tokenize({ prompt: one })).count),
        );
        expect(choices.map((choice) => rowsOf(choice.sgl_ext!).length)).toEqual(
          counts.map((count) => count + 9),
        );
      });
    });
  },
  { load: { captureRoutedExperts: true } },
);

overBoth((surface) => {
  test('row 37: an engine that does not keep them says so', async () => {
    const body = { ...story, return_routed_experts: true };
    await expect(surface.complete(body)).rejects.toMatchObject({
      status: 400,
      param: 'return_routed_experts',
      message: expect.stringContaining('captureRoutedExperts'),
    });
  });
});
