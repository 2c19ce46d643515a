/** hotpath: an LLM inference engine that lives inside a Node process. */
export {
  type DeviceInfo,
  devices,
  Engine,
  type EngineStats,
  type RequestOptions,
} from './engine.js';
export { EngineError, type EngineErrorOptions, type ErrorCode, type ErrorType } from './errors.js';
export type { LoadOptions, Logger, ParserOption } from './options.js';
export type { ReasoningParserName, ToolParserName } from './parse/types.js';
export type { ChunkStream, ResponseStream } from './response/stream.js';
export type * from './types.js';
export type { LoadProgress, WeightDtype } from './weights/index.js';
