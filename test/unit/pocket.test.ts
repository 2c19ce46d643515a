import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Template } from '@huggingface/jinja';
import { Tokenizer } from 'tokenizers';
import { beforeAll, describe, expect, it } from 'vitest';

const folder = fileURLToPath(new URL('../../models/pocket/', import.meta.url));
const readText = (name: string): string => readFileSync(join(folder, name), 'utf8');
// biome-ignore lint/suspicious/noExplicitAny: the files' own shapes are what the tests assert
const readJson = (name: string): Record<string, any> => JSON.parse(readText(name));

interface TensorInfo {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Header of model.safetensors and the size of the data after it. */
function readHeader(): { tensors: Map<string, TensorInfo>; dataSize: number } {
  const raw = readFileSync(join(folder, 'model.safetensors'));
  const size = Number(raw.readBigUInt64LE(0));
  const header = JSON.parse(raw.subarray(8, 8 + size).toString('utf8'));
  delete header.__metadata__;
  return { tensors: new Map(Object.entries(header)), dataSize: raw.length - 8 - size };
}

interface Config {
  vocab_size: number;
  hidden_size: number;
  head_dim: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  num_hidden_layers: number;
  num_experts: number;
  moe_intermediate_size: number;
}

/** Every tensor of a Qwen3MoeForCausalLM with tied embeddings, with its shape. */
function expectedShapes(config: Config): Map<string, number[]> {
  const { hidden_size: hidden, head_dim: dim, moe_intermediate_size: inner } = config;
  const query = config.num_attention_heads * dim;
  const keyValue = config.num_key_value_heads * dim;
  const shapes = new Map<string, number[]>([
    ['model.embed_tokens.weight', [config.vocab_size, hidden]],
    ['model.norm.weight', [hidden]],
  ]);
  for (let layer = 0; layer < config.num_hidden_layers; layer += 1) {
    const at = `model.layers.${layer}`;
    shapes.set(`${at}.input_layernorm.weight`, [hidden]);
    shapes.set(`${at}.post_attention_layernorm.weight`, [hidden]);
    shapes.set(`${at}.self_attn.q_proj.weight`, [query, hidden]);
    shapes.set(`${at}.self_attn.k_proj.weight`, [keyValue, hidden]);
    shapes.set(`${at}.self_attn.v_proj.weight`, [keyValue, hidden]);
    shapes.set(`${at}.self_attn.o_proj.weight`, [hidden, query]);
    shapes.set(`${at}.self_attn.q_norm.weight`, [dim]);
    shapes.set(`${at}.self_attn.k_norm.weight`, [dim]);
    shapes.set(`${at}.mlp.gate.weight`, [config.num_experts, hidden]);
    for (let expert = 0; expert < config.num_experts; expert += 1) {
      const of = `${at}.mlp.experts.${expert}`;
      shapes.set(`${of}.gate_proj.weight`, [inner, hidden]);
      shapes.set(`${of}.up_proj.weight`, [inner, hidden]);
      shapes.set(`${of}.down_proj.weight`, [hidden, inner]);
    }
  }
  return shapes;
}

describe('the files of models/pocket', () => {
  it('hold every tensor that the config asks for, in bf16, without gaps or overlaps', () => {
    const config = readJson('config.json') as Config;
    const { tensors, dataSize } = readHeader();
    const shapes = new Map([...tensors].map(([name, info]) => [name, info.shape]));
    expect(new Map([...shapes].sort())).toEqual(new Map([...expectedShapes(config)].sort()));
    let end = 0;
    const inOrder = [...tensors.values()].sort((a, b) => a.data_offsets[0] - b.data_offsets[0]);
    for (const { dtype, shape, data_offsets } of inOrder) {
      expect(dtype).toBe('BF16');
      expect(data_offsets).toEqual([end, end + 2 * shape.reduce((a, b) => a * b, 1)]);
      end = data_offsets[1];
    }
    expect(end).toBe(dataSize);
  });

  it('hold finite weights that are not all alike', () => {
    const raw = readFileSync(join(folder, 'model.safetensors'));
    const start = 8 + Number(raw.readBigUInt64LE(0));
    const values = new Set<number>();
    for (let at = start; at < raw.length; at += 2) {
      const bits = raw.readUInt16LE(at);
      if ((bits & 0x7f80) === 0x7f80) expect.fail(`a weight that is not finite at byte ${at}`);
      if (values.size < 1000) values.add(bits);
    }
    expect(values.size).toBe(1000);
  });

  it('stay within 9 MiB', () => {
    expect(statSync(join(folder, 'model.safetensors')).size).toBeLessThanOrEqual(9 * 2 ** 20);
  });

  it('name the family and the tokens that end an answer', () => {
    const config = readJson('config.json');
    expect(config).toMatchObject({
      model_type: 'qwen3_moe',
      architectures: ['Qwen3MoeForCausalLM'],
      tie_word_embeddings: true,
      norm_topk_prob: true,
    });
    const vocab = readJson('tokenizer.json').model.vocab as Record<string, number>;
    const end = [vocab['<|im_end|>'], vocab['<|endoftext|>']];
    expect(readJson('generation_config.json').eos_token_id).toEqual(end);
    expect(config.eos_token_id).toBe(vocab['<|im_end|>']);
    expect(config.vocab_size).toBe(Object.keys(vocab).length);
    expect(Object.values(vocab).sort((a, b) => a - b)).toEqual(
      Array.from({ length: Number(config.vocab_size) }, (_, i) => i),
    );
  });

  it('give the template twice, the same', () => {
    expect(readJson('tokenizer_config.json').chat_template).toBe(readText('chat_template.jinja'));
  });

  it('come with a model card that names the licence', () => {
    expect(readText('README.md')).toMatch(/^---\n(?:.*\n)*license: apache-2.0\n(?:.*\n)*---\n/);
  });
});

const tool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Get the current weather in a city',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
    },
  },
};
const toolsBlock =
  '# Tools\n\nYou may call these functions:\n<tools>\n' +
  '{"type": "function", "function": {"name": "get_weather", ' +
  '"description": "Get the current weather in a city", "parameters": {"type": "object", ' +
  '"properties": {"city": {"type": "string"}}, "required": ["city"]}}}\n</tools>\n\n' +
  'To call one, answer with its name and arguments:\n' +
  '<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>';
