import { describe, expect, test } from 'vitest';
import { type Config, refused, specOf, wrong } from './models-fixtures.js';

const ropeOf = (changes: Config) => specOf('llama', changes).layers[0]!.mixer.rope;

describe('rope', () => {
  const llama3 = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 64,
  };

  test('older and newer forms say the same', () => {
    const expected = {
      theta: 500000,
      rotaryDim: 12,
      scaling: 'llama3',
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPosition: 64,
    };
    const newer = { rope_type: 'llama3', rope_theta: 500000, ...llama3 };
    expect(ropeOf({})).toEqual(expected);
    expect(ropeOf({ rope_scaling: { type: 'llama3', ...llama3 } })).toEqual(expected);
    expect(
      ropeOf({ rope_scaling: undefined, rope_theta: undefined, rope_parameters: newer }),
    ).toEqual(expected);
    expect(ropeOf({ rope_parameters: newer })).toEqual(expected);
  });

  test('both forms at once must agree', () =>
    wrong(
      'llama',
      { rope_parameters: { rope_type: 'default', rope_theta: 500000 } },
      'rope_parameters',
      'the same as rope_scaling',
    ));

  test('none, linear, defaults', () => {
    expect(ropeOf({ rope_scaling: null })).toEqual({
      theta: 500000,
      rotaryDim: 12,
      scaling: 'none',
    });
    expect(ropeOf({ rope_scaling: null, rope_theta: undefined }).theta).toBe(10000);
    expect(ropeOf({ rope_scaling: { type: 'linear', factor: 4 } })).toMatchObject({
      scaling: 'linear',
      factor: 4,
    });
    expect(specOf('mixtral', { rope_theta: undefined }).layers[0]!.mixer.rope.theta).toBe(1e6);
  });

  test('fields that are missing or wrong', async () => {
    for (const key of Object.keys(llama3))
      await wrong(
        'llama',
        { rope_scaling: { rope_type: 'llama3', ...llama3, [key]: undefined } },
        'rope_scaling',
        key,
      );
    await wrong(
      'llama',
      { rope_scaling: { rope_type: 'linear', factor: '4' } },
      'factor to be a number above 0',
    );
    await wrong(
      'llama',
      { rope_scaling: { rope_type: 'llama3', ...llama3, high_freq_factor: 1 } },
      'high_freq_factor above low_freq_factor',
    );
    await wrong('llama', { rope_scaling: 'linear' }, 'expected an object or null');
    await refused(
      'llama',
      { rope_parameters: { full_attention: { rope_theta: 1 } } },
      'one set of values for all layers',
    );
  });
});
