/** Lists of message events, as they wait for a reader. */
import type { MessageEvent } from './parse/types.js';

/** Appends, joining neighbours of one kind: what waits grows by its text, not by the number of pieces. */
export function addEvents(list: MessageEvent[], added: readonly MessageEvent[]): void {
  for (const event of added) {
    const last = list.at(-1);
    // The list's events are its own.
    if (!last || !joins(last, event)) list.push({ ...event });
    else if ('text' in last && 'text' in event) last.text += event.text;
  }
}

/** {@link addEvents} of one piece of content, as most of them are. */
export function addContent(list: MessageEvent[], text: string): void {
  const last = list.at(-1);
  if (last?.type === 'content') last.text += text;
  else list.push({ type: 'content', text });
}

function joins(last: MessageEvent, event: MessageEvent): boolean {
  if (last.type !== event.type || event.type === 'toolCall') return false;
  return event.type !== 'toolArguments' || ('index' in last && last.index === event.index);
}

/** What one choice said, whole. */
export interface Message {
  content: string;
  reasoning: string;
  calls: { index: number; id: string; name: string; arguments: string }[];
}

export function joinEvents(events: readonly MessageEvent[]): Message {
  const message: Message = { content: '', reasoning: '', calls: [] };
  for (const event of events) {
    if (event.type === 'content') message.content += event.text;
    else if (event.type === 'reasoning') message.reasoning += event.text;
    else if (event.type === 'toolCall')
      message.calls.push({ index: event.index, id: event.id, name: event.name, arguments: '' });
    else {
      const call = message.calls.find(({ index }) => index === event.index);
      if (call) call.arguments += event.text;
    }
  }
  return message;
}
