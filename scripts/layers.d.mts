export function nativeViolation(file: string, included: string): string;
export function libViolation(file: string, imported: string): string;
export function importsOf(file: string, text: string): Iterable<{ name: string; line: number }>;
export function findViolations(): string[];
