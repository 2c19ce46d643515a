/** Trees, messages, and what models are asked to extract or judge. */
import type { Json, Kit, Members, Shape } from './kit.js';

const languages =
  'ar bn cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl sr sv th tr uk vi zh';

function position(k: Kit): Shape {
  return k.define('position', () => k.tuple(k.number(-180, 180), k.number(-90, 90)));
}

export const documents: Record<string, (k: Kit) => Shape> = {
  geojson: (k) => {
    const line = k.define('line', () => k.list(position(k), { min: 2, max: 1000 }));
    const ring = k.define('ring', () => k.list(position(k), { min: 4, max: 1000 }));
    const geometry = k.define('geometry', () =>
      k.oneOf(
        k.object({ type: k.constant('Point'), coordinates: position(k) }),
        k.object({ type: k.constant('LineString'), coordinates: line }),
        k.object({ type: k.constant('Polygon'), coordinates: k.list(ring, { min: 1 }) }),
        k.object({ type: k.constant('MultiPoint'), coordinates: k.list(position(k)) }),
      ),
    );
    return k.object({
      type: k.constant('FeatureCollection'),
      features: k.list(
        k.object({
          type: k.constant('Feature'),
          'id?': k.anyOf(k.text(), k.number()),
          geometry: k.nullable(geometry),
          properties: k.nullable(k.map(k.anyOf(k.text(), k.number(), k.boolean()))),
        }),
      ),
    });
  },

  chat_messages: (k) =>
    k.list(
      k.oneOf(
        k.object({ role: k.constant('user'), content: k.text() }),
        k.object({ role: k.constant('system'), content: k.text() }),
        k.object({
          role: k.constant('assistant'),
          content: k.nullable(k.text()),
          'tool_calls?': k.list(
            k.object({
              id: k.pattern('^call_[A-Za-z0-9]{8,24}$', () => `call_${k.digits(12)}`),
              type: k.constant('function'),
              function: k.object({ name: k.text({ min: 1 }), arguments: k.text() }),
            }),
          ),
        }),
        k.object({ role: k.constant('tool'), tool_call_id: k.text(), content: k.text() }),
      ),
      { min: 1 },
    ),

  ui_tree: (k) => {
    const node = k.define('node', () =>
      k.object({
        type: k.choice('div', 'button', 'header', 'section', 'field', 'form', 'image'),
        label: k.text(),
        children: k.list(k.again('node')),
        'attributes?': k.list(k.object({ name: k.text(), value: k.text() })),
      }),
    );
    return k.object({ version: k.constant(1), root: node });
  },

  syntax_tree: (k) => {
    const expression = k.define('expression', () => {
      const inner = k.again('expression');
      return k.oneOf(
        k.object({ kind: k.constant('name'), name: k.pattern('^[A-Za-z_]\\w*$', () => k.word()) }),
        k.object({
          kind: k.constant('literal'),
          value: k.anyOf(k.text(), k.number(), k.boolean()),
        }),
        k.object({
          kind: k.constant('binary'),
          op: k.choice('+', '-', '*', '/', '<', '=='),
          left: inner,
          right: inner,
        }),
        k.object({ kind: k.constant('call'), callee: inner, args: k.list(inner) }),
        k.object({ kind: k.constant('if'), test: inner, body: inner, 'else?': k.nullable(inner) }),
      );
    });
    return k.object({ body: k.list(expression, { min: 1 }) });
  },

  math_reasoning: (k) =>
    k.object({
      steps: k.list(k.object({ explanation: k.text(), output: k.text() }), { min: 1, max: 20 }),
      final_answer: k.text({ min: 1 }),
    }),

  sentiment: (k) =>
    k.object({
      label: k.choice('positive', 'negative', 'neutral', 'mixed'),
      score: k.number(0, 1),
      'aspects?': k.list(
        k.object({
          aspect: k.choice('price', 'quality', 'service', 'delivery', 'design', 'support'),
          label: k.choice('positive', 'negative', 'neutral'),
          'quote?': k.text({ max: 300 }),
        }),
        { max: 10 },
      ),
      'language?': k.choice(...languages.split(' ')),
    }),

  entities: (k) =>
    k.object({
      entities: k.list(
        k.object({
          text: k.text({ min: 1 }),
          type: k.choice(
            'PERSON',
            'ORG',
            'GPE',
            'DATE',
            'MONEY',
            'PRODUCT',
            'EVENT',
            'LAW',
            'WORK_OF_ART',
          ),
          start: k.integer(0),
          end: k.integer(0),
          'confidence?': k.number(0, 1),
        }),
        { max: 200 },
      ),
      'relations?': k.list(
        k.tuple(k.integer(0, 200), k.choice('works_for', 'located_in', 'owns'), k.integer(0, 200)),
      ),
    }),

  translation: (k) => {
    const texts: Members = {};
    for (const language of languages.split(' ')) texts[`${language}?`] = k.text();
    return k.object({ source: k.text({ min: 1 }), texts: k.object(texts) });
  },

  classification: (k) => {
    const codes = Array.from(
      { length: 150 },
      (_, i) => `${String.fromCharCode(65 + (i % 26))}${100 + i * 7}`,
    );
    return k.object({
      code: k.choice(...codes),
      alternatives: k.list(k.choice(...codes), { max: 5 }),
      'reason?': k.text({ max: 500 }),
    });
  },

  meeting_minutes: (k) =>
    k.object({
      title: k.text({ min: 1 }),
      date: k.format('date'),
      'present?': k.list(k.text({ min: 1 }), { max: 50 }),
      topics: k.list(
        k.object({
          topic: k.text({ min: 1 }),
          summary: k.text(),
          'decisions?': k.list(k.text({ min: 1 })),
          actions: k.list(
            k.object({
              who: k.text({ min: 1 }),
              what: k.text({ min: 1 }),
              'by?': k.nullable(k.format('date')),
            }),
          ),
        }),
        { min: 1 },
      ),
    }),

  code_review: (k) =>
    k.object({
      verdict: k.choice('approve', 'request_changes', 'comment'),
      comments: k.list(
        k.object({
          file: k.text({ min: 1 }),
          line: k.integer(1),
          severity: k.choice('nit', 'minor', 'major', 'blocker'),
          body: k.text({ min: 1 }),
          'suggestion?': k.nullable(k.text()),
        }),
      ),
      'risk?': k.integer(1, 5),
    }),

  quiz_grade: (k) =>
    k.object({
      criteria: k.object({
        accuracy: k.integer(1, 10),
        clarity: k.integer(1, 10),
        'style?': k.integer(1, 10),
        'depth?': k.integer(1, 10),
      }),
      verdict: k.choice('A', 'B', 'tie'),
      reasoning: k.text({ min: 20, max: 3000 }),
    }),

  web_page: (k) => {
    const block = k.define('block', () =>
      k.anyOf(
        k.object({ kind: k.constant('text'), text: k.text() }),
        k.object({ kind: k.constant('image'), src: k.format('uri'), 'alt?': k.text() }),
        k.object({
          kind: k.constant('columns'),
          columns: k.list(k.list(k.again('block')), { min: 2, max: 4 }),
        }),
      ),
    );
    return k.object({
      url: k.format('uri'),
      title: k.text({ min: 1, max: 70 }),
      'meta?': k.map(k.text(), { pattern: '^(og|twitter):[a-z_]+$', make: () => `og:${k.word()}` }),
      blocks: k.list(block),
    });
  },

  conditional_shape: (k) =>
    k.shape(
      {
        type: 'object',
        properties: {
          kind: { enum: ['circle', 'rectangle'] },
          radius: { type: 'number', exclusiveMinimum: 0 },
          width: { type: 'number', exclusiveMinimum: 0 },
          height: { type: 'number', exclusiveMinimum: 0 },
        },
        required: ['kind'],
        additionalProperties: false,
        if: { properties: { kind: { const: 'circle' } } },
        // biome-ignore lint/suspicious/noThenProperty: the keyword
        then: { required: ['radius'] },
        else: { required: ['width', 'height'] },
      },
      (): Json =>
        k.chance(50)
          ? { kind: 'circle', radius: (1 + k.below(1000)) / 10 }
          : { kind: 'rectangle', width: 1 + k.below(90), height: (1 + k.below(900)) / 8 },
    ),

  merged: (k) => {
    const own = k.object({ title: k.text({ min: 1 }), 'pages?': k.integer(1, 5000) }, {}, true);
    const base = {
      type: 'object',
      properties: { id: { type: 'string', format: 'uuid' } },
      required: ['id'],
    };
    const id = k.format('uuid');
    return k.shape({ allOf: [base, own.schema] }, (depth) => {
      const rest = own.make(depth);
      return { id: id.make(depth), ...(rest as Record<string, string>) };
    });
  },

  openapi_operation: (k) => {
    const schema = k.define('schema', () =>
      k.object({
        type: k.choice('string', 'number', 'integer', 'boolean', 'array', 'object'),
        'format?': k.text(),
        'items?': k.again('schema'),
        'properties?': k.map(k.again('schema')),
        'enum?': k.list(k.anyOf(k.text(), k.number())),
      }),
    );
    return k.object({
      operationId: k.pattern('^[a-z][A-Za-z0-9]*$', () => k.word()),
      'summary?': k.text({ max: 120 }),
      parameters: k.list(
        k.object({
          name: k.text({ min: 1 }),
          in: k.choice('path', 'query', 'header', 'cookie'),
          'required?': k.boolean(),
          schema,
        }),
      ),
      responses: k.map(k.object({ description: k.text(), 'content?': k.map(schema) }), {
        pattern: '^([1-5]\\d\\d|default)$',
        make: () => `${1 + k.below(5)}${k.digits(2)}`,
      }),
    });
  },
};
