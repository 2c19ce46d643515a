/**
 * The OpenAI-shaped requests and responses. They are this package's own, so that users need no other types;
 * results are assignable to the `openai` package's (test/types proves it). Fields beyond OpenAI's are SGLang's.
 */
export type * from './types/requests.js';
export type * from './types/responses.js';
