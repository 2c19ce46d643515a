/** Forms of answers that are not JSON alone, each with a judge of its own. */
import type { ConstraintRequest } from '../../lib/index.js';
import { type Language, schemaFault } from './constrained-languages.js';

const byte = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
export const regexes: Language[] = [
  '(Hello|Hi|Hey)( there| everyone)?[.!]',
  `(${byte}\\.){3}${byte}`,
  '[a-z0-9._%+-]{1,12}@[a-z0-9-]{1,10}\\.(com|org|net)',
  '\\+1 \\(\\d{3}\\) \\d{3}-\\d{4}',
  '20\\d{2}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])',
  '#[0-9a-fA-F]{6}([0-9a-f]{2})?',
  '(["\'])?[a-z]{2,4}(["\'])?;{0,2}',
  '[äöüß€]{3,5}\\n?',
  '(a|b)*c{2,}',
  '(?:[^<>]{0,6}<(?:b|i)>){1,3}',
  '\\p{Lu}\\p{Ll}{0,3}|\\d+',
  '[\\s\\S]{4,8}',
  '.{1,5}(\\n.{1,5}){0,2}',
  '(\\{[ \\t]*"[a-z]+"[ \\t]*:[ \\t]*\\d{1,3}\\}){1,2}',
  '(ab|abab|ba){2,6}|(a(b(c(d)?)?)?)+',
  '[^\\x00-\\x7f]{1,4}',
  '(?<year>\\d{4})(-(?<month>\\d\\d))?',
  '\\u{1F600}|[\\u{1F601}-\\u{1F64F}]{2,3}',
  '\\w+(?:[ _-]\\w+){0,2}',
  '(x{3}){2}(y?z){1,4}?',
].map((regex) => ({
  name: regex,
  body: { regex },
  fault: (text) => (new RegExp(`^(?:${regex})$`, 'u').test(text) ? null : 'no match'),
}));

const matches = (pattern: RegExp) => (text: string) => (pattern.test(text) ? null : 'no match');
const pairs: Record<string, string> = { '(': ')', '[': ']', '{': '}' };

function bracketFault(text: string): string | null {
  const open: string[] = [];
  for (const char of text) {
    if (pairs[char]) open.push(pairs[char]);
    else if (char !== 'x' && open.pop() !== char) return `an unexpected ${char}`;
  }
  return open.length === 0 ? null : 'not closed';
}

function markupFault(text: string): string | null {
  const open: string[] = [];
  const rest = text.replace(/<(\/?)([abp])>|[a-z ]/g, (_, slash: string, name?: string) => {
    if (name === undefined) return '';
    if (slash === '') open.push(name);
    else if (open.pop() !== name) open.push(`</${name}>`);
    return '';
  });
  return rest === '' && open.length === 0 ? null : `left: ${rest} ${open.join(' ')}`;
}

const jsonGrammar = `
root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (member ("," member)*)? "}"
member ::= string ":" value
array ::= "[" (value ("," value)*)? "]"
string ::= "\\"" ([^"\\\\\\x00-\\x1f] | "\\\\" ["\\\\/bfnrt])* "\\""
number ::= "-"? ("0" | [1-9] [0-9]{0,5}) ("." [0-9]{1,3})?`;

