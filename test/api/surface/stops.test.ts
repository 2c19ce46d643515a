/** Rows 9 to 13 of SGLang's tests: what ends an answer, and what is said of it. */
import { expect } from 'vitest';
import { describe, test } from '../../device.js';
import { collect } from '../pocket.js';
import { countries, greeting, joinChat, joinTexts, story } from './helpers.js';
import { overBoth } from './transports.js';

overBoth((surface) => {
  /** The chat's prompt as token ids: what completions need to write lines too. */
  const countriesPrompt = async () => {
    const { messages, chat_template_kwargs } = countries;
    return (await surface.tokenize({ messages, chat_template_kwargs })).tokens;
  };

  describe('row 9: a stop string', () => {
    test('in a chat, whole and streamed', async () => {
      const full = (await surface.chat(countries)).choices[0]!.message.content;
      const expected = full.slice(0, full.indexOf('\n'));
      expect(expected).toMatch(/\S/);
      const body = { ...countries, stop: '\n' };
      const [choice] = (await surface.chat(body)).choices;
      expect(choice).toMatchObject({ finish_reason: 'stop', matched_stop: '\n' });
      expect(choice!.message.content).toBe(expected);
      const [streamed] = joinChat(await collect(surface.chatStream(body)));
      expect(streamed).toMatchObject({
        content: expected,
        finishes: ['stop'],
        matchedStop: '\n',
      });
    });

    test('in a completion, whole and streamed', async () => {
      const body = { prompt: await countriesPrompt(), max_tokens: 100, stop: ['\n'] };
      const [choice] = (await surface.complete(body)).choices;
      expect(choice).toMatchObject({ finish_reason: 'stop', matched_stop: '\n' });
      expect(choice!.text).toMatch(/^[^\n]+$/);
      const [streamed] = joinTexts(await collect(surface.completeStream(body)));
      expect(streamed).toMatchObject({
        text: choice!.text,
        finishes: ['stop'],
        matchedStop: '\n',
      });
    });

    test('of several the one that comes first ends it, and neighbours keep their own', async () => {
      const full = (await surface.complete(story)).choices[0]!.text;
      const until = (stop: string) => full.slice(0, full.indexOf(stop));
      const [comma, dot, free] = await Promise.all([
        surface.complete({ ...story, stop: ['.', ','] }),
        surface.complete({ ...story, stop: '.' }),
        surface.complete(story),
      ]);
      expect(comma.choices[0]).toMatchObject({ matched_stop: ',', text: until(',') });
      expect(dot.choices[0]).toMatchObject({ matched_stop: '.', text: until('.') });
      expect(free.choices[0]!.text).toBe(full);
    });

    test('stays in the text with no_stop_trim', async () => {
      const trimmed = (await surface.complete({ ...story, stop: '.' })).choices[0]!.text;
      const kept = await surface.complete({ ...story, stop: '.', no_stop_trim: true });
      expect(kept.choices[0]!.text).toBe(`${trimmed}.`);
    });
  });

  describe('row 10: a stop_regex', () => {
    test.each(['and|or', '[.!?]\\s*$'])('%s', async (pattern) => {
      const full = (await surface.complete(story)).choices[0]!.text;
      // As soon as it can match: what comes after the shortest match is not waited for.
      const found = new RegExp(pattern.replace('\\s*$', ''), 'u').exec(full)!;
      const body = { ...story, stop_regex: pattern };
      const [choice] = (await surface.complete(body)).choices;
      expect(choice).toMatchObject({
        finish_reason: 'stop',
        matched_stop: pattern,
        matched_stop_text: found[0],
        text: full.slice(0, found.index),
      });
      const [streamed] = joinTexts(await collect(surface.completeStream(body)));
      expect(streamed).toMatchObject({ text: choice!.text, matchedStop: pattern });
    });

    test('in a chat', async () => {
      const full = (await surface.chat(countries)).choices[0]!.message.content;
      const body = { ...countries, stop_regex: ['\\d\\. \\w+'] };
      const [choice] = (await surface.chat(body)).choices;
      expect(choice).toMatchObject({
        finish_reason: 'stop',
        matched_stop: '\\d\\. \\w+',
        message: { content: full.slice(0, full.search(/\d\. \w/)) },
      });
      const [streamed] = joinChat(await collect(surface.chatStream(body)));
      expect(streamed!.content).toBe(choice!.message.content);
    });

    test('that is none is refused', async () => {
      await expect(surface.complete({ ...story, stop_regex: '(' })).rejects.toMatchObject({
        status: 400,
        param: 'stop_regex',
      });
    });
  });

  test('row 11: an EOS is named by its id', async () => {
    const eos = [2, 0];
    const chat = await surface.chat(greeting);
    expect(chat.choices[0]).toMatchObject({ finish_reason: 'stop' });
    expect(eos).toContain(chat.choices[0]!.matched_stop);
    const text = await surface.complete(story);
    expect(text.choices[0]).toMatchObject({ finish_reason: 'stop' });
    expect(eos).toContain(text.choices[0]!.matched_stop);
    const [streamed] = joinChat(await collect(surface.chatStream(greeting)));
    expect(streamed!.matchedStop).toBe(chat.choices[0]!.matched_stop);
  });

  test('row 12: max_tokens ends by length', async () => {
    const expected = { finish_reason: 'length', matched_stop: null };
    const chat = await surface.chat({ ...countries, max_tokens: 5 });
    expect(chat.choices[0]).toMatchObject(expected);
    expect(chat.usage.completion_tokens).toBe(5);
    // The newer name goes before the older one.
    const newer = await surface.chat({ ...countries, max_completion_tokens: 4, max_tokens: 50 });
    expect(newer.usage.completion_tokens).toBe(4);
    const text = await surface.complete({ ...story, max_tokens: 5 });
    expect(text.choices[0]).toMatchObject(expected);
    expect(text.usage.completion_tokens).toBe(5);
    const [streamed] = joinTexts(
      await collect(surface.completeStream({ ...story, max_tokens: 5 })),
    );
    expect(streamed).toMatchObject({ finishes: ['length'], matchedStop: null });
  });

  describe('row 13: ignore_eos', () => {
    test('goes on to max_tokens', async () => {
      const off = await surface.chat(greeting);
      expect(off.choices[0]!.finish_reason).toBe('stop');
      expect(off.usage.completion_tokens).toBeLessThan(60);
      const on = await surface.chat({ ...greeting, max_tokens: 60, ignore_eos: true });
      expect(on.choices[0]).toMatchObject({ finish_reason: 'length', matched_stop: null });
      expect(on.usage.completion_tokens).toBe(60);
    });

    test('leaves stop strings and stop_token_ids in force', async () => {
      const full = (await surface.chat(greeting)).choices[0]!.message.content;
      const body = { ...greeting, max_tokens: 60, ignore_eos: true, return_token_ids: true };
      const stopped = await surface.chat({ ...body, stop: '!' });
      expect(stopped.choices[0]).toMatchObject({
        matched_stop: '!',
        message: { content: full.slice(0, full.indexOf('!')) },
      });
      const free = (await surface.chat(body)).choices[0]!.token_ids!;
      const id = free[3]!;
      const ended = await surface.chat({ ...body, stop_token_ids: [id] });
      expect(ended.choices[0]).toMatchObject({ finish_reason: 'stop', matched_stop: id });
      expect(ended.choices[0]!.token_ids).toEqual(free.slice(0, free.indexOf(id) + 1));
    });
  });
});
