/** Records of business, science and daily life, as they are extracted from texts or stored. */
import type { Kit, Shape } from './kit.js';

const countries = (
  'AT AU BE BR CA CH CL CN CO CZ DE DK EE EG ES FI FR GB GR HR HU IE IL IN IS IT JP KE KR LT LU LV MA MX MY NG NL NO ' +
  'NZ PE PH PL PT RO RS SA SE SG SI SK TH TR TW UA US UY VN ZA'
).split(' ');

function address(k: Kit): Shape {
  return k.define('address', () =>
    k.object({
      street: k.text({ min: 1, max: 120 }),
      'line2?': k.nullable(k.text({ max: 120 })),
      postcode: k.pattern('^[A-Z0-9 -]{3,10}$', () => k.digits(5)),
      city: k.text({ min: 1, max: 80 }),
      country: k.choice(...countries),
    }),
  );
}

function money(k: Kit): Shape {
  return k.define('money', () =>
    k.object({
      amount: k.pattern('^-?\\d{1,12}(\\.\\d{2})?$', () => `${k.below(100000)}.${k.digits(2)}`),
      currency: k.pattern('^[A-Z]{3}$', () => k.pick(['EUR', 'USD', 'JPY'])),
    }),
  );
}

export const records: Record<string, (k: Kit) => Shape> = {
  invoice: (k) =>
    k.object({
      number: k.pattern('^INV-\\d{4}-\\d{5}$', () => `INV-2026-${k.digits(5)}`),
      issued: k.format('date'),
      'due?': k.format('date'),
      seller: k.object({ name: k.text({ min: 1 }), address: address(k), 'vat_id?': k.text() }),
      buyer: k.object({
        name: k.text({ min: 1 }),
        address: address(k),
        'email?': k.format('email'),
      }),
      lines: k.list(
        k.object({
          description: k.text({ min: 1, max: 300 }),
          quantity: k.number(0),
          unit_price: money(k),
          'tax_percent?': k.choice(0, 7, 19, 20, 25),
          'discount?': k.steps(0.5, 0, 100),
        }),
        { min: 1, max: 100 },
      ),
      total: money(k),
      'notes?': k.text(),
    }),

  order: (k) =>
    k.object({
      id: k.format('uuid'),
      placed_at: k.format('date-time'),
      status: k.choice('pending', 'paid', 'shipped', 'delivered', 'cancelled', 'returned'),
      customer: k.object({ id: k.integer(1), name: k.text(), email: k.format('email') }),
      items: k.list(
        k.object({
          sku: k.pattern('^[A-Z]{2,4}-\\d{3,6}$', () => `AB-${k.digits(4)}`),
          quantity: k.integer(1, 999),
          price_cents: k.integer(0, 10000000),
          'options?': k.map(k.text()),
        }),
        { min: 1, max: 50 },
      ),
      shipping: address(k),
      'billing?': address(k),
      payment: k.oneOf(
        k.object({ method: k.constant('invoice'), days: k.integer(7, 90) }),
        k.object({
          method: k.constant('card'),
          last4: k.pattern('^\\d{4}$', () => k.digits(4)),
          brand: k.choice('visa', 'mastercard', 'amex'),
          expires: k.pattern('^(0[1-9]|1[0-2])/\\d{2}$', () => `0${1 + k.below(9)}/${k.digits(2)}`),
        }),
        k.object({ method: k.constant('transfer'), iban: k.text({ min: 15, max: 34 }) }),
      ),
    }),

  person: (k) =>
    k.object({
      given_name: k.text({ min: 1, max: 60 }),
      family_name: k.text({ min: 1, max: 60 }),
      'born?': k.format('date'),
      'age?': k.integer(0, 130),
      'emails?': k.list(k.format('email'), { max: 5 }),
      'phones?': k.list(k.pattern('^\\+[1-9]\\d{6,14}$', () => `+49${k.digits(9)}`)),
      'address?': address(k),
      'nationality?': k.choice(...countries),
      'married?': k.nullable(k.boolean()),
    }),

  resume: (k) =>
    k.object({
      basics: k.object({
        name: k.text({ min: 1 }),
        'label?': k.text(),
        'email?': k.format('email'),
        'url?': k.format('uri'),
        'summary?': k.text({ max: 2000 }),
      }),
      work: k.list(
        k.object({
          company: k.text({ min: 1 }),
          position: k.text(),
          start: k.pattern('^\\d{4}-(0[1-9]|1[0-2])$', () => `20${k.digits(2)}-0${1 + k.below(9)}`),
          'end?': k.nullable(k.text()),
          'highlights?': k.list(k.text({ max: 300 }), { max: 8 }),
        }),
      ),
      education: k.list(
        k.object({ school: k.text(), 'degree?': k.text(), 'year?': k.integer(1950, 2040) }),
      ),
      skills: k.list(
        k.object({
          name: k.text(),
          level: k.choice('beginner', 'intermediate', 'advanced', 'expert'),
        }),
        { max: 30 },
      ),
      'languages?': k.map(k.choice('A1', 'A2', 'B1', 'B2', 'C1', 'C2')),
    }),

  patient_encounter: (k) =>
    k.object({
      patient_id: k.pattern('^P[0-9]{8}$', () => `P${k.digits(8)}`),
      date: k.format('date'),
      vitals: k.object({
        'systolic?': k.integer(50, 260),
        'diastolic?': k.integer(30, 160),
        'temperature_c?': k.steps(0.1, 30, 45),
        'pulse?': k.integer(20, 250),
        'spo2?': k.integer(50, 100),
      }),
      diagnoses: k.list(
        k.object({
          code: k.pattern(
            '^[A-TV-Z][0-9][0-9AB](\\.[0-9A-TV-Z]{1,4})?$',
            () => `E1${k.digits(1)}.9`,
          ),
          text: k.text({ min: 1 }),
          certainty: k.choice('confirmed', 'suspected', 'excluded'),
        }),
        { max: 20 },
      ),
      'medications?': k.list(
        k.object({
          name: k.text(),
          dose: k.pattern('^\\d+(\\.\\d+)? ?(mg|g|ml|µg|IU)$', () => `${1 + k.below(500)} mg`),
          'times?': k.subset('morning', 'noon', 'evening', 'night'),
        }),
      ),
      'allergies?': k.list(k.text()),
    }),

  product: (k) =>
    k.object({
      id: k.integer(1),
      name: k.text({ min: 1, max: 200 }),
      'gtin?': k.pattern('^(\\d{8}|\\d{12,14})$', () => k.digits(13)),
      price: k.steps(0.01, 0, 500),
      'tags?': k.list(k.text({ min: 1, max: 30 }), { max: 12 }),
      'dimensions?': k.object({
        length: k.number(0),
        width: k.number(0),
        height: k.number(0),
        unit: k.choice('mm', 'cm', 'in'),
      }),
      'variants?': k.list(
        k.object({
          color: k.text(),
          'size?': k.choice('XS', 'S', 'M', 'L', 'XL'),
          stock: k.integer(0),
        }),
      ),
      'rating?': k.steps(0.5, 0, 5),
      'discontinued?': k.boolean(),
    }),

  bank_statement: (k) =>
    k.object({
      account: k.pattern('^[A-Z]{2}\\d{2}[A-Z0-9]{10,30}$', () => `DE${k.digits(20)}`),
      period: k.object({ from: k.format('date'), to: k.format('date') }),
      opening: money(k),
      closing: money(k),
      transactions: k.list(
        k.object({
          booked: k.format('date'),
          amount: money(k),
          kind: k.choice('transfer', 'card', 'direct_debit', 'fee', 'interest', 'cash'),
          'counterparty?': k.text({ max: 140 }),
          'reference?': k.nullable(k.text({ max: 140 })),
        }),
        { max: 500 },
      ),
    }),

  recipe: (k) =>
    k.object({
      name: k.text({ min: 1 }),
      serves: k.integer(1, 50),
      'minutes?': k.integer(1, 1440),
      ingredients: k.list(
        k.object({
          item: k.text({ min: 1 }),
          'quantity?': k.anyOf(
            k.number(0),
            k.pattern('^\\d+/\\d+$', () => '1/2'),
          ),
          'unit?': k.choice('g', 'kg', 'ml', 'l', 'tsp', 'tbsp', 'cup', 'piece', 'pinch'),
        }),
        { min: 1 },
      ),
      steps: k.list(k.text({ min: 1, max: 500 }), { min: 1, max: 40 }),
      'diet?': k.subset('vegan', 'vegetarian', 'gluten-free', 'halal', 'kosher'),
    }),

  sensor_reading: (k) =>
    k.object({
      device: k.pattern('^[0-9A-F]{2}(:[0-9A-F]{2}){5}$', () =>
        Array.from({ length: 6 }, () => k.letters('0123456789ABCDEF', 2)).join(':'),
      ),
      at: k.format('date-time'),
      values: k.list(
        k.tuple(k.choice('temp', 'hum', 'co2', 'pm25', 'lux'), k.number(-100, 10000)),
        { min: 1, max: 16 },
      ),
      'battery?': k.number(0, 1),
      'ip?': k.anyOf(k.format('ipv4'), k.format('ipv6')),
    }),

  real_estate: (k) =>
    k.object({
      kind: k.choice('house', 'apartment', 'land', 'office', 'garage'),
      address: address(k),
      area_m2: k.number(1, 100000),
      'rooms?': k.steps(0.5, 0.5, 50),
      price: k.integer(0, 1000000000),
      'energy_class?': k.choice('A+', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'),
      'features?': k.subset('balcony', 'garden', 'lift', 'cellar', 'parking', 'pool', 'fireplace'),
      'photos?': k.list(k.format('uri'), { max: 30 }),
      'available?': k.oneOf(k.constant('immediately'), k.format('date')),
    }),

  citation: (k) =>
    k.object({
      type: k.choice('article', 'book', 'inproceedings', 'thesis', 'web'),
      title: k.text({ min: 1 }),
      authors: k.list(k.object({ family: k.text({ min: 1 }), 'given?': k.text() }), {
        min: 1,
        max: 100,
      }),
      'year?': k.integer(1500, 2100),
      'doi?': k.pattern(
        '^10\\.\\d{4,9}/[-._;()/:A-Za-z0-9]+$',
        () => `10.1000/${k.word()}.${k.digits(4)}`,
      ),
      'isbn?': k.pattern('^97[89]-?\\d{10}$', () => `978${k.digits(10)}`),
      'pages?': k.pattern('^\\d+(-\\d+)?$', () => `${k.below(100)}-${100 + k.below(99)}`),
      'url?': k.format('uri'),
    }),

  shipment: (k) =>
    k.object({
      tracking: k.pattern('^[0-9A-Z]{8,20}$', () => `1Z${k.digits(12)}`),
      carrier: k.choice('dhl', 'ups', 'fedex', 'dpd', 'gls', 'post'),
      from: address(k),
      to: address(k),
      parcels: k.list(
        k.object({
          weight_kg: k.number(0, 70),
          'size_cm?': k.tuple(k.integer(1, 300), k.integer(1, 300), k.integer(1, 300)),
        }),
        { min: 1, max: 20 },
      ),
      events: k.list(
        k.object({
          at: k.format('date-time'),
          code: k.choice(
            'created',
            'picked_up',
            'in_transit',
            'customs',
            'out_for_delivery',
            'delivered',
            'failed',
          ),
          'place?': k.text(),
        }),
      ),
    }),

  exam: (k) =>
    k.object({
      subject: k.text({ min: 1 }),
      questions: k.list(
        k.oneOf(
          k.object({
            kind: k.constant('open'),
            text: k.text({ min: 1 }),
            'points?': k.integer(1, 20),
          }),
          k.object({
            kind: k.constant('choice'),
            text: k.text({ min: 1 }),
            options: k.list(k.text({ min: 1 }), { min: 2, max: 6 }),
            answer: k.integer(0, 5),
          }),
          k.object({
            kind: k.constant('number'),
            text: k.text({ min: 1 }),
            answer: k.number(),
            'tolerance?': k.number(0, 1),
          }),
        ),
        { min: 1, max: 30 },
      ),
    }),

  tax_form: (k) => {
    const lines: Record<string, Shape> = {
      year: k.integer(2000, 2040),
      taxpayer: k.text({ min: 1 }),
    };
    for (let i = 1; i <= 40; i++)
      lines[`line_${i}${i % 3 === 0 ? '' : '?'}`] = k.integer(0, 99999999);
    return k.object(lines);
  },

  sports_match: (k) => {
    const side = k.define('side', () =>
      k.object({
        team: k.text({ min: 1 }),
        score: k.integer(0, 200),
        'lineup?': k.list(k.object({ number: k.integer(1, 99), name: k.text() }), { max: 23 }),
      }),
    );
    return k.object({
      league: k.text(),
      kickoff: k.format('date-time'),
      home: side,
      away: side,
      'events?': k.list(
        k.object({
          minute: k.pattern('^\\d{1,2}(\\+\\d{1,2})?$', () => k.digits(2)),
          kind: k.choice('goal', 'own_goal', 'yellow', 'red', 'substitution', 'penalty'),
          player: k.text(),
        }),
      ),
    });
  },

  country_facts: (k) =>
    k.object({
      code: k.choice(...countries),
      neighbours: k.list(k.choice(...countries), { max: 20 }),
      population: k.integer(0, 2000000000),
      'currencies?': k.map(k.text(), { pattern: '^[A-Z]{3}$', make: () => k.pick(['EUR', 'CHF']) }),
      'calling_code?': k.pattern('^\\+\\d{1,4}$', () => `+${1 + k.below(999)}`),
      'utc_offsets?': k.list(k.steps(0.25, -12, 14), { min: 1, max: 12 }),
    }),
};
