/** Who may call: API keys, and pages of other origins. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { unauthorized } from './errors.js';

/** Throws status 401 unless the request has one of `keys`. No keys: everyone may. */
export function keyCheck(keys: readonly string[]): (request: FastifyRequest) => void {
  const digests = keys.map(digest);
  return ({ headers }) => {
    if (digests.length === 0) return;
    const given = /^Bearer +(\S.*)$/i.exec(headers.authorization ?? '')?.[1];
    if (given === undefined) throw unauthorized(headers.authorization !== undefined);
    // All are compared, in a time that does not depend on where they differ.
    const received = digest(given.trim());
    const matches = digests.filter((known) => timingSafeEqual(known, received));
    if (matches.length === 0) throw unauthorized(true);
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** What a browser asks before it calls stays asked for so long. */
const preflightSeconds = '600';

/** Adds the headers of CORS, those of a preflight included. `origins` null: none. */
export function corsHeaders(
  origins: readonly string[] | '*' | null,
): (request: FastifyRequest, reply: FastifyReply) => void {
  return (request, reply) => {
    if (origins === null) return;
    const { origin } = request.headers;
    if (origins !== '*') reply.header('vary', 'Origin');
    if (origin === undefined) return;
    if (origins !== '*' && !origins.includes(origin)) return;
    reply.header('access-control-allow-origin', origins === '*' ? '*' : origin);
    reply.header('access-control-expose-headers', 'x-request-id, retry-after');
    if (request.method !== 'OPTIONS') return;
    const wanted = request.headers['access-control-request-headers'];
    reply.header('access-control-allow-methods', 'GET, HEAD, POST, OPTIONS');
    reply.header('access-control-allow-headers', wanted ?? 'authorization, content-type');
    reply.header('access-control-max-age', preflightSeconds);
  };
}