const weatherCall = (args: unknown): unknown => ({
  id: 'call_1',
  type: 'function',
  function: { name: 'get_weather', arguments: args },
});
const callText =
  '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>';

describe('the chat template of models/pocket', () => {
  const template = new Template(readText('chat_template.jinja'));
  const render = (messages: unknown[], more: Record<string, unknown> = {}): string =>
    template.render({ messages, add_generation_prompt: true, ...more });
  const question = { role: 'user', content: 'Hi' };

  it('renders one question', () => {
    const plain = '<|im_start|>user\nHi<|im_end|>\n';
    expect(render([question])).toBe(`${plain}<|im_start|>assistant\n`);
    expect(render([question], { enable_thinking: true })).toBe(`${plain}<|im_start|>assistant\n`);
    expect(render([question], { add_generation_prompt: false })).toBe(plain);
  });

  it('closes the thinking at once where it is disabled', () => {
    expect(render([question], { enable_thinking: false })).toBe(
      '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n',
    );
  });

  it('renders a system message and text parts', () => {
    const parts = [
      { type: 'text', text: 'H' },
      { type: 'text', text: 'i' },
    ];
    expect(
      render([
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: parts },
      ]),
    ).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    );
  });

  it('lists tools, with and without a system message', () => {
    const tail = '<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n';
    expect(render([question], { tools: [tool] })).toBe(`<|im_start|>system\n${toolsBlock}${tail}`);
    expect(render([{ role: 'system', content: 'Be brief.' }, question], { tools: [tool] })).toBe(
      `<|im_start|>system\nBe brief.\n\n${toolsBlock}${tail}`,
    );
  });

  it.each([
    ['an object', { city: 'Paris' }],
    ['a string', '{"city": "Paris"}'],
  ])('renders a call whose arguments are %s, and its results as one turn', (_, args) => {
    const messages = [
      { role: 'user', content: 'Weather in Paris?' },
      { role: 'assistant', content: null, tool_calls: [weatherCall(args), weatherCall(args)] },
      { role: 'tool', tool_call_id: 'call_1', content: '{"temperature": 18}' },
      { role: 'tool', tool_call_id: 'call_2', content: '{"temperature": 19}' },
    ];
    expect(render(messages)).toBe(
      '<|im_start|>user\nWeather in Paris?<|im_end|>\n' +
        `<|im_start|>assistant\n${callText}\n${callText}<|im_end|>\n` +
        '<|im_start|>user\n<tool_response>\n{"temperature": 18}\n</tool_response>\n' +
        '<tool_response>\n{"temperature": 19}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
    );
  });

  it('keeps the thinking behind a call while its result is being used', () => {
    const messages = [
      { role: 'user', content: 'Weather in Paris?' },
      {
        role: 'assistant',
        content: '',
        reasoning_content: 'I call it.',
        tool_calls: [weatherCall({ city: 'Paris' })],
      },
      { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
    ];
    const upToAnswer =
      '<|im_start|>user\nWeather in Paris?<|im_end|>\n' +
      `<|im_start|>assistant\n<think>\nI call it.\n</think>\n\n${callText}<|im_end|>\n` +
      '<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n';
    expect(render(messages)).toBe(`${upToAnswer}<|im_start|>assistant\n`);
    expect(render([...messages, { role: 'assistant', content: 'Sunny.' }, question])).toBe(
      '<|im_start|>user\nWeather in Paris?<|im_end|>\n' +
        `<|im_start|>assistant\n${callText}<|im_end|>\n` +
        '<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n' +
        '<|im_start|>assistant\nSunny.<|im_end|>\n' +
        '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    );
  });

  it('drops the thinking of earlier turns', () => {
    const expected =
      '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n' +
      '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n';
    const inContent = { role: 'assistant', content: '<think>\nA greeting.\n</think>\n\nHello!' };
    const apart = { role: 'assistant', content: 'Hello!', reasoning_content: 'A greeting.' };
    expect(render([question, inContent, question])).toBe(expected);
    expect(render([question, apart, question])).toBe(expected);
  });
});

