import { describe, expect, it } from 'vitest';
import { EngineError } from '../../lib/errors.js';
import { ChatTemplate, ChatTemplates } from '../../lib/text/template.js';

const tokens = { bosToken: '<s>', eosToken: '</s>' };

/** ChatML in Qwen3's manner, short: tools in the system message, thinking closed on request. */
const chatml = `{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- for tool in tools %}
{{- tool | tojson }}
{{- '\\n' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' + (call.function | tojson) + '</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}`;

/** Llama 2's manner: tokens in the text, roles that have to alternate. */
const alternating = `{{ bos_token }}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if message['role'] == 'user' %}
{{- '[INST] ' + message['content'] | trim + ' [/INST]' }}
{%- else %}
{{- ' ' + message['content'] + eos_token }}
{%- endif %}
{%- endfor %}`;

function failure(run: () => unknown): EngineError {
  try {
    run();
  } catch (error) {
    if (EngineError.is(error)) return error;
    throw error;
  }
  throw new Error('expected an EngineError');
}

describe('ChatTemplate', () => {
  const user = { role: 'user', content: 'Hi é 🙂' };
  const prompt = { addGenerationPrompt: true };

  it('renders messages, tools and kwargs', () => {
    const template = new ChatTemplate(chatml, tokens);
    expect(template.render([user], prompt)).toBe(
      '<|im_start|>user\nHi é 🙂<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(template.render([user], { addGenerationPrompt: false })).toBe(
      '<|im_start|>user\nHi é 🙂<|im_end|>\n',
    );
    expect(template.render([user], { ...prompt, kwargs: { enable_thinking: false } })).toMatch(
      /assistant\n<think>\n\n<\/think>\n\n$/,
    );
    const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];
    expect(template.render([user], { ...prompt, tools })).toMatch(
      /^<\|im_start\|>system\n\{"type": "function", "function": \{"name": "f", "parameters": \{"type": "object"\}\}\}\n<\|im_end\|>\n<\|im_start\|>user/,
    );
    const call = { type: 'function', function: { name: 'f', arguments: { x: 1, y: null } } };
    expect(
      template.render([{ role: 'assistant', content: '', tool_calls: [call] }], prompt),
    ).toContain('<tool_call>{"name": "f", "arguments": {"x": 1, "y": null}}</tool_call>');
  });

  it('renders the same from call to call: nothing is kept between them', () => {
    const template = new ChatTemplate(
      '{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}',
      tokens,
    );
    expect(template.render([user, user], prompt)).toBe('2');
    expect(template.render([user], prompt)).toBe('1');
  });

  it('knows the special tokens that the model has', () => {
    const source =
      "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}|{{ additional_special_tokens | join(',') }}";
    expect(
      new ChatTemplate(source, { ...tokens, padToken: null, additionalSpecialTokens: ['a', 'b'] }) //
        .render([], prompt),
    ).toBe('<s>|</s>|false|a,b');
    expect(
      new ChatTemplate(alternating, tokens).render(
        [user, { role: 'assistant', content: 'Hello' }, user],
        prompt,
      ),
    ).toBe('<s>[INST] Hi é 🙂 [/INST] Hello</s>[INST] Hi é 🙂 [/INST]');
  });

  it("passes the template's own refusal on", () => {
    const template = new ChatTemplate(alternating, tokens);
    const error = failure(() => template.render([user, user], prompt));
    expect(error).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      code: 'chat_template_error',
      param: 'messages',
    });
    expect(error.message).toBe(
      "The model's chat template refused the conversation: Conversation roles must alternate user/assistant/user/assistant/...",
    );
  });

  it('makes an error of everything else that fails while rendering', () => {
    for (const source of [
      '{{ messages | nosuchfilter }}',
      '{{ nosuch() }}',
      "{{ 'a' + nosuch }}",
    ]) {
      const template = new ChatTemplate(source, tokens);
      expect(failure(() => template.render([user], prompt)).code).toBe('chat_template_error');
    }
  });

  it('refuses a template that does not parse, at load', () => {
    for (const source of ['{% if x %}', '{{ unclosed', '{% for %}{% endfor %}', '{{ "a }}']) {
      const error = failure(() => new ChatTemplate(source, tokens));
      expect(error.code).toBe('chat_template_error');
      expect(error.message).toMatch(/^The chat template does not parse: .*option chatTemplate/s);
    }
  });

  it("refuses kwargs that would replace the request's own parts", () => {
    const template = new ChatTemplate(chatml, tokens);
    for (const name of ['messages', 'tools', 'add_generation_prompt', 'strftime_now', 'range']) {
      const error = failure(() => template.render([user], { ...prompt, kwargs: { [name]: 1 } }));
      expect(error).toMatchObject({ status: 400, param: `chat_template_kwargs.${name}` });
    }
  });

  it('gives none for what the request does not have', () => {
    const template = new ChatTemplate('{{ tools is none }} {{ documents is none }}', tokens);
    expect(template.render([], prompt)).toBe('true true');
  });

  it('lets a template ask for the date', () => {
    const template = new ChatTemplate("{{ strftime_now('%Y') }}", tokens);
    expect(template.render([], prompt)).toMatch(/^\d{4}$/);
  });
});

describe('ChatTemplates', () => {
  const render = (sources: Record<string, string>, tools?: unknown[]) =>
    new ChatTemplates(new Map(Object.entries(sources)), tokens).render([], {
      addGenerationPrompt: true,
      tools,
    });

  it('chooses by name', () => {
    const both = { default: 'plain', tool_use: 'with tools' };
    expect(render(both)).toBe('plain');
    expect(render(both, [])).toBe('plain');
    expect(render(both, [{}])).toBe('with tools');
    expect(render({ default: 'plain' }, [{}])).toBe('plain');
    expect(render({ chatml: 'only one' })).toBe('only one');
  });

  it('says what is there when none fits', () => {
    const two = failure(() => render({ rag: 'a', tool_use: 'b' }));
    expect(two.message).toMatch(/named "default", found rag, tool_use/);
    const none = failure(() => render({}));
    expect(none).toMatchObject({ status: 400, code: 'chat_template_error' });
    expect(none.message).toMatch(/has no chat template.*option chatTemplate, or use completions/);
  });

  it('names the template that does not parse', () => {
    const error = failure(() => render({ default: 'fine', rag: '{% if %}' }));
    expect(error.message).toMatch(/^Chat template "rag": The chat template does not parse/);
  });
});
