/** Shared by the tests of responses: the four ways to ask. */
import type { ChatCompletionRequest, CompletionRequest } from '../../lib/index.js';
import { collect, type Fake, fakeEngine, imEnd, type Step } from './fake-engine.js';

export const messages = [{ role: 'user' as const, content: 'hi' }];
export const promptTokens = 21;
export const end: Step = { tokens: [imEnd], finish: 'stop' };

export async function chat(fake: Fake, body: Partial<ChatCompletionRequest> = {}) {
  return fake.engine.chatCompletions({ messages, ...body, stream: false });
}

export async function chatStream(fake: Fake, body: Partial<ChatCompletionRequest> = {}) {
  return collect(fake.engine.chatCompletions({ messages, ...body, stream: true }));
}

export async function complete(fake: Fake, body: Partial<CompletionRequest> = {}) {
  return fake.engine.completions({ prompt: 'abc', ...body, stream: false });
}

export async function completeStream(fake: Fake, body: Partial<CompletionRequest> = {}) {
  return collect(fake.engine.completions({ prompt: 'abc', ...body, stream: true }));
}

export async function answering(...steps: Step[]): Promise<Fake> {
  const fake = await fakeEngine();
  fake.native.answer(...steps);
  return fake;
}