describe('the tokenizer of models/pocket', () => {
  let tokenizer: Tokenizer;
  const ids = async (text: string): Promise<number[]> =>
    Array.from((await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds());

  beforeAll(() => {
    tokenizer = Tokenizer.fromFile(join(folder, 'tokenizer.json'));
  });

  it.each([
    '',
    "How many r's are in 'strawberry'?",
    '  two  spaces\n\n\nlines\t and a tab',
    'café, naïve, 日本語, 🙂🚀, ß, \u00a0\u2028',
    '{"name": "Ada", "age": 31, "city": "Paris"}',
    '<|im_start|>user\nHi<|im_end|>\n<think>\n\n</think>\n\n<tool_call>',
  ])('gives back %j', async (text) => {
    expect(await tokenizer.decode(await ids(text), false)).toBe(text);
  });

  it('knows its markers as single tokens', async () => {
    const markers = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<think>', '</think>'];
    const more = ['<tool_call>', '</tool_call>', '<tool_response>', '</tool_response>'];
    expect(await ids([...markers, ...more].join(''))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('spells digits and unknown words', async () => {
    expect(await ids('467')).toHaveLength(3);
    expect(await ids('zyxwv')).toHaveLength(5);
    expect(await ids('The capital of France is Paris')).toHaveLength(6);
  });

  it('drops the three control tokens on request, and keeps the markers of thinking', async () => {
    const text = '<|im_start|>a<think>b</think><|im_end|>';
    expect(await tokenizer.decode(await ids(text), true)).toBe('a<think>b</think>');
  });
});
