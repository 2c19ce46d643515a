export type Variant = 'cpu' | 'cuda';
export function isVariant(name: string): name is Variant;
export function rememberedVariant(): Variant | null;
export function rememberVariant(variant: Variant): void;
export function chooseVariant(
  asked: Variant | undefined,
  remembered?: () => Variant | null,
  machine?: { hasGpu: () => boolean; hasNvcc: () => boolean },
): Variant;
