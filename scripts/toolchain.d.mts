export interface Nvcc {
  command: string;
  found: string;
  problem: string;
}
export function installCommand(names: string[]): string;
export function findNvcc(): Nvcc;
export function hasNvidiaGpu(): boolean;
export function explainNvcc(problem: string): string;
export function checkToolchain(): { found: string[]; message: string };
