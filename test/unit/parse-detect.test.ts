import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  detectReasoningParser,
  detectThinking,
  detectToolParser,
  type TemplateThinking,
} from '../../lib/parse/detect.js';
import { reasoningFormat, startsInReasoning } from '../../lib/parse/reasoning/index.js';
import { ChatTemplate } from '../../lib/text/template.js';
import { hasShared, sharedFolder } from './text-fixtures.js';

const chat = `{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}`;
const prompt = (rest = '') =>
  `${chat}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}${rest}{%- endif %}`;
const toggle = (byDefault: boolean, ...params: string[]): TemplateThinking => ({
  kind: 'toggle',
  params,
  default: byDefault,
});

describe('thinking', () => {
  const on = toggle(true, 'enable_thinking');
  const off = toggle(false, 'enable_thinking');
  const tag = "{{- '<think>' }}";

  it.each<[string, string, TemplateThinking | null]>([
    ['nothing of it', prompt(), null],
    ['always', prompt("{{- '<think>\\n' }}"), { kind: 'always' }],
    ['the model itself', `{{ m.content.split('</think>')[-1] }}${prompt()}`, { kind: 'model' }],
    [
      'is false',
      prompt(`{%- if enable_thinking is defined and enable_thinking is false %}${tag}{% endif %}`),
      on,
    ],
    [
      'not',
      prompt(
        `{{- '</think>' if (enable_thinking is defined and not enable_thinking) else '<think>' }}`,
      ),
      on,
    ],
    [
      'is not defined or',
      prompt(`{% if enable_thinking is not defined or enable_thinking %}${tag}{% endif %}`),
      on,
    ],
    ['is not false', prompt(`{% if enable_thinking is not false %}${tag}{% endif %}`), on],
    ['== false', prompt(`{% if enable_thinking == false %}</think>{% endif %}`), on],
    [
      'set to true',
      `{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}`,
      on,
    ],
    [
      'set to false',
      `{% if not enable_thinking is defined %}{% set enable_thinking = False %}{% endif %}`,
      off,
    ],
    [
      'else true',
      `{%- set enable_thinking = enable_thinking if enable_thinking is defined else True %}`,
      on,
    ],
    ['default(true)', `{%- set enable_thinking = enable_thinking | default(true) -%}`, on],
    ['default(false)', `{%- if not enable_thinking | default(false) -%}x{%- endif -%}`, off],
    ['a namespace', `{%- set ns = namespace(a=1, enable_thinking=true) -%}`, on],
    ['if', prompt(`{% if enable_thinking %}${tag}{% endif %}`), off],
    ['if not', prompt(`{% if not enable_thinking %}{{ '</think>' }}{% endif %}`), off],
    ['is true', prompt(`{% if enable_thinking is true %}${tag}{% endif %}`), off],
    [
      'is true and is false',
      prompt(
        `{% if enable_thinking is true %}${tag}{% elif enable_thinking is false %}</think>{% endif %}`,
      ),
      { kind: 'model' },
    ],
    [
      'one from the other',
      '{%- if not thinking is defined -%}{%- if enable_thinking is defined -%}{%- set thinking = enable_thinking -%}{%- else -%}{%- set thinking = false -%}{%- endif -%}{%- endif -%}',
      toggle(false, 'thinking', 'enable_thinking'),
    ],
    [
      '"thinking"',
      prompt(`{% if thinking is defined and thinking is false %}x{% endif %}`),
      toggle(true, 'thinking'),
    ],
    ['harmony', '<|channel|>analysis<|message|>', { kind: 'always' }],
    // Neither is the request's variable.
    ["a message's field", '{% if message.thinking %}{{ message.thinking }}{% endif %}', null],
    [
      'one of its own',
      '{% set thinking = message.x %}{% if thinking %}{{ thinking }}{% endif %}',
      null,
    ],
    [
      'prose',
      `Without reasoning and thinking {{ "if enable_thinking, or not thinking" }}{# if thinking #}`,
      null,
    ],
  ])('%s', (_, template, expected) => {
    expect(detectThinking(template)).toEqual(expected);
  });
});

