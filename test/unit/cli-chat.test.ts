import { describe, expect, test } from 'vitest';
import type { AnswerDelta } from '../../lib/cli/paint.js';
import { EngineError } from '../../lib/errors.js';
import type { ChatCompletionRequest, ChatMessage, Engine } from '../../lib/index.js';
import { run, TestContext } from './cli-context.js';

/** Answers from a list of answers, each a list of deltas or an error, and keeps what it was asked. */
function scripted(answers: (AnswerDelta[] | Error)[]) {
  const asked: ChatCompletionRequest[] = [];
  const chatCompletions = async (body: ChatCompletionRequest) => {
    asked.push(structuredClone(body));
    const answer = answers.shift();
    if (answer === undefined) throw new Error('one question too many');
    if (answer instanceof Error) throw answer;
    return (async function* () {
      for (const delta of answer) yield { choices: [{ index: 0, delta, finish_reason: null }] };
      yield { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] };
    })();
  };
  // What the command line uses of an engine.
  const engine = { chatCompletions, close: async () => {} } as unknown as Engine;
  const context = new TestContext();
  context.engine = async () => engine;
  return { context, asked };
}

const text = (content: string): AnswerDelta[] => [{ content }];
const roles = (messages: ChatMessage[]) => messages.map(({ role }) => role).join(' ');
const tooLong = new EngineError('Too long.', {
  status: 400,
  type: 'invalid_request_error',
  code: 'context_length_exceeded',
});

describe('a pipe', () => {
  test('every line is a turn of one conversation', async () => {
    const { context, asked } = scripted([text('one'), text('two')]);
    const flags = ['--system', 'Be brief.', '--no-thinking', '--temperature', '0', '--quiet'];
    expect(await run(context, ['chat', 'm', ...flags], 'a\n\n b \r\n')).toBe(0);
    expect(context.out.text).toBe('one\ntwo\n');
    expect(context.err.text).toBe('');
    expect(asked[1]).toMatchObject({
      stream: true,
      temperature: 0,
      chat_template_kwargs: { enable_thinking: false },
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'one' },
        { role: 'user', content: 'b' },
      ],
    });
  });

  test('reasoning is shown and remembered apart from the content', async () => {
    const { context, asked } = scripted([
      [{ reasoning_content: 'hm' }, { content: 'one' }],
      text('two'),
    ]);
    expect(await run(context, ['chat', 'm', '--quiet'], 'a\nb\n')).toBe(0);
    expect(context.out.text).toBe('<think>hm</think>\none\ntwo\n');
    expect(asked[1]!.messages[1]).toEqual({
      role: 'assistant',
      content: 'one',
      reasoning_content: 'hm',
    });
  });

  test('a turn that failed is told and forgotten, the others go on, 1', async () => {
    const { context, asked } = scripted([text('one'), new Error('no'), text('three')]);
    expect(await run(context, ['chat', 'm', '--quiet'], 'a\nb\nc\n')).toBe(1);
    expect(context.out.text).toBe('one\n\nthree\n');
    expect(context.err.text).toBe('Error: no\n');
    expect(asked[2]!.messages.map(({ content }) => content)).toEqual(['a', 'one', 'c']);
  });

  test('where it is too long, whole turns go from its beginning', async () => {
    const { context, asked } = scripted([text('1'), text('2'), tooLong, tooLong, text('3')]);
    expect(await run(context, ['chat', 'm', '--quiet'], 'a\nb\nc\n')).toBe(0);
    expect(asked.slice(2).map((body) => body.messages.map(({ content }) => content))).toEqual([
      ['a', '1', 'b', '2', 'c'],
      ['b', '2', 'c'],
      ['c'],
    ]);
  });

  test('a question that is too long by itself is an error', async () => {
    const { context } = scripted([tooLong]);
    expect(await run(context, ['chat', 'm', '--quiet'], 'a\n')).toBe(1);
    expect(context.err.text).toBe('Too long.\n');
  });

  test('nothing on it: nothing is asked', async () => {
    const { context, asked } = scripted([]);
    expect(await run(context, ['chat', 'm', '--quiet'], '')).toBe(0);
    expect(asked).toEqual([]);
  });
});

describe('tools', () => {
  const call = (index: number, id: string, name: string): AnswerDelta[] => [
    { tool_calls: [{ index, id, function: { name, arguments: '' } }] },
    { tool_calls: [{ index, function: { arguments: '{"x":' } }] },
    { tool_calls: [{ index, function: { arguments: '1}' } }] },
  ];
  const tools = '[{"type":"function","function":{"name":"f"}}]';

  test('calls are shown, /result answers them in turn, then the model goes on', async () => {
    const { context, asked } = scripted([
      [...call(0, 'c0', 'f'), ...call(1, 'c1', 'g')],
      text('both'),
    ]);
    const lines = 'a\n/result one\n/result two\n';
    expect(await run(context, ['chat', 'm', '--quiet', '--tools', tools], lines)).toBe(0);
    expect(context.out.text).toBe('[tool call] f({"x":1})\n[tool call] g({"x":1})\nboth\n');
    expect(asked).toHaveLength(2);
    expect(asked[0]!.tools).toEqual(JSON.parse(tools));
    expect(asked[1]!.messages.slice(1)).toEqual([
      {
        role: 'assistant',
        content: '',
        tool_calls: [
          { id: 'c0', type: 'function', function: { name: 'f', arguments: '{"x":1}' } },
          { id: 'c1', type: 'function', function: { name: 'g', arguments: '{"x":1}' } },
        ],
      },
      { role: 'tool', tool_call_id: 'c0', content: 'one' },
      { role: 'tool', tool_call_id: 'c1', content: 'two' },
    ]);
  });

  test('a result that failed can be given again; one that nobody waits for is told', async () => {
    const { context, asked } = scripted([call(0, 'c0', 'f'), new Error('no'), text('well')]);
    const lines = '/result early\na\n/result one\n/result two\n/result late\n';
    expect(await run(context, ['chat', 'm', '--quiet'], lines)).toBe(1);
    expect(context.err.text).toMatch(/none waits .*\nError: no\n.*none waits/);
    expect(roles(asked[2]!.messages)).toBe('user assistant tool');
    expect(asked[2]!.messages[2]!.content).toBe('two');
  });
});

test('--prompt answers once', async () => {
  const { context, asked } = scripted([text('one')]);
  const flags = ['--prompt', 'a b', '--hide-reasoning', '--body', '{"top_k":3}', '--quiet'];
  expect(await run(context, ['chat', ...flags], 'ignored\n')).toBe(0);
  expect(context.out.text).toBe('one\n');
  expect(asked).toMatchObject([{ top_k: 3, messages: [{ role: 'user', content: 'a b' }] }]);
});

test('at a terminal: colours, and /clear forgets', async () => {
  const answers = [[{ reasoning_content: 'hm' }, { content: 'one' }], text('two')];
  const { context, asked } = scripted(answers);
  context.input.isTTY = true;
  context.out.isTTY = true;
  expect(await run(context, ['chat', 'm', '--quiet'], 'a\n/clear\nb\n/exit\nnever\n')).toBe(0);
  expect(context.out.text).toContain('\u001b[2m<think>hm</think>\u001b[22m\none');
  expect(asked.map(({ messages }) => roles(messages))).toEqual(['user', 'user']);
});
