/**
 * Proved by tsc alone, never run: results are the `openai` package's types, its requests are accepted as far as
 * they are supported, and calls have exact types.
 */
import type OpenAI from 'openai';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
  ChatCompletionRequestNonStreaming,
  ChatCompletionRequestStreaming,
  ChatMessage,
  ChunkStream,
  Completion,
  CompletionChunk,
  CompletionRequest,
  Engine,
  ResponseStream,
} from '../../lib/index.js';

type Assignable<From extends To, To> = From;
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(proof: Same<A, B>): void;

// Results.
export type Results = [
  Assignable<ChatCompletion, OpenAI.ChatCompletion>,
  Assignable<ChatCompletion['choices'][number], OpenAI.ChatCompletion.Choice>,
  Assignable<ChatCompletionChunk, OpenAI.ChatCompletionChunk>,
  Assignable<Completion, OpenAI.Completion>,
  Assignable<CompletionChunk, OpenAI.Completion>,
  Assignable<NonNullable<ChatCompletion['usage']>, OpenAI.CompletionUsage>,
  // An answer goes back in as a message, ours and theirs.
  Assignable<ChatCompletion['choices'][number]['message'], ChatMessage>,
  Assignable<ChatCompletion['choices'][number]['message'], OpenAI.ChatCompletionMessageParam>,
];

// Requests: every field that both have, messages of text, tools of functions.
type Chat = OpenAI.ChatCompletionCreateParams;
type SharedChat = Exclude<
  keyof ChatCompletionRequest & keyof Chat,
  'messages' | 'tools' | 'tool_choice'
>;
type Text = OpenAI.CompletionCreateParams;
type SharedText = keyof CompletionRequest & keyof Text;
export type Requests = [
  Assignable<Pick<Chat, SharedChat>, Pick<ChatCompletionRequest, SharedChat>>,
  Assignable<Pick<Text, Exclude<SharedText, 'prompt'>>, Partial<CompletionRequest>>,
  Assignable<NonNullable<Text['prompt']>, CompletionRequest['prompt']>,
  Assignable<OpenAI.ChatCompletionSystemMessageParam, ChatMessage>,
  Assignable<OpenAI.ChatCompletionDeveloperMessageParam, ChatMessage>,
  Assignable<OpenAI.ChatCompletionToolMessageParam, ChatMessage>,
  Assignable<{ role: 'user'; content: string }, ChatMessage>,
  Assignable<{ role: 'user'; content: OpenAI.ChatCompletionContentPartText[] }, ChatMessage>,
  Assignable<OpenAI.ChatCompletionMessageFunctionToolCall, NonNullable<ToolCallsOf>[number]>,
  Assignable<
    OpenAI.ChatCompletionFunctionTool,
    NonNullable<ChatCompletionRequest['tools']>[number]
  >,
  Assignable<
    OpenAI.ChatCompletionNamedToolChoice | 'auto' | 'none' | 'required',
    NonNullable<ChatCompletionRequest['tool_choice']>
  >,
];
type ToolCallsOf = Extract<ChatMessage, { role: 'assistant' }>['tool_calls'];

// What they call their params can be written down and used for both.
export const theirs: OpenAI.ChatCompletionCreateParamsNonStreaming &
  ChatCompletionRequestNonStreaming = {
  model: 'x',
  messages: [
    { role: 'system', content: 'a' },
    { role: 'user', content: [{ type: 'text', text: 'b' }] },
  ],
  temperature: 0,
  stop: ['x'],
  logit_bias: { '5': 1 },
  stream: false,
};

// Calls.
export async function calls(engine: Engine, stream: boolean): Promise<void> {
  const messages: ChatMessage[] = [{ role: 'user', content: 'hi' }];
  same<ReturnType<typeof whole>, Promise<ChatCompletion>>(true);
  const whole = () => engine.chatCompletions({ messages });
  const off = () => engine.chatCompletions({ messages, stream: false }, { signal: undefined });
  same<ReturnType<typeof off>, Promise<ChatCompletion>>(true);
  const on = () => engine.chatCompletions({ messages, stream: true });
  same<ReturnType<typeof on>, ResponseStream<ChatCompletionChunk>>(true);
  same<Awaited<ReturnType<typeof on>>, ChunkStream<ChatCompletionChunk>>(true);
  const either = () => engine.chatCompletions({ messages, stream });
  same<ReturnType<typeof either>, Promise<ChatCompletion> | ResponseStream<ChatCompletionChunk>>(
    true,
  );
  const text = () => engine.completions({ prompt: 'x', n: 2, seed: 2n ** 64n });
  same<ReturnType<typeof text>, Promise<Completion>>(true);
  const texts = () => engine.completions({ prompt: [[1, 2]], stream: true });
  same<ReturnType<typeof texts>, ResponseStream<CompletionChunk>>(true);

  for await (const chunk of engine.chatCompletions({ messages, stream: true }))
    same<typeof chunk, ChatCompletionChunk>(true);
  for await (const chunk of await engine.completions({ prompt: 'x', stream: true }))
    same<typeof chunk, CompletionChunk>(true);

  const request: ChatCompletionRequestStreaming = { messages, stream: true, top_k: 5, min_p: 0.1 };
  await engine.chatCompletions(request, { signal: AbortSignal.timeout(1) });

  // @ts-expect-error no such field
  void engine.chatCompletions({ messages, temperatur: 1 });
  // @ts-expect-error messages are required
  void engine.chatCompletions({});
  // @ts-expect-error images are not read
  void engine.chatCompletions({ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] });
  // @ts-expect-error no such choice
  void engine.chatCompletions({ messages, tool_choice: 'any' });
}
