/** The golden checkpoints' configs, changed to order. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeModel } from '../../lib/models/index.js';
import { goldenFolder, loadFailure } from './weights-fixtures.js';

export type Config = Record<string, unknown>;

export const GOLDEN: Record<string, string> = {
  llama: 'llama-rope3',
  mistral: 'mistral-window',
  mixtral: 'mixtral',
  qwen2: 'qwen2-window',
  qwen3: 'qwen3-types',
  qwen3_moe: 'qwen3-moe',
};

function configOf(family: string, changes: Config = {}): Config {
  const path = join(goldenFolder(GOLDEN[family]!), 'config.json');
  const config = { ...JSON.parse(readFileSync(path, 'utf8')), ...changes };
  for (const key of Object.keys(config)) if (config[key] === undefined) delete config[key];
  return config;
}

export const describeOf = (family: string, changes: Config = {}) =>
  describeModel(configOf(family, changes), () => false);
export const specOf = (family: string, changes: Config = {}) => describeOf(family, changes).spec;
export const windowsOf = (family: string, changes: Config = {}) =>
  specOf(family, changes).layers.map((layer) => layer.mixer.window);

export function refused(family: string, changes: Config, ...parts: (string | RegExp)[]) {
  return loadFailure(() => describeOf(family, changes), 'config_unsupported', ...parts);
}

export function wrong(family: string, changes: Config, ...parts: (string | RegExp)[]) {
  return loadFailure(() => describeOf(family, changes), 'checkpoint_invalid', ...parts);
}
