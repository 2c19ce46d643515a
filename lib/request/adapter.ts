/** Which adapter a request asks for. None can be loaded yet, so asking for one is refused. */
import { invalidRequest } from '../errors.js';
import type { CommonFields } from './fields.js';

/** `model: 'base:adapter'`; null without an adapter. A served name may have colons itself. */
export function adapterOf(model: string, servedName: string): string | null {
  if (model === servedName) return null;
  const rest = model.startsWith(`${servedName}:`)
    ? model.slice(servedName.length + 1)
    : model.includes(':')
      ? model.slice(model.indexOf(':') + 1)
      : '';
  return rest.trim() || null;
}

/** @throws EngineError, status 400, for every adapter. That in `model` goes before `lora_path`. */
export function refuseAdapters(fields: CommonFields, servedName: string): void {
  const named = fields.model === undefined ? null : adapterOf(fields.model, servedName);
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
