import { describe, expect, test } from 'vitest';
import { type FinishEvent, Mailbox, type Receiver, type TokenEvent } from '../../lib/mailbox.js';
import type { NativeDelivery } from '../../lib/native.js';

type Event = ['tokens', TokenEvent] | ['prompt', TokenEvent] | ['finish', FinishEvent];

function recorder(): Receiver & { events: Event[] } {
  const events: Event[] = [];
  return {
    events,
    onTokens: (event) => events.push(['tokens', event]),
    onPromptLogprobs: (event) => events.push(['prompt', event]),
    onFinish: (event) => events.push(['finish', event]),
  };
}

/** The i-th event's content. */
function content<T>(from: { events: Event[] }, i: number): T {
  const event = from.events[i];
  if (event === undefined) throw new Error(`expected event ${i}, there are ${from.events.length}`);
  return event[1] as T;
}

interface Parts {
  id: number;
  flags?: number;
  finish?: number;
  tokens?: number[];
  topN?: number;
  matched?: number;
  cached?: number;
  topIds?: number[];
  experts?: number[];
}

function record(parts: Parts): number[] {
  const { id, flags = 0, finish = 0, tokens = [], topN = 0, matched = -1, cached = 0 } = parts;
  const { topIds = [], experts = [] } = parts;
  const header = [id, flags, finish, tokens.length, topN, matched, cached, experts.length];
  return [...header, ...tokens, ...topIds, ...experts];
}

function delivery(records: Parts[], floats?: number[]): NativeDelivery {
  return {
    ints: Int32Array.from(records.flatMap(record)),
    floats: floats === undefined ? null : Float32Array.from(floats),
    failures: null,
  };
}

