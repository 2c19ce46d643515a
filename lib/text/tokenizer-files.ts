import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadError } from '../errors.js';

/** The text of a file; null when it is not there. */
async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw loadError(`Cannot read ${path}: ${(error as Error).message}`, 'tokenizer_invalid', error);
  }
}

type JsonObject = Record<string, unknown>;

export function parseJsonObject(text: string, path: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw loadError(
      `${path}: expected JSON, received ${text.length} characters that do not parse: ${(error as Error).message}. The file may be truncated, or a Git LFS pointer; download it again.`,
      'tokenizer_invalid',
      error,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw loadError(`${path}: expected a JSON object at the top`, 'tokenizer_invalid');
  return value as JsonObject;
}

export async function readTokenizerJson(folder: string): Promise<{ path: string; text: string }> {
  const path = join(folder, 'tokenizer.json');
  const text = await readText(path);
  if (text !== null) return { path, text };
  const names = await readdir(folder).catch(() => null);
  if (names === null)
    throw loadError(
      `${path} is missing: ${folder} is not a folder. Expected a Hugging Face model folder with a tokenizer.json.`,
      'tokenizer_invalid',
    );
  const slow = names.filter((name) => /^(tokenizer\.model|vocab\.json|spiece\.model)$/.test(name));
  const found = slow.length > 0 ? ` The folder has ${slow.join(', ')}, which is not enough.` : '';
  throw loadError(
    `${path} is missing: expected the tokenizer of the model as tokenizer.json.${found} Make it with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder).`,
    'tokenizer_invalid',
  );
}

/** What the other tokenizer files of a model folder say; all of them may be missing. */
export interface TokenizerConfig {
  bosToken: string | null;
  eosToken: string | null;
  padToken: string | null;
  unkToken: string | null;
  sepToken: string | null;
  clsToken: string | null;
  maskToken: string | null;
  additionalSpecialTokens: string[];
  /** `added_tokens_decoder` entries that are special. */
  declaredSpecial: string[];
  /** Whether BOS/EOS are added, where the tokenizer's class lets the configuration decide; else null. */
  frame: { bos: boolean; eos: boolean } | null;
  /** name -> Jinja source. A single template is named "default". */
  chatTemplates: Map<string, string>;
}

/** A token is written as "text", {"content": "text", ...} or null. */
function tokenContent(value: unknown): string | null {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : null;
}

/** transformers builds the post-processor of these classes from add_bos_token and add_eos_token. */
const framedClasses = new Set(
  ['Llama', 'CodeLlama', 'Gemma', 'Cohere'].flatMap((name) => [
    `${name}Tokenizer`,
    `${name}TokenizerFast`,
  ]),
);

function addTemplates(into: Map<string, string>, value: unknown, path: string): void {
  if (value === undefined || value === null) return;
  if (typeof value === 'string') {
    into.set('default', value);
    return;
  }
  const bad = () =>
    loadError(
      `${path}: expected "chat_template" to be a string or a list of {"name", "template"}, received ${JSON.stringify(value).slice(0, 80)}`,
      'tokenizer_invalid',
    );
  if (!Array.isArray(value)) throw bad();
  for (const entry of value as { name?: unknown; template?: unknown }[]) {
    if (typeof entry?.name !== 'string' || typeof entry.template !== 'string') throw bad();
    into.set(entry.name, entry.template);
  }
}

async function readTemplates(folder: string, config: JsonObject): Promise<Map<string, string>> {
  const templates = new Map<string, string>();
  addTemplates(templates, config.chat_template, join(folder, 'tokenizer_config.json'));
  // Newer files win over tokenizer_config.json, as in transformers.
  const jsonPath = join(folder, 'chat_template.json');
  const json = await readText(jsonPath);
  if (json !== null)
    addTemplates(templates, parseJsonObject(json, jsonPath).chat_template, jsonPath);
  const jinja = await readText(join(folder, 'chat_template.jinja'));
  if (jinja !== null) templates.set('default', jinja);
  const extra = join(folder, 'additional_chat_templates');
  for (const name of await readdir(extra).catch(() => [])) {
    const source = name.endsWith('.jinja') ? await readText(join(extra, name)) : null;
    if (source !== null) templates.set(name.slice(0, -'.jinja'.length), source);
  }
  return templates;
}

export async function readTokenizerConfig(folder: string): Promise<TokenizerConfig> {
  const configPath = join(folder, 'tokenizer_config.json');
  const mapPath = join(folder, 'special_tokens_map.json');
  const [configText, mapText] = await Promise.all([readText(configPath), readText(mapPath)]);
  const config = configText === null ? {} : parseJsonObject(configText, configPath);
  const map = mapText === null ? {} : parseJsonObject(mapText, mapPath);
  const token = (key: string) => tokenContent(config[key]) ?? tokenContent(map[key]);

  const listed = config.additional_special_tokens ?? map.additional_special_tokens;
  const declared = Object.values((config.added_tokens_decoder ?? {}) as JsonObject);
  const { add_bos_token: bos, add_eos_token: eos, tokenizer_class: name } = config;
  const framed =
    typeof name === 'string' &&
    framedClasses.has(name) &&
    (typeof bos === 'boolean' || typeof eos === 'boolean');
  return {
    bosToken: token('bos_token'),
    eosToken: token('eos_token'),
    padToken: token('pad_token'),
    unkToken: token('unk_token'),
    sepToken: token('sep_token'),
    clsToken: token('cls_token'),
    maskToken: token('mask_token'),
    additionalSpecialTokens: (Array.isArray(listed) ? listed : [])
      .map(tokenContent)
      .filter((content) => content !== null),
    declaredSpecial: declared
      .filter((entry) => (entry as { special?: unknown } | null)?.special === true)
      .map(tokenContent)
      .filter((content) => content !== null),
    frame: framed ? { bos: bos !== false, eos: eos === true } : null,
    chatTemplates: await readTemplates(folder, config),
  };
}