const grammars: [name: string, ebnf: string, fault: Language['fault']][] = [
  ['a choice', 'root ::= "Hello" | "Hi" | "Hey"', matches(/^(Hello|Hi|Hey)$/)],
  [
    'sums, right recursive',
    'root ::= term ([-+*] root)?\nterm ::= [1-9] [0-9]{0,2} | "(" root ")"',
    (text) => (Number.isFinite(new Function(`return ${text}`)()) ? null : 'no number'),
  ],
  [
    'a list, left recursive',
    'root ::= root "," item | item\nitem ::= [a-c]{1,3}',
    matches(/^[abc]{1,3}(,[abc]{1,3})*$/),
  ],
  [
    'left recursive by way of another rule',
    'root ::= a "!"\na ::= b "x" | "y"\nb ::= a "z" | a',
    matches(/^y(z?x)*!$/),
  ],
  [
    'palindromes',
    'root ::= "a" root "a" | "b" root "b" | "c"',
    (text) => {
      const [, left, right] = /^([ab]*)c([ab]*)$/.exec(text) ?? [];
      return left !== undefined && left === [...right!].reverse().join('') ? null : 'no mirror';
    },
  ],
  [
    'as many of both',
    'root ::= "<" root ">" | "."',
    (text) => {
      const depth = (text.length - 1) / 2;
      return text === `${'<'.repeat(depth)}.${'>'.repeat(depth)}` ? null : 'not balanced';
    },
  ],
  [
    'brackets',
    'root ::= one{1,4}\none ::= "(" root? ")" | "[" root? "]" | "{" root? "}" | "x"',
    bracketFault,
  ],
  [
    'markup',
    'root ::= part+\npart ::= [a-z ]{1,3} | "<a>" part* "</a>" | "<b>" part* "</b>" | "<p>" part* "</p>"',
    markupFault,
  ],
  ['JSON', jsonGrammar, (text) => (typeof JSON.parse(text) === 'object' ? null : 'no object')],
  ['ambiguous', 'root ::= s "."\ns ::= s s | "a" | "b" | ""', matches(/^[ab]*\.$/)],
  [
    'lines',
    'root ::= line{1,3}\nline ::= "- " [a-z]{1,6} ("=" [0-9]{1,2})? "\\n"',
    matches(/^(- [a-z]{1,6}(=\d{1,2})?\n){1,3}$/),
  ],
  [
    'characters of several bytes',
    'root ::= ("日" | "本" | "é" | "😀" | [à-ü]){2,4}',
    matches(/^[日本é😀à-ü]{2,4}$/u),
  ],
  ['a negated class', 'root ::= "<" [^<>\\n]{1,8} ">"', matches(/^<[^<>\n]{1,8}>$/u)],
  ['comments', 'root ::= "ab"{1,3} "c"? # no more\n', matches(/^(ab){1,3}c?$/)],
];

export const ebnfs: Language[] = grammars.map(([name, ebnf, fault]) => ({
  name,
  body: { ebnf },
  fault,
}));

const tag = (
  name: string,
  format: Record<string, unknown>,
  fault: Language['fault'],
): Language => ({
  name,
  body: { response_format: { type: 'structural_tag', format } },
  fault,
});
const small = { type: 'integer', minimum: 1, maximum: 99 };

export const tags: Language[] = [
  tag('const_string', { type: 'const_string', value: 'To the letter: é😀.' }, (text) =>
    text === 'To the letter: é😀.' ? null : 'another text',
  ),
  tag(
    'a sequence of all kinds',
    {
      type: 'sequence',
      elements: [
        { type: 'const_string', value: '>> ' },
        { type: 'regex', pattern: '[a-z]{1,4}' },
        { type: 'or', elements: ['=', ':='].map((value) => ({ type: 'const_string', value })) },
        { type: 'json_schema', json_schema: { type: 'array', items: small, maxItems: 3 } },
        { type: 'grammar', grammar: 'root ::= "!" root | "?"' },
      ],
    },
    matches(/^>> [a-z]{1,4}:?=\[([1-9]\d?(, ?[1-9]\d?){0,2})?\]!*\?$/),
  ),
  tag(
    'repeated and optional',
    {
      type: 'sequence',
      elements: [
        { type: 'plus', content: { type: 'const_string', value: 'ab' } },
        { type: 'star', content: { type: 'regex', pattern: '[xy]' } },
        { type: 'optional', content: { type: 'const_string', value: '.' } },
        { type: 'const_string', value: '\n' },
      ],
    },
    matches(/^(ab)+[xy]*\.?\n$/),
  ),
  tag(
    'tags with a separator',
    {
      type: 'tags_with_separator',
      separator: '; ',
      at_least_one: true,
      tags: ['f', 'g'].map((name) => ({
        begin: `${name}(`,
        content: { type: 'json_schema', json_schema: small },
        end: ')',
      })),
    },
    matches(/^[fg]\([1-9]\d?\)(; [fg]\([1-9]\d?\))*$/),
  ),
  tag(
    'free text in a tag',
    { type: 'tag', begin: '<<', content: { type: 'any_text' }, end: 'e' },
    matches(/^<<[^e]*e$/u),
  ),
  tag(
    'a trigger in free text',
    {
      type: 'triggered_tags',
      triggers: ['e'],
      tags: [
        { begin: 'e1', content: { type: 'json_schema', json_schema: small }, end: ';' },
        { begin: 'eq', content: { type: 'regex', pattern: '[xyz]{2}' }, end: '.' },
      ],
      at_least_one: true,
      stop_after_first: true,
    },
    matches(/^[^e]*(e1[1-9]\d?;|eq[xyz]{2}\.)$/u),
  ),
  {
    name: 'structures and triggers',
    body: {
      response_format: {
        type: 'structural_tag',
        structures: [{ begin: 't{', schema: { enum: [1, 'one'] }, end: '}' }],
        triggers: ['t'],
      },
    },
    fault: matches(/^([^t]|t\{(1|"one")\})*$/u),
  },
];

