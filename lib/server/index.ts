/** hotpath/server: the OpenAI routes over HTTP, as a server or as a plugin of a fastify app. */
export type { ListenOptions, ServerOptions } from './options.js';
export { type HotpathServerOptions, hotpathServer } from './plugin.js';
export { createServer, type RunningServer, serve } from './serve.js';