describe('parsers', () => {
  it.each([
    ['◁think▷◁/think▷', 'kimi'],
    ['<|channel|>analysis<|message|>', 'gpt-oss'],
    ['<think></think><|tool_calls_section_begin|>', 'kimi_k2'],
    [prompt("{{- '<think>\\n' }}"), 'deepseek-r1'],
    [`<tool_call>${prompt("{{- '<think>\\n' }}")}`, 'qwen3-thinking'],
    [`<｜Assistant｜>{{ content.split('</think>')[-1] }}`, 'deepseek-r1'],
    [`<｜Assistant｜>{% if thinking %}<think>{% endif %}`, 'deepseek-v3'],
    [prompt(`{% if enable_thinking is false %}<think></think>{% endif %}`), 'qwen3'],
    [prompt(), null],
    ['[THINK][/THINK]', null],
    ['', null],
  ])('of reasoning in %j: %s', (template, expected) => {
    expect(detectReasoningParser(template)).toBe(expected);
  });

  it.each([
    ['<|channel|>commentary<|message|>', 'gpt-oss'],
    ['<|tool_calls_section_begin|>', 'kimi_k2'],
    ['<｜tool▁calls▁begin｜>function<｜tool▁sep｜>f\n```json\n{}', 'deepseek-v3'],
    ['<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}', 'deepseek-v3.1'],
    ['[TOOL_CALLS]', 'mistral'],
    [`{{- '<tool_call>\\n{"name": "' }}`, 'hermes'],
    [`{{ "<tool_call>\\n{\\"name\\": 1}" }}`, 'hermes'],
    [`<tool_call>\n<function=f>`, 'qwen3-coder'],
    ['<tool_call>f\n<arg_key>k</arg_key>', null],
    ['<tool_calls>[{"name": 1}]</tool_calls> in <tool_call></tool_call>', null],
    [`<|start_header_id|>{"name": f, "parameters": p}`, 'llama3'],
    ['<|start_header_id|><function=f>{"parameters"}', null],
    [prompt(), null],
  ])('of tools in %j: %s', (template, expected) => {
    expect(detectToolParser(template)).toBe(expected);
  });
});

