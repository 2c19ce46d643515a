/** Rows 35 and 36 of SGLang's tests: adapters. None can be loaded yet, so that every way to ask for one is refused. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect, user } from '../pocket.js';
import { greeting, story } from './helpers.js';
import { overBoth } from './transports.js';

overBoth((surface, parts) => {
  const refusal = (adapter: string, param: string) => ({
    status: 400,
    code: 'unsupported_value',
    param,
    message: expect.stringMatching(
      new RegExp(`LoRA adapter '${adapter}' was requested, but LoRA is not enabled`),
    ),
  });

  describe('row 35: an adapter is refused by its name', () => {
    test.each([
      ['pocket:french', 'french'],
      [' pocket : french ', 'french'],
      ['pocket:a:b', 'a:b'],
      ['pocket:中文', '中文'],
      ['other:french', 'french'],
    ])('in model %j', async (model, adapter) => {
      const expected = refusal(adapter, 'model');
      await expect(surface.complete({ ...story, model })).rejects.toMatchObject(expected);
      await expect(surface.chat({ ...greeting, model })).rejects.toMatchObject(expected);
      await expect(collect(surface.completeStream({ ...story, model }))).rejects.toMatchObject(
        expected,
      );
      await expect(collect(surface.chatStream({ ...greeting, model }))).rejects.toMatchObject(
        expected,
      );
    });

    test.each([
      ['french', 'french'],
      [['french'], 'french'],
      [[null, 'german'], 'german'],
    ])('in lora_path %j', async (lora_path, adapter) => {
      const expected = refusal(adapter, 'lora_path');
      await expect(surface.complete({ ...story, lora_path })).rejects.toMatchObject(expected);
      await expect(surface.chat({ ...greeting, lora_path })).rejects.toMatchObject(expected);
    });

    test("model's goes before lora_path's", async () => {
      const body = { ...story, model: 'pocket:one', lora_path: 'two' };
      await expect(surface.complete(body)).rejects.toMatchObject(refusal('one', 'model'));
    });

    test.each(['pocket', 'pocket:', 'pocket:  ', 'default'])(
      'model %j is the base model',
      async (model) => {
        const answer = await surface.complete({ ...story, model, max_tokens: 1 });
        expect(answer.model).toBe(model);
      },
    );

    test.each([null, '', [null]])('lora_path %j is the base model', async (lora_path) => {
      const { usage } = await surface.complete({ ...story, lora_path, max_tokens: 1 });
      expect(usage.completion_tokens).toBe(1);
    });
  });

  test('row 36: models are listed without adapters, and refusals leave the engine as it was', async () => {
    const before = parts().engine.stats().generatedTokens;
    for (let i = 0; i < 10; i++)
      await expect(surface.chat({ messages: user('x'), lora_path: 'x' })).rejects.toThrow('LoRA');
    expect((await surface.models()).map((model) => model.id)).toEqual(['pocket']);
    expect(parts().engine.stats().generatedTokens).toBe(before);
  });
});
