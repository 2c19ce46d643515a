import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { StopStrings } from '../../lib/text/stop-strings.js';
import { randomInts } from './text-fixtures.js';

/** The definition: earliest start, then the order given. */
function oneShot(text: string, stops: string[], include: boolean) {
  let best: { at: number; stop: string } | null = null;
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at >= 0 && (best === null || at < best.at)) best = { at, stop };
  }
  if (best === null) return { text, matched: null };
  const end = best.at + (include ? best.stop.length : 0);
  return { text: text.slice(0, end), matched: best.stop };
}

function inPieces(parts: string[], stops: string[], include: boolean) {
  const search = new StopStrings(stops, { include });
  let text = '';
  for (const part of parts) {
    const result = search.push(part);
    text += result.text;
    if (result.matched !== null) return { text, matched: result.matched };
  }
  const last = search.flush();
  return { text: text + last.text, matched: last.matched };
}

/** Every way to cut a text into pieces. */
function* cuts(text: string): Generator<string[]> {
  if (text.length === 0) yield [];
  for (let end = 1; end <= text.length; end++)
    for (const rest of cuts(text.slice(end))) yield [text.slice(0, end), ...rest];
}

describe('StopStrings', () => {
  it('gives the text before the stop string and what matched', () => {
    const search = new StopStrings(['END']);
    expect(search.push('one E')).toEqual({ text: 'one ', matched: null });
    expect(search.holdsBack).toBe(true);
    expect(search.push('N two')).toEqual({ text: 'EN two', matched: null });
    expect(search.holdsBack).toBe(false);
    expect(search.push(' EN')).toEqual({ text: ' ', matched: null });
    expect(search.push('D three')).toEqual({ text: '', matched: 'END' });
    expect(search.push('four')).toEqual({ text: '', matched: 'END' });
    expect(search.flush()).toEqual({ text: '', matched: 'END' });
  });

  it('keeps the stop string on request, and nothing after it', () => {
    const search = new StopStrings(['\n\n'], { include: true });
    expect(search.push('a\n')).toEqual({ text: 'a', matched: null });
    expect(search.push('\nb')).toEqual({ text: '\n\n', matched: '\n\n' });
  });

  it('lets everything through where there are none, and gives back what it held', () => {
    expect(new StopStrings([]).push('text')).toEqual({ text: 'text', matched: null });
    const search = new StopStrings(['stop']);
    expect(search.push('sto')).toEqual({ text: '', matched: null });
    expect(search.flush()).toEqual({ text: 'sto', matched: null });
    expect(search.flush()).toEqual({ text: '', matched: null });
  });

  it('waits for a stop string that would start earlier, and takes the other at the end', () => {
    const search = new StopStrings(['bc', 'abcd']);
    expect(search.push('xabc')).toEqual({ text: 'x', matched: null });
    expect(search.push('e')).toEqual({ text: 'a', matched: 'bc' });
    const atEnd = new StopStrings(['bc', 'abcd']);
    expect(atEnd.push('xabc')).toEqual({ text: 'x', matched: null });
    expect(atEnd.flush()).toEqual({ text: 'a', matched: 'bc' });
  });

  it('of two that start together takes the one given first', () => {
    expect(inPieces(['ab', 'cd'], ['abc', 'ab'], false)).toEqual({ text: '', matched: 'abc' });
    expect(inPieces(['ab', 'cd'], ['ab', 'abc'], false)).toEqual({ text: '', matched: 'ab' });
    // At once: nothing that is still to come could change it.
    expect(new StopStrings(['ab', 'abc']).push('ab')).toEqual({ text: '', matched: 'ab' });
  });

  it('refuses an empty and an ill-formed stop string by its place', () => {
    const failure = (stops: string[]) => {
      try {
        new StopStrings(stops);
      } catch (error) {
        if (EngineError.is(error)) return { param: error.param, status: error.status };
      }
      return null;
    };
    expect(failure(['a', ''])).toEqual({ param: 'stop[1]', status: 400 });
    expect(failure(['\u{d83d}'])).toEqual({ param: 'stop[0]', status: 400 });
    expect(failure(['🙂'])).toBeNull();
  });
});

describe('however the text is cut', () => {
  const random = randomInts(4);
  const word = (length: number) => Array.from({ length }, () => 'ab'[random(2)]).join('');
  const someStops = () => Array.from({ length: 1 + random(3) }, () => word(1 + random(4)));

  it('the result is that of one search: every cut of short texts', () => {
    for (let round = 0; round < 150; round++) {
      const text = word(random(9));
      const stops = someStops();
      for (const include of [false, true])
        for (const parts of cuts(text))
          expect(inPieces(parts, stops, include), `${parts.join('|')} / ${stops}`).toEqual(
            oneShot(text, stops, include),
          );
    }
  });

  it('the result is that of one search: random cuts of long texts', () => {
    for (let round = 0; round < 300; round++) {
      const text = `${'c'.repeat(random(50))}${word(random(12))}${'c'.repeat(random(50))}`;
      const stops = Array.from({ length: 1 + random(4) }, () => word(2 + random(9)));
      const parts: string[] = [];
      for (let at = 0; at < text.length; ) {
        const length = 1 + random(12);
        parts.push(text.slice(at, at + length));
        at += length;
      }
      expect(inPieces(parts, stops, false)).toEqual(oneShot(text, stops, false));
    }
  });

  it('no more is held back than could begin a stop string, and nothing of one is shown', () => {
    for (let round = 0; round < 300; round++) {
      const stops = someStops();
      const search = new StopStrings(stops);
      let taken = '';
      let shown = '';
      for (let i = 0; i < 20; i++) {
        const part = 'abc'[random(3)]!.repeat(1 + random(2));
        taken += part;
        const result = search.push(part);
        shown += result.text;
        if (result.matched !== null) break;
        const held = taken.slice(shown.length);
        expect(taken.startsWith(shown)).toBe(true);
        if (held !== '')
          expect(stops.some((stop) => stop !== held && stop.startsWith(held))).toBe(true);
      }
    }
  });
});
