import { expect, test } from 'vitest';
import { ThinkingPainter } from '../../lib/cli/paint.js';

const text = 'a<think>b < c</think>d <thi';
const painted = 'a\u001b[2m<think>b < c</think>\u001b[22md <thi\u001b[22m';

test('thinking is dim, however the text is cut', () => {
  for (let a = 0; a <= text.length; a++) {
    for (let b = a; b <= text.length; b++) {
      const painter = new ThinkingPainter(true);
      const pieces = [text.slice(0, a), text.slice(a, b), text.slice(b)];
      expect(pieces.map((p) => painter.push(p)).join('') + painter.end()).toBe(painted);
    }
  }
});

test('without colours the text is as it was', () => {
  const painter = new ThinkingPainter(false);
  expect(painter.push(text) + painter.end()).toBe(text);
});
