/** Which adapter a request asks for. None can be loaded yet, so asking for one is refused. */
import { invalidRequest } from '../errors.js';
import type { CommonFields } from './fields.js';

/** `model: 'base:adapter'`; null without an adapter. The names of the model may have colons themselves. */
export function adapterOf(model: string, names: readonly string[]): string | null {
  if (names.includes(model)) return null;
  const base = names.find((name) => model.startsWith(`${name}:`)) ?? model.split(':', 1)[0]!;
  return model.slice(base.length + 1).trim() || null;
}

/** @throws EngineError, status 400, for every adapter. That in `model` goes before `lora_path`. */
export function refuseAdapters(fields: CommonFields, names: readonly string[]): void {
  const named = fields.model === undefined ? null : adapterOf(fields.model, names);
  if (named !== null) throw noAdapters(named, 'model');
  const { lora_path: path } = fields;
  const first = (Array.isArray(path) ? path : [path]).find(
    (name) => typeof name === 'string' && name.trim() !== '',
  );
  if (first) throw noAdapters(first, 'lora_path');
}

function noAdapters(name: string, param: string) {
  const advice =
    param === 'model'
      ? 'Name the model without ":adapter".'
      : 'Leave lora_path out, or pass null for the base model.';
  return invalidRequest(
    `LoRA adapter '${name.slice(0, 200)}' was requested, but LoRA is not enabled: this engine cannot load ` +
      `adapters yet. ${advice}`,
    param,
    'unsupported_value',
  );
}