describe('routing', () => {
  test('every record reaches its receiver, in order; a finish with tokens brings them first', () => {
    const mailbox = new Mailbox();
    const [a, b] = [recorder(), recorder()];
    const [ida, idb] = [mailbox.register(a), mailbox.register(b)];
    expect(ida).not.toBe(idb);
    mailbox.deliver(
      delivery([
        { id: ida, tokens: [10, 11], cached: 3 },
        { id: idb, tokens: [20] },
        { id: ida, tokens: [12], finish: 1, matched: 12, cached: 3 },
      ]),
    );
    expect(a.events.map(([kind]) => kind)).toEqual(['tokens', 'tokens', 'finish']);
    const [first, second, last] = a.events as [Event, Event, Event];
    expect(first[1]).toMatchObject({ logprobs: null, topIds: null, topN: 0, cachedTokens: 3 });
    expect([...(first[1] as TokenEvent).tokens]).toEqual([10, 11]);
    expect([...(second[1] as TokenEvent).tokens]).toEqual([12]);
    expect(last[1]).toEqual({ finish: 'stop', matchedToken: 12, routedExperts: null });
    expect(b.events).toHaveLength(1);
    expect(mailbox.size).toBe(1);
  });

  test('logprobs and top logprobs are cut along records, prompt records apart', () => {
    const mailbox = new Mailbox();
    const [a, b] = [recorder(), recorder()];
    const [ida, idb] = [mailbox.register(a), mailbox.register(b)];
    mailbox.deliver(
      delivery(
        [
          { id: ida, flags: 3, tokens: [1, 2], topN: 2, topIds: [5, 6, 7, 8] },
          { id: idb, tokens: [9] },
          { id: idb, flags: 1, tokens: [3], topN: 0, finish: 2 },
        ],
        [-1, -2, -0.5, -0.25, -0.125, -4, -3],
      ),
    );
    expect(a.events[0]?.[0]).toBe('prompt');
    const prompt = content<TokenEvent>(a, 0);
    expect([...prompt.logprobs!]).toEqual([-1, -2]);
    expect([...prompt.topIds!]).toEqual([5, 6, 7, 8]);
    expect([...prompt.topLogprobs!]).toEqual([-0.5, -0.25, -0.125, -4]);
    expect(prompt.topN).toBe(2);
    expect(content<TokenEvent>(b, 0).logprobs).toBeNull();
    const scored = content<TokenEvent>(b, 1);
    expect([...scored.logprobs!]).toEqual([-3]);
    expect(scored).toMatchObject({ topIds: null, topLogprobs: null, topN: 0 });
    expect(content(b, 2)).toEqual({ finish: 'length', matchedToken: null, routedExperts: null });
  });

  test('a finish alone brings no tokens; routed experts are a copy', () => {
    const mailbox = new Mailbox();
    const a = recorder();
    const sent = delivery([{ id: mailbox.register(a), finish: 3, experts: [4, 5] }]);
    mailbox.deliver(sent);
    expect(a.events).toHaveLength(1);
    const { routedExperts } = content<{ routedExperts: Int32Array }>(a, 0);
    expect([...routedExperts]).toEqual([4, 5]);
    expect(routedExperts.buffer).not.toBe(sent.ints.buffer);
  });

  test('an error record becomes an EngineError with the native code', () => {
    const mailbox = new Mailbox();
    const [a, b] = [recorder(), recorder()];
    const [ida, idb] = [mailbox.register(a), mailbox.register(b)];
    const sent = delivery([
      { id: ida, finish: 4 },
      { id: idb, finish: 4 },
    ]);
    sent.failures = [{ id: ida, code: 'engine_failed', message: 'the device was lost' }];
    mailbox.deliver(sent);
    expect(content(a, 0)).toMatchObject({
      finish: 'error',
      error: { code: 'engine_failed', status: 500, message: 'the device was lost' },
    });
    expect(content(b, 0)).toMatchObject({ finish: 'error', error: { code: 'internal_error' } });
    expect(mailbox.size).toBe(0);
  });

  test('unknown and unregistered ids are skipped without losing the place', () => {
    const mailbox = new Mailbox();
    const [gone, a] = [recorder(), recorder()];
    const [idGone, ida] = [mailbox.register(gone), mailbox.register(a)];
    mailbox.unregister(idGone);
    mailbox.deliver(
      delivery(
        [
          { id: idGone, flags: 1, tokens: [1] },
          { id: ida, flags: 1, tokens: [2] },
        ],
        [-1, -2],
      ),
    );
    expect(gone.events).toEqual([]);
    expect(content<TokenEvent>(a, 0).logprobs![0]).toBe(-2);
  });
});

describe('faults', () => {
  test('a receiver that throws disturbs nobody; its error is uncaught', async () => {
    const mailbox = new Mailbox();
    const bad: Receiver = {
      onTokens: () => {
        throw new Error('mine');
      },
      onPromptLogprobs: () => {},
      onFinish: () => {},
    };
    const good = recorder();
    const records = [bad, good].map((r) => ({ id: mailbox.register(r), tokens: [1], finish: 2 }));
    const before = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const uncaught = new Promise((resolve) => process.once('uncaughtException', resolve));
    mailbox.deliver(delivery(records));
    expect(good.events.map(([kind]) => kind)).toEqual(['tokens', 'finish']);
    expect(await uncaught).toMatchObject({ message: 'mine' });
    for (const listener of before) process.on('uncaughtException', listener);
    expect(mailbox.size).toBe(0);
  });

  test.each([
    ['header', (ints: number[]) => ints.slice(0, 5)],
    ['tokens', (ints: number[]) => ints.slice(0, -1)],
  ])('a delivery cut off in its %s is refused', (_, cut) => {
    const mailbox = new Mailbox();
    const ints = Int32Array.from(cut(record({ id: mailbox.register(recorder()), tokens: [1, 2] })));
    expect(() => mailbox.deliver({ ints, floats: null, failures: null })).toThrow(/cut off/);
  });

  test('missing floats are refused', () => {
    const mailbox = new Mailbox();
    const sent = delivery([{ id: mailbox.register(recorder()), flags: 1, tokens: [1] }]);
    expect(() => mailbox.deliver(sent)).toThrow(/cut off/);
  });
});