/** Templates with either: reasoning parser, tool format. All others have neither. */
const known: Record<string, [string | null, string | null]> = {
  'Bielik-11B-v3.0-Instruct': ['qwen3', 'hermes'],
  'GLM-4.6': ['qwen3', null],
  'GLM-4.7-Flash': ['qwen3', null],
  'HuggingFaceTB-SmolLM3-3B': ['qwen3', null],
  'Kimi-K2-Instruct': [null, 'kimi_k2'],
  'Kimi-K2-Thinking': ['kimi_k2', 'kimi_k2'],
  'LFM2.5-8B-A1B': ['qwen3', null],
  'LFM2.5-Instruct': ['qwen3', null],
  'MiMo-VL': [null, 'hermes'],
  'MiniMax-M2': ['deepseek-r1', null],
  'Mistral-Small-3.2-24B-Instruct-2506': [null, 'mistral'],
  'NVIDIA-Nemotron-3-Nano-30B-A3B-BF16': ['qwen3', 'qwen3-coder'],
  'NVIDIA-Nemotron-Nano-v2': ['qwen3', null],
  'NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use': [null, 'hermes'],
  'NousResearch-Hermes-3-Llama-3.1-8B-tool_use': [null, 'hermes'],
  'Qwen-QwQ-32B': ['qwen3', 'hermes'],
  'Qwen-Qwen2.5-7B-Instruct': [null, 'hermes'],
  'Qwen-Qwen3-0.6B': ['qwen3', 'hermes'],
  'Qwen3-Coder': [null, 'qwen3-coder'],
  'Qwen3.5-4B': ['qwen3', 'qwen3-coder'],
  'Reka-Edge': ['qwen3', 'hermes'],
  'StepFun3.5-Flash': ['qwen3-thinking', 'qwen3-coder'],
  'deepseek-ai-DeepSeek-R1-Distill-Llama-8B': ['deepseek-r1', 'deepseek-v3'],
  'deepseek-ai-DeepSeek-R1-Distill-Qwen-32B': ['deepseek-v3', 'deepseek-v3'],
  'deepseek-ai-DeepSeek-V3.1': ['deepseek-v3', 'deepseek-v3.1'],
  'deepseek-ai-DeepSeek-V3.2': ['deepseek-v3', null],
  'deepseek-ai-DeepSeek-V4': ['deepseek-v3', null],
  'deepseek-ai-DeepSeek-V4-Flash-0731': ['deepseek-v3', null],
  'ibm-granite-granite-3.3-2B-Instruct': ['qwen3', null],
  'ibm-granite-granite-4.0': [null, 'hermes'],
  'ibm-granite-granite-4.1': [null, 'hermes'],
  'llama-cpp-deepseek-r1': ['deepseek-r1', 'deepseek-v3'],
  'llama-cpp-rwkv-world': ['qwen3', null],
  'meta-llama-Llama-3.1-8B-Instruct': [null, 'llama3'],
  'meta-llama-Llama-3.2-3B-Instruct': [null, 'llama3'],
  'meta-llama-Llama-3.3-70B-Instruct': [null, 'llama3'],
  'mistralai-Ministral-3-14B-Reasoning-2512': [null, 'mistral'],
  'mistralai-Mistral-Nemo-Instruct-2407': [null, 'mistral'],
  'moonshotai-Kimi-K2': [null, 'kimi_k2'],
  'openai-gpt-oss-120b': ['gpt-oss', 'gpt-oss'],
  'openbmb-MiniCPM5-1B': ['qwen3', null],
  'poolside-Laguna-S-2.1': ['qwen3', null],
  'poolside-Laguna-XS-2.1': ['qwen3', null],
  'poolside-Laguna-XS.2': ['qwen3', null],
  'unsloth-mistral-Devstral-Small-2507': [null, 'mistral'],
};

describe.runIf(hasShared)('published templates', () => {
  const folder = join(sharedFolder, 'data/chat-templates');
  const names = hasShared ? readdirSync(folder).map((file) => file.replace(/\.jinja$/, '')) : [];
  const read = (name: string) => readFileSync(join(folder, `${name}.jinja`), 'utf8');

  it.each(names)('%s', (name) => {
    const source = read(name);
    expect([detectReasoningParser(source), detectToolParser(source)]).toEqual(
      known[name] ?? [null, null],
    );
  });

  it('open or close the block as their default says', () => {
    const compared: string[] = [];
    for (const name of names) {
      const source = read(name);
      const parser = detectReasoningParser(source);
      const thinking = detectThinking(source);
      if (parser === null || thinking === null || thinking.kind === 'model') continue;
      const template = new ChatTemplate(source, { bosToken: '<s>', eosToken: '</s>' });
      const format = reasoningFormat(parser);
      const starts = (kwargs: Record<string, unknown>) => {
        const text = template.render([{ role: 'user', content: 'Hi' }], {
          addGenerationPrompt: true,
          kwargs,
        });
        const isTold = /<\/?think>\s*$/.test(text);
        return isTold ? startsInReasoning(format, { prompt: text, kwargs, thinking }) : null;
      };
      const { kind } = thinking;
      // Its variable is set by words in the messages, not by the request.
      const byMessages = name === 'NVIDIA-Nemotron-Nano-v2';
      const byDefault = kind === 'always' || thinking.default;
      const cases: [Record<string, unknown>, boolean][] = [[{}, byDefault]];
      for (const param of kind === 'toggle' && !byMessages ? thinking.params : [])
        cases.push([{ [param]: true }, true], [{ [param]: false }, false]);
      for (const [kwargs, expected] of cases) {
        const answer = starts(kwargs);
        if (answer === null) continue;
        expect(answer, `${name} ${JSON.stringify(kwargs)}`).toBe(expected);
        compared.push(name);
      }
    }
    expect(new Set(compared).size).toBeGreaterThan(15);
  });
});
