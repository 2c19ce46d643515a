/** What tool calls look like in each format, as data: for markers, and for grammars that force calls. */
import { invalidRequest } from '../../errors.js';
import { harmonyMarkers } from '../reasoning/formats.js';
import { type ToolParserName, toolParserNames } from '../types.js';
import { deepSeekMarkers } from './deepseek.js';
import { kimiMarkers } from './kimi-k2.js';

export interface ToolFormat {
  readonly name: ToolParserName;
  /** Special texts that the parser has to see: they stay in the text under `skip_special_tokens`. */
  readonly markers: readonly string[];
}

/**
 * How a model writes its calls:
 *
 *     begin call (separator call)* end
 *     call = beforeName name [id.before id] afterName arguments afterArguments
 */
export interface ToolCallFrame {
  readonly begin: string;
  readonly separator: string;
  readonly end: string;
  readonly beforeName: string;
  readonly afterName: string;
  readonly afterArguments: string;
  /** `json`: the name stands inside a JSON string and is escaped like one; `text`: as it is. */
  readonly name: 'json' | 'text';
  /** Stands after the name where the model writes one; `pattern` is a regular expression. */
  readonly id: { readonly before: string; readonly pattern: string } | null;
  /** Null: the arguments are a JSON object. Else every argument is written by itself, as bare text. */
  readonly parameters: ParameterFrame | null;
  /** What the model cannot but write when it begins to call by its own choice; empty where nothing. */
  readonly trigger: string;
  /** Null: any number. */
  readonly maxCalls: number | null;
}

/**
 * One argument is `beforeName name afterName value afterValue`, nothing between two. A string's value is
 * its text, which cannot contain `</parameter>`; any other value is its JSON.
 */
export interface ParameterFrame {
  readonly beforeName: string;
  readonly afterName: string;
  readonly afterValue: string;
}

const hermes = ['<tool_call>', '</tool_call>'];

const markers: Record<ToolParserName, readonly string[]> = {
  hermes,
  'qwen3-coder': [...hermes, '<function=', '</function>', '<parameter=', '</parameter>'],
  llama3: ['<|python_tag|>'],
  mistral: ['[TOOL_CALLS]', '[CALL_ID]', '[ARGS]'],
  'deepseek-v3': deepSeekMarkers,
  'deepseek-v3.1': deepSeekMarkers,
  kimi_k2: kimiMarkers,
  'gpt-oss': harmonyMarkers,
};

const plain: ToolCallFrame = {
  begin: '',
  separator: '',
  end: '',
  beforeName: '',
  afterName: '',
  afterArguments: '',
  name: 'text',
  id: null,
  parameters: null,
  trigger: '',
  maxCalls: null,
};

const frames: Record<ToolParserName, ToolCallFrame> = {
  hermes: {
    ...plain,
    separator: '\n',
    beforeName: '<tool_call>\n{"name": "',
    afterName: '", "arguments": ',
    afterArguments: '}\n</tool_call>',
    name: 'json',
    trigger: '<tool_call>',
  },
  'qwen3-coder': {
    ...plain,
    separator: '\n',
    beforeName: '<tool_call>\n<function=',
    afterName: '>\n',
    afterArguments: '</function>\n</tool_call>',
    parameters: {
      beforeName: '<parameter=',
      afterName: '>\n',
      afterValue: '\n</parameter>\n',
    },
    trigger: '<tool_call>',
  },
  llama3: {
    ...plain,
    separator: ';',
    beforeName: '{"name": "',
    afterName: '", "parameters": ',
    afterArguments: '}',
    name: 'json',
  },
  mistral: {
    ...plain,
    begin: '[TOOL_CALLS][',
    separator: ', ',
    end: ']',
    beforeName: '{"name": "',
    afterName: '", "arguments": ',
    afterArguments: '}',
    name: 'json',
    trigger: '[TOOL_CALLS]',
  },
  'deepseek-v3': {
    ...plain,
    begin: '<｜tool▁calls▁begin｜>',
    separator: '\n',
    end: '<｜tool▁calls▁end｜>',
    beforeName: '<｜tool▁call▁begin｜>function<｜tool▁sep｜>',
    afterName: '\n```json\n',
    afterArguments: '\n```<｜tool▁call▁end｜>',
    trigger: '<｜tool▁calls▁begin｜>',
  },
  'deepseek-v3.1': {
    ...plain,
    begin: '<｜tool▁calls▁begin｜>',
    end: '<｜tool▁calls▁end｜>',
    beforeName: '<｜tool▁call▁begin｜>',
    afterName: '<｜tool▁sep｜>',
    afterArguments: '<｜tool▁call▁end｜>',
    trigger: '<｜tool▁calls▁begin｜>',
  },
  kimi_k2: {
    ...plain,
    begin: '<|tool_calls_section_begin|>',
    end: '<|tool_calls_section_end|>',
    beforeName: '<|tool_call_begin|>functions.',
    id: { before: ':', pattern: '[0-9]+' },
    afterName: '<|tool_call_argument_begin|>',
    afterArguments: '<|tool_call_end|>',
    trigger: '<|tool_calls_section_begin|>',
  },
  // <|call|> ends the model's turn.
  'gpt-oss': {
    ...plain,
    beforeName: '<|channel|>commentary to=functions.',
    afterName: ' <|constrain|>json<|message|>',
    afterArguments: '<|call|>',
    trigger: '<|channel|>commentary to=functions.',
    maxCalls: 1,
  },
};

/** Mistral's tokenizers v11 and newer. */
const mistralNamed: ToolCallFrame = {
  ...plain,
  beforeName: '[TOOL_CALLS]',
  afterName: '[ARGS]',
  trigger: '[TOOL_CALLS]',
};

export function toolFormat(name: ToolParserName): ToolFormat {
  return { name, markers: markers[name] };
}

/**
 * @param template the model's chat template (Jinja source), which tells Mistral's two forms apart; without
 * it the older one, a JSON list, is taken
 */
export function toolCallFrame(format: ToolFormat, template = ''): ToolCallFrame {
  if (format.name !== 'mistral' || !template.includes('[ARGS]')) return frames[format.name];
  if (!template.includes('[CALL_ID]')) return mistralNamed;
  return { ...mistralNamed, id: { before: '[CALL_ID]', pattern: '[a-zA-Z0-9]{9}' } };
}

/** Other projects' words for the same; `_` is taken for `-` before. */
const aliases: Record<string, ToolParserName> = {
  qwen: 'hermes',
  qwen25: 'hermes',
  'llama3-json': 'llama3',
  deepseekv3: 'deepseek-v3',
  deepseekv31: 'deepseek-v3.1',
  'deepseek-v31': 'deepseek-v3.1',
};

/**
 * The name that a user wrote, in any case; `qwen`, `qwen25` and SGLang's and vLLM's spellings too.
 *
 * @param param the option or field to name in the error
 * @throws EngineError for a name that is none of `toolParserNames`; `auto` is the caller's, see
 * `detectToolParser`.
 */
export function toolParserName(name: string, param: string): ToolParserName {
  const plainName = (text: string): string => text.toLowerCase().replaceAll('_', '-');
  const wanted = plainName(name);
  const known = toolParserNames.find((candidate) => plainName(candidate) === wanted);
  if (known) return known;
  if (Object.hasOwn(aliases, wanted)) return aliases[wanted]!;
  throw invalidRequest(
    `Expected ${param} to be one of auto, ${toolParserNames.join(', ')}, received ${JSON.stringify(name)}.`,
    param,
    'unsupported_value',
  );
}
