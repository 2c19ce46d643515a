/** Exact decimals: value = digits / 10 ** scale. */
export interface Decimal {
  readonly digits: bigint;
  readonly scale: number;
}

/** Of the shortest text that means this number. */
export function decimalOf(value: number): Decimal {
  const [, sign, whole, part = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(
    String(value),
  )!;
  const shift = part.length - Number(exponent);
  const digits = BigInt(sign! + whole + part);
  return shift >= 0
    ? { digits, scale: shift }
    : { digits: digits * 10n ** BigInt(-shift), scale: 0 };
}

/** Times 10 ** scale, rounded down or up. */
export function scaled(value: Decimal, scale: number, round: 'down' | 'up'): bigint {
  if (scale >= value.scale) return value.digits * 10n ** BigInt(scale - value.scale);
  const unit = 10n ** BigInt(value.scale - scale);
  const floor = floorDivide(value.digits, unit);
  return round === 'up' && floor * unit !== value.digits ? floor + 1n : floor;
}

export function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}

export function compare(a: Decimal, b: Decimal): number {
  const scale = Math.max(a.scale, b.scale);
  const [x, y] = [scaled(a, scale, 'down'), scaled(b, scale, 'down')];
  return x < y ? -1 : x > y ? 1 : 0;
}

export function isMultiple(value: Decimal, of: Decimal): boolean {
  const scale = Math.max(value.scale, of.scale);
  return scaled(value, scale, 'down') % scaled(of, scale, 'down') === 0n;
}

export function isWhole(value: Decimal): boolean {
  return value.digits % 10n ** BigInt(value.scale) === 0n;
}
