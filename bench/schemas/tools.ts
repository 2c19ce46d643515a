/** Parameters of functions, as chat models get them. */
import type { Kit, Shape } from './kit.js';

export const tools: Record<string, (k: Kit) => Shape> = {
  get_weather: (k) =>
    k.object({
      location: k.describe(k.text({ min: 1 }), 'City and country, such as Paris, France'),
      'unit?': k.choice('celsius', 'fahrenheit', 'kelvin'),
      'days?': k.integer(1, 14),
      'include?': k.subset('wind', 'humidity', 'uv', 'pollen', 'sunrise'),
    }),

  search_web: (k) =>
    k.object({
      query: k.describe(k.text({ min: 1, max: 400 }), 'What to look for'),
      'num_results?': k.integer(1, 50),
      'site?': k.format('hostname'),
      'recency?': k.choice('day', 'week', 'month', 'year', 'any'),
      'safe?': k.boolean(),
      'language?': k.pattern('^[a-z]{2}(-[A-Z]{2})?$', () => k.pick(['de', 'en-US', 'pt-BR'])),
    }),

  book_flight: (k) => {
    const airport = () => k.pattern('^[A-Z]{3}$', () => k.letters('ABCDEFGHIJKLMNOPQRSTUVWXYZ', 3));
    return k.object({
      from: airport(),
      to: airport(),
      departure: k.format('date'),
      'return?': k.nullable(k.format('date')),
      cabin: k.choice('economy', 'premium_economy', 'business', 'first'),
      passengers: k.list(
        k.object({
          name: k.text({ min: 1, max: 80 }),
          'born?': k.format('date'),
          type: k.choice('adult', 'child', 'infant'),
          'frequent_flyer?': k.pattern('^[A-Z]{2}\\d{6,10}$', () => `LH${k.digits(8)}`),
        }),
        { min: 1, max: 9 },
      ),
      'max_price?': k.number(0, 20000),
    });
  },

  send_email: (k) =>
    k.object({
      to: k.list(k.format('email'), { min: 1, max: 20 }),
      'cc?': k.list(k.format('email'), { max: 20 }),
      subject: k.text({ min: 1, max: 200 }),
      body: k.text(),
      'priority?': k.choice('low', 'normal', 'high'),
      'attachments?': k.list(
        k.object({ name: k.text(), url: k.format('uri'), 'bytes?': k.integer(0) }),
      ),
      'send_at?': k.format('date-time'),
    }),

  create_event: (k) =>
    k.object({
      title: k.text({ min: 1, max: 120 }),
      start: k.format('date-time'),
      'end?': k.format('date-time'),
      'duration?': k.format('duration'),
      attendees: k.list(
        k.object({
          email: k.format('email'),
          'optional?': k.boolean(),
          'response?': k.choice('accepted', 'declined', 'tentative', 'none'),
        }),
      ),
      'recurrence?': k.object({
        frequency: k.choice('daily', 'weekly', 'monthly', 'yearly'),
        interval: k.integer(1, 99),
        'until?': k.format('date'),
        'weekdays?': k.subset('MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU'),
      }),
      'reminders?': k.list(k.integer(0, 40320), { max: 5 }),
    }),

  run_sql: (k) =>
    k.object({
      statement: k.text({ min: 1 }),
      'parameters?': k.list(
        k.anyOf(
          k.shape({ type: 'null' }, () => null),
          k.text(),
          k.number(),
          k.boolean(),
        ),
      ),
      'timeout_ms?': k.integer(1, 600000),
      'read_only?': k.boolean(),
    }),

  edit_file: (k) =>
    k.object({
      path: k.pattern('^/?([\\w.-]+/)*[\\w.-]+$', () => `src/${k.word()}/${k.word()}.ts`),
      edits: k.list(k.object({ old_text: k.text(), new_text: k.text(), 'all?': k.boolean() }), {
        min: 1,
      }),
      'dry_run?': k.boolean(),
    }),

  shell: (k) =>
    k.object({
      command: k.list(k.text(), { min: 1 }),
      'workdir?': k.text(),
      'env?': k.map(k.text()),
      'timeout?': k.integer(1, 3600),
      'with_escalated_permissions?': k.boolean(),
    }),

  calculator: (k) => {
    const operand = k.define('operand', () =>
      k.anyOf(
        k.number(),
        k.object({
          op: k.choice('add', 'subtract', 'multiply', 'divide', 'power'),
          args: k.list(k.again('operand'), { min: 2, max: 6 }),
        }),
      ),
    );
    return k.object({ expression: operand, 'precision?': k.integer(0, 12) });
  },

  convert_currency: (k) => {
    const currency = () =>
      k.choice('EUR', 'USD', 'GBP', 'JPY', 'CHF', 'SEK', 'NOK', 'CZK', 'PLN', 'INR', 'CNY', 'BRL');
    return k.object({ amount: k.steps(0.01, 0, 1000), from: currency(), to: currency() });
  },

  create_ticket: (k) =>
    k.object({
      project: k.pattern('^[A-Z][A-Z0-9]{1,9}$', () => `AB${k.digits(2)}`),
      type: k.choice('bug', 'task', 'story', 'epic'),
      summary: k.text({ min: 5, max: 255 }),
      'description?': k.text(),
      'labels?': k.list(
        k.pattern('^[a-z0-9-]+$', () => `${k.word()}-${k.below(9)}`),
        { max: 10 },
      ),
      'assignee?': k.nullable(k.text()),
      priority: k.integer(1, 5),
      'due?': k.format('date'),
      'links?': k.list(
        k.object({
          kind: k.choice('blocks', 'duplicates', 'relates'),
          key: k.pattern('^[A-Z]+-[1-9]\\d*$', () => `AB-${1 + k.below(9999)}`),
        }),
      ),
    }),

  query_metrics: (k) =>
    k.object({
      metric: k.pattern('^[a-z_:][a-z0-9_:]*$', () => `http_${k.word()}_total`),
      'labels?': k.map(k.text(), { pattern: '^[a-z_]+$', make: () => k.word() }),
      range: k.oneOf(
        k.object({ kind: k.constant('relative'), last: k.format('duration') }),
        k.object({
          kind: k.constant('absolute'),
          start: k.format('date-time'),
          end: k.format('date-time'),
        }),
      ),
      'step?': k.pattern('^\\d+[smhd]$', () => `${1 + k.below(60)}s`),
      'aggregate?': k.choice('sum', 'avg', 'min', 'max', 'count', 'p50', 'p95', 'p99'),
    }),

  set_lights: (k) =>
    k.object({
      rooms: k.subset('kitchen', 'hall', 'bedroom', 'bath', 'office', 'garage'),
      state: k.oneOf(
        k.object({ power: k.constant('off') }),
        k.object({
          power: k.constant('on'),
          brightness: k.integer(0, 100),
          'color?': k.pattern('^#[0-9a-fA-F]{6}$', () => `#${k.letters('0123456789abcdef', 6)}`),
          'kelvin?': k.integer(1500, 9000),
        }),
      ),
      'fade_s?': k.number(0, 60),
    }),

  plan_route: (k) => {
    const place = k.define('place', () =>
      k.anyOf(
        k.text({ min: 1 }),
        k.object({ lat: k.number(-90, 90), lon: k.number(-180, 180) }, {}, true),
      ),
    );
    return k.object({
      from: place,
      to: place,
      'via?': k.list(place, { max: 8 }),
      mode: k.choice('car', 'bike', 'foot', 'transit'),
      'avoid?': k.subset('tolls', 'ferries', 'highways', 'tunnels'),
      'depart?': k.oneOf(k.constant('now'), k.format('date-time')),
    });
  },

  generate_image: (k) =>
    k.object({
      prompt: k.text({ min: 1, max: 1000 }),
      'negative_prompt?': k.text({ max: 1000 }),
      size: k.choice('256x256', '512x512', '1024x1024', '1024x1792', '1792x1024'),
      'n?': k.integer(1, 10),
      'seed?': k.integer(0, 4294967295),
      'guidance?': k.number(0, 30),
      'style?': k.nullable(k.choice('vivid', 'natural')),
    }),

  transfer_money: (k) =>
    k.object({
      iban: k.pattern('^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$', () => `DE${k.digits(2)}${k.digits(18)}`),
      amount: k.number(0.01, 999999.99),
      currency: k.pattern('^[A-Z]{3}$', () => 'EUR'),
      'reference?': k.text({ max: 140 }),
      confirm: k.constant(true),
    }),

  agent_step: (k) =>
    k.object({
      thought: k.text(),
      action: k.oneOf(
        k.object({ tool: k.constant('finish'), answer: k.text() }),
        k.object({ tool: k.constant('search'), query: k.text(), 'top_k?': k.integer(1, 20) }),
        k.object({ tool: k.constant('open'), url: k.format('uri') }),
        k.object({ tool: k.constant('python'), code: k.text(), 'timeout?': k.integer(1, 300) }),
        k.object({ tool: k.constant('click'), x: k.integer(0, 4096), y: k.integer(0, 4096) }),
      ),
    }),
};
