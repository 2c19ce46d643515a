import { createHash, randomFillSync } from 'node:crypto';

const mask = (1n << 64n) - 1n;

/** splitmix64's finaliser: a bijection, so that different inputs stay different. */
function mix(x: bigint): bigint {
  let z = (x + 0x9e3779b97f4a7c15n) & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return z ^ (z >> 31n);
}

/**
 * The 64-bit seed of sample `sample` of a prompt. It does not depend on the prompt's place in a list, so a
 * prompt gives the same text alone. Integers of any size count with all their bits.
 */
export function sampleSeed(seed: number | bigint, sample: number): bigint {
  let rest = BigInt(seed);
  // A negative integer is its two's complement; -1 ends the loop as 0 does.
  let folded = mix(rest & mask);
  for (rest >>= 64n; rest !== 0n && rest !== -1n; rest >>= 64n) folded = mix(folded ^ rest) & mask;
  return mix(folded ^ BigInt(sample));
}

export function randomSeed(): bigint {
  return randomFillSync(new BigUint64Array(1))[0]!;
}

/** 64 bits of a cache salt; 0 without one. */
export function saltBits(salt: string): bigint {
  if (salt === '') return 0n;
  return createHash('sha256').update(salt).digest().readBigUInt64LE(0);
}
