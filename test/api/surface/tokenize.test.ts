/** Row 21 of SGLang's tests: tokenize and detokenize. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { pocketConfig, prompts, user } from '../pocket.js';
import { weather } from './helpers.js';
import { overBoth, type Transport } from './transports.js';

const refused = (call: Promise<unknown>, param: string) =>
  expect(call).rejects.toMatchObject({ status: 400, param: expect.stringMatching(`^${param}`) });

overBoth((surface: Transport) => {
  describe('row 21: tokenize and detokenize', () => {
    test.each([...prompts, 'Grüße, Füße', '日本語と 😀', ' \n\t ', '<|im_end|>'])(
      '%j comes back as it was',
      async (prompt) => {
        const { tokens, count, max_model_len } = await surface.tokenize({ prompt });
        expect(count).toBe(tokens.length);
        expect(count).toBeGreaterThan(0);
        expect(max_model_len).toBe(pocketConfig.max_position_embeddings);
        expect(await surface.detokenize({ tokens, skip_special_tokens: false })).toEqual({
          text: prompt,
        });
        const { usage } = await surface.complete({ prompt, max_tokens: 1 });
        expect(usage.prompt_tokens).toBe(count);
      },
    );

    test('special tokens are left out by default', async () => {
      const { tokens } = await surface.tokenize({ prompt: 'a<|im_end|>b' });
      expect(await surface.detokenize({ tokens })).toEqual({ text: 'ab' });
    });

    test('a conversation is what a chat would ask of the model', async () => {
      const messages = user('What is the weather in Paris?');
      const plain = await surface.tokenize({ messages });
      const { usage, choices } = await surface.chat({
        messages,
        max_tokens: 1,
        return_prompt_token_ids: true,
      });
      expect(usage.prompt_tokens).toBe(plain.count);
      expect(choices[0]!.prompt_token_ids).toEqual(plain.tokens);
      const text = await surface.detokenize({ tokens: plain.tokens, skip_special_tokens: false });
      expect(text.text).toContain('<|im_start|>user\nWhat is the weather in Paris?<|im_end|>');
    });

    test('tools change it, and tool_choice none takes them away', async () => {
      const messages = user('What is the weather in Paris?');
      const plain = await surface.tokenize({ messages });
      const tools = await surface.tokenize({ messages, tools: [weather] });
      expect(tools.count).toBeGreaterThan(plain.count);
      const none = await surface.tokenize({ messages, tools: [weather], tool_choice: 'none' });
      expect(none).toEqual(plain);
      const chat = { messages, tools: [weather], max_tokens: 1 };
      expect((await surface.chat(chat)).usage.prompt_tokens).toBe(tools.count);
    });

    test('what is no text, no ids or nothing is refused', async () => {
      await refused(surface.tokenize({ prompt: 5 as unknown as string }), 'prompt');
      await refused(surface.tokenize({} as { prompt: string }), 'prompt');
      await refused(surface.tokenize({ messages: [] }), 'messages');
      const words = ['a'] as unknown as number[];
      await refused(surface.detokenize({ tokens: words }), 'tokens');
      await refused(surface.detokenize({ tokens: 'a' as unknown as number[] }), 'tokens');
      await refused(surface.detokenize({ tokens: [1, 99_999] }), 'tokens');
      await refused(surface.detokenize({ tokens: [-1] }), 'tokens');
    });
  });
});