const parameters = {
  type: 'object',
  properties: { city: { enum: ['Paris', 'Rome'] }, days: small },
  required: ['city'],
  additionalProperties: false,
};
const forecast = { name: 'get_forecast', parameters, strict: true };
const loose = { name: 'say', parameters: { type: 'object' } };
const strictTools = [forecast, { ...forecast, name: 'get_past' }];
const callFault: Record<string, (text: string) => string | null> = {
  get_forecast: schemaFault(parameters),
  get_past: schemaFault(parameters),
  say: schemaFault({ type: 'object' }),
};

/** The calls of a text in the form of the bundled model's template, which has to have nothing else. */
function callsFault(text: string, names: readonly string[], most: number): string | null {
  let count = 0;
  const call = /<tool_call>\n\{"name": "(\w+)", "arguments": ([\s\S]*?)\}\n<\/tool_call>\n?/y;
  while (call.lastIndex < text.length) {
    const at = call.lastIndex;
    const [, name, args] = call.exec(text) ?? [];
    if (name === undefined) return `no call at ${at}`;
    if (!names.includes(name)) return `a call of ${name}`;
    const fault = callFault[name]!(args!);
    if (fault !== null) return fault;
    count++;
  }
  return count >= 1 && count <= most ? null : `${count} calls`;
}

const called = (
  name: string,
  fields: Pick<ConstraintRequest, 'tool_choice' | 'parallel_tool_calls'>,
  names: readonly string[],
  most = Infinity,
  functions: object[] = strictTools,
): Language => ({
  name,
  body: {
    tools: functions.map((f) => ({ type: 'function', function: f })) as ConstraintRequest['tools'],
    ...fields,
  },
  fault: (text) => callsFault(text, names, most),
});
const named = (name: string) => ({
  tool_choice: { type: 'function' as const, function: { name } },
});

/** Of chat alone. */
export const tools: Language[] = [
  called('required', { tool_choice: 'required' }, ['get_forecast', 'get_past']),
  called('by name', named('get_past'), ['get_past']),
  called(
    'one',
    { tool_choice: 'required', parallel_tool_calls: false },
    Object.keys(callFault),
    1,
    [...strictTools, loose],
  ),
  called('not strict', { ...named('say'), parallel_tool_calls: false }, ['say'], 1, [loose]),
];

/** Strict tools that may be called or not: all but the calls is free. */
export const freeTools: Language = {
  name: 'auto',
  body: called('', {}, []).body,
  fault: (text) => {
    const [, ...begun] = text.split('<tool_call>');
    for (const call of begun) {
      const fault = callsFault(
        `<tool_call>${call.split('</tool_call>')[0]}</tool_call>`,
        ['get_forecast', 'get_past'],
        1,
      );
      if (fault !== null) return fault;
    }
    return null;
  },
};
