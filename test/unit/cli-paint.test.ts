import { expect, test } from 'vitest';
import { type AnswerDelta, AnswerPainter, ThinkingPainter } from '../../lib/cli/paint.js';

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

function paintedAnswer(deltas: AnswerDelta[], colours: boolean, hideReasoning = false): string {
  const painter = new AnswerPainter(colours, hideReasoning);
  return deltas.map((delta) => painter.push(delta)).join('') + painter.end();
}

const answer: AnswerDelta[] = [
  { content: '', reasoning_content: null },
  { reasoning_content: 'Let me ' },
  { reasoning_content: 'see.\n' },
  { content: '\n\n' },
  { content: '\nIt is' },
  { content: ' so.\n\nYes.' },
];

test('reasoning that was split off looks as reasoning in the content', () => {
  const text = '<think>Let me see.\n</think>\nIt is so.\n\nYes.';
  expect(paintedAnswer(answer, false)).toBe(text);
  expect(paintedAnswer(answer, true)).toBe(
    '\u001b[2m<think>Let me see.\n</think>\u001b[22m\nIt is so.\n\nYes.\u001b[22m',
  );
  expect(paintedAnswer(answer, false, true)).toBe('It is so.\n\nYes.');
});

test('content without reasoning keeps its empty lines, reasoning alone is closed', () => {
  expect(paintedAnswer([{ content: '\n\na' }], false)).toBe('\n\na');
  expect(paintedAnswer([{ reasoning_content: 'a' }], false)).toBe('<think>a</think>');
  expect(paintedAnswer([], true)).toBe('');
});

test('calls stand on lines of their own', () => {
  const call = (index: number, name: string | null, text: string | null) => ({
    tool_calls: [{ index, function: { name, arguments: text } }],
  });
  const deltas = [
    { content: 'I look.' },
    call(0, 'a', ''),
    call(0, null, '{"x":'),
    call(0, null, '1}'),
    call(1, 'b', '{}'),
    { content: 'Done.' },
  ];
  expect(paintedAnswer(deltas, false)).toBe(
    'I look.\n[tool call] a({"x":1})\n[tool call] b({})\nDone.',
  );
});
