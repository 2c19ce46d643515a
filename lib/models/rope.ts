/**
 * Rotary embedding of a config: `rope_theta` + `rope_scaling` (published checkpoints) or `rope_parameters`
 * (transformers 5).
 */
import { type Config, isCount } from './config.js';
import type { RopeSpec } from './spec.js';
import { isObject, type JsonObject, show } from './values.js';

/** Where both forms are present they must say the same. */
export function readRope(config: Config, headDim: number, defaultTheta: number): RopeSpec {
  const { rope_parameters: parameters, rope_scaling: scaling } = config.values;
  if (headDim % 2 !== 0)
    throw config.unsupported('head_dim', 'an even number of dimensions per head', headDim);
  const newer = parameters != null ? read(config, 'rope_parameters', headDim, defaultTheta) : null;
  const older =
    newer === null || scaling != null ? read(config, 'rope_scaling', headDim, defaultTheta) : null;
  if (newer && older && JSON.stringify(newer) !== JSON.stringify(older))
    throw config.wrong('rope_parameters', `the same as rope_scaling ${show(scaling)}`);
  return (newer ?? older)!;
}

function read(config: Config, key: string, headDim: number, defaultTheta: number): RopeSpec {
  const given = config.values[key] ?? {};
  if (!isObject(given)) throw config.wrong(key, 'an object or null');
  if (Object.values(given).some(isObject))
    throw config.unsupported(key, 'one set of values for all layers');
  const factor = given.partial_rotary_factor ?? 1;
  if (factor !== 1) throw config.unsupported(key, 'partial_rotary_factor 1');
  const theta = given.rope_theta ?? config.values.rope_theta ?? defaultTheta;
  if (!isPositive(theta))
    throw given.rope_theta === undefined
      ? config.wrong('rope_theta', 'a number above 0')
      : config.wrong(key, 'rope_theta to be a number above 0');
  const base = { theta, rotaryDim: headDim };
  // Older files say "type", newer ones "rope_type", some both.
  const type = given.rope_type ?? given.type ?? 'default';
  switch (type) {
    case 'default':
      return { ...base, scaling: 'none' };
    case 'linear':
      return { ...base, scaling: 'linear', factor: positive(config, key, given, 'factor') };
    case 'llama3': {
      const rope: RopeSpec = {
        ...base,
        scaling: 'llama3',
        factor: positive(config, key, given, 'factor'),
        lowFreqFactor: positive(config, key, given, 'low_freq_factor'),
        highFreqFactor: positive(config, key, given, 'high_freq_factor'),
        originalMaxPosition: positive(config, key, given, 'original_max_position_embeddings'),
      };
      if (!isCount(rope.originalMaxPosition))
        throw config.wrong(key, 'original_max_position_embeddings to be a whole number');
      if (rope.highFreqFactor! <= rope.lowFreqFactor!)
        throw config.wrong(key, 'high_freq_factor above low_freq_factor');
      return rope;
    }
    default:
      throw config.unsupported(key, 'rope_type "default", "linear" or "llama3"');
  }
}

function positive(config: Config, key: string, given: JsonObject, field: string): number {
  const value = given[field];
  if (!isPositive(value)) throw config.wrong(key, `${field} to be a number above 0`);
  return value;
}

function isPositive(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && Number.isFinite(value);
}
