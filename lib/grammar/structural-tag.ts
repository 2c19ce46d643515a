/**
 * response_format structural_tag: xgrammar's formats, put together from each other, and the older list of
 * structures that triggers in free text begin.
 */
import { invalidRequest } from '../errors.js';
import { ebnfExpression } from './ebnf.js';
import { type JsonOptions, jsonSchemaExpression } from './json-schema/index.js';
import { regexExpression } from './regex.js';
import { choice, type GrammarSource, never, optional, repeat, sequence } from './source.js';
import { anyText, forbidden, textUntil } from './text-until.js';

interface Tag {
  readonly begin: string;
  /** One of them ends it. */
  readonly ends: readonly string[];
  readonly content: unknown;
  readonly param: string;
}

const maxDepth = 64;

type Fields = Readonly<Record<string, unknown>>;

/** @throws EngineError, status 400, naming the field */
export function structuralTagExpression(
  source: GrammarSource,
  tag: Fields,
  param: string,
  options: JsonOptions = {},
): string {
  const writer = new TagWriter(source, options);
  if (tag.format !== undefined) return writer.format(tag.format, `${param}.format`, 0);
  const structures = array(tag.structures, `${param}.structures`);
  const tags = structures.map((value, i): Tag => {
    const at = `${param}.structures[${i}]`;
    const { begin, end, schema } = object(value, at);
    const content = { type: 'json_schema', json_schema: readSchema(schema, `${at}.schema`) };
    return {
      begin: text(begin, `${at}.begin`),
      ends: [text(end, `${at}.end`)],
      content,
      param: at,
    };
  });
  const triggers = texts(tag.triggers, `${param}.triggers`);
  return writer.triggered(tags, triggers, {}, param, 0);
}

class TagWriter {
  constructor(
    private readonly source: GrammarSource,
    private readonly options: JsonOptions,
  ) {}

  format(value: unknown, param: string, depth: number): string {
    if (depth > maxDepth) fail(param, `formats are nested deeper than ${maxDepth}`);
    const fields = object(value, param);
    const list = (key: string) =>
      array(fields[key], `${param}.${key}`).map((v, i) =>
        this.format(v, `${param}.${key}[${i}]`, depth + 1),
      );
    const content = () => this.format(fields.content, `${param}.content`, depth + 1);
    switch (fields.type) {
      case 'const_string':
        only(fields, param, ['value']);
        return this.source.literal(text(fields.value, `${param}.value`));
      case 'json_schema':
        only(fields, param, ['json_schema', 'style']);
        if (fields.style !== undefined && fields.style !== 'json')
          fail(`${param}.style`, 'only json is supported');
        return this.#json(fields.json_schema, `${param}.json_schema`);
      case 'regex':
        only(fields, param, ['pattern']);
        return regexExpression(
          this.source,
          text(fields.pattern, `${param}.pattern`),
          `${param}.pattern`,
        );
      case 'grammar':
        only(fields, param, ['grammar']);
        return ebnfExpression(
          this.source,
          text(fields.grammar, `${param}.grammar`),
          `${param}.grammar`,
        );
      case 'any_text':
        only(fields, param, ['excludes']);
        return this.#free(fields, param);
      case 'sequence':
        only(fields, param, ['elements']);
        return sequence(list('elements'));
      case 'or':
        only(fields, param, ['elements']);
        return choice(list('elements'));
      case 'optional':
        only(fields, param, ['content']);
        return optional(content());
      case 'star':
      case 'plus':
        only(fields, param, ['content']);
        return repeat(content(), fields.type === 'plus' ? 1 : 0, Infinity);
      case 'tag':
        return this.#tag(this.#readTag(fields, param), '', depth);
      case 'triggered_tags': {
        only(fields, param, ['triggers', 'tags', 'at_least_one', 'stop_after_first', 'excludes']);
        const tags = this.#readTags(fields.tags, `${param}.tags`);
        return this.triggered(
          tags,
          texts(fields.triggers, `${param}.triggers`),
          fields,
          param,
          depth,
        );
      }
      case 'tags_with_separator':
        return this.#separated(fields, param, depth);
      default:
        return fail(
          `${param}.type`,
          'expected const_string, json_schema, regex, grammar, any_text, sequence, or, optional, star, plus, tag, ' +
            `triggered_tags or tags_with_separator, received ${JSON.stringify(fields.type) ?? 'nothing'}`,
        );
    }
  }

  /** Free text; where a trigger is complete, a tag that begins so; and so on. */
  triggered(
    tags: readonly Tag[],
    triggers: readonly string[],
    options: Fields,
    param: string,
    depth: number,
  ): string {
    const atLeastOne = flag(options.at_least_one, `${param}.at_least_one`);
    const once = flag(options.stop_after_first, `${param}.stop_after_first`);
    const excludes = excluded(options, param);
    for (const tag of tags)
      if (!triggers.some((trigger) => tag.begin.startsWith(trigger)))
        fail(`${tag.param}.begin`, `${JSON.stringify(tag.begin)} begins with none of the triggers`);
    const free = this.source.name('free');
    const next = once ? '""' : free;
    for (const trigger of triggers)
      if (!tags.some((tag) => tag.begin.startsWith(trigger)))
        fail(`${param}.triggers`, `no tag begins with ${JSON.stringify(trigger)}`);
    const groups = new Map<string, Set<Tag>>();
    for (const tag of tags)
      for (const trigger of triggers) {
        if (!tag.begin.startsWith(trigger)) continue;
        const whole = withWholeTokens(this.source, tag.begin, trigger);
        groups.set(whole, (groups.get(whole) ?? new Set()).add(tag));
      }
    // A longer trigger is never reached where a shorter one is complete before.
    const branches = [...groups].map(([trigger, begun]) => {
      const bodies = [...begun].map((tag) => sequence([this.#tag(tag, trigger, depth), next]));
      return { text: trigger, next: this.source.rule('tags', choice(bodies)) };
    });
    const stops = excludes.map((stop) => ({ text: stop, next: forbidden }));
    this.source.define(free, textUntil(this.source, [...branches, ...stops], true));
    if (!atLeastOne) return free;
    return this.source.rule('first', textUntil(this.source, [...branches, ...stops], false));
  }

  #separated(fields: Fields, param: string, depth: number): string {
    only(fields, param, ['tags', 'separator', 'at_least_one', 'stop_after_first']);
    const tags = this.#readTags(fields.tags, `${param}.tags`);
    const one = this.source.rule('tag', choice(tags.map((tag) => this.#tag(tag, '', depth))));
    const separator = this.source.literal(text(fields.separator, `${param}.separator`));
    const once = flag(fields.stop_after_first, `${param}.stop_after_first`);
    const more = once ? '""' : repeat(sequence([separator, one]), 0, Infinity);
    const all = sequence([one, more]);
    return flag(fields.at_least_one, `${param}.at_least_one`) ? all : optional(all);
  }

  /** @param begun how much of `begin` has been written */
  #tag(tag: Tag, begun: string, depth: number): string {
    const begin = this.source.literal(tag.begin.slice(begun.length));
    const ends = tag.ends.map((end) => this.source.literal(end));
    const { content } = tag;
    const isFree = isObject(content) && content.type === 'any_text';
    // Free text inside a tag goes on to the first of its ends.
    if (isFree && tag.ends.every((end) => end !== '')) {
      const stops = excluded(content, `${tag.param}.content`).filter(
        (stop) => !tag.ends.includes(stop),
      );
      const until = [
        ...tag.ends.map((end) => ({ text: end, next: '""' })),
        ...stops.map((stop) => ({ text: stop, next: forbidden })),
      ];
      return sequence([begin, textUntil(this.source, until, false)]);
    }
    return sequence([begin, this.format(content, `${tag.param}.content`, depth + 1), choice(ends)]);
  }

  #readTags(value: unknown, param: string): Tag[] {
    const list = array(value, param);
    if (list.length === 0) fail(param, 'expected at least one tag');
    return list.map((tag, i) => this.#readTag(object(tag, `${param}[${i}]`), `${param}[${i}]`));
  }

  #readTag(fields: Fields, param: string): Tag {
    only(fields, param, ['begin', 'content', 'end']);
    if (fields.type !== undefined && fields.type !== 'tag')
      fail(`${param}.type`, `expected tag, received ${JSON.stringify(fields.type)}`);
    const ends = Array.isArray(fields.end) ? fields.end : [fields.end];
    if (ends.length === 0) fail(`${param}.end`, 'expected at least one text');
    return {
      begin: text(fields.begin, `${param}.begin`),
      ends: ends.map((end) => text(end, `${param}.end`)),
      content: fields.content,
      param,
    };
  }

  #free(fields: Fields, param: string): string {
    const stops = excluded(fields, param);
    if (stops.length === 0) return anyText(this.source);
    const triggers = stops.map((stop) => ({ text: stop, next: never }));
    return textUntil(this.source, triggers, true);
  }

  #json(schema: unknown, param: string): string {
    return jsonSchemaExpression(this.source, readSchema(schema, param), param, this.options);
  }
}

/** A trigger that ends inside a special token goes on to that token's end. */
function withWholeTokens(source: GrammarSource, begin: string, trigger: string): string {
  const all = source.symbols(begin);
  for (let length = trigger.length; length < begin.length; length++) {
    const part = begin.slice(0, length);
    if (source.symbols(part).every((symbol, i) => symbol === all[i])) return part;
  }
  return begin;
}

/** An absent one allows any JSON; the older shape also has it as text. */
function readSchema(value: unknown, param: string): boolean | Fields {
  if (value === undefined || value === null) return true;
  if (typeof value === 'boolean' || isObject(value)) return value;
  if (typeof value !== 'string') fail(param, 'expected a JSON Schema');
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch (error) {
    fail(param, `expected a JSON Schema as JSON text: ${(error as Error).message}`);
  }
  if (typeof parsed !== 'boolean' && !isObject(parsed)) fail(param, 'expected a JSON Schema');
  return parsed;
}

function excluded(fields: Fields, param: string): readonly string[] {
  return fields.excludes === undefined ? [] : texts(fields.excludes, `${param}.excludes`);
}

function only(fields: Fields, param: string, known: readonly string[]): void {
  const other = Object.keys(fields).find((key) => key !== 'type' && !known.includes(key));
  if (other !== undefined)
    fail(
      `${param}.${other}`,
      `no such field is known here; ${String(fields.type ?? 'tag')} has ${known.join(', ')}`,
    );
}

function fail(param: string, reason: string): never {
  throw invalidRequest(`${param}: ${reason}.`, param);
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function object(value: unknown, param: string): Fields {
  return isObject(value) ? value : fail(param, 'expected an object');
}

function array(value: unknown, param: string): readonly unknown[] {
  return Array.isArray(value) ? value : fail(param, 'expected an array');
}

function text(value: unknown, param: string): string {
  return typeof value === 'string' ? value : fail(param, 'expected a string');
}

function flag(value: unknown, param: string): boolean {
  if (value !== undefined && typeof value !== 'boolean') fail(param, 'expected true or false');
  return value ?? false;
}

function texts(value: unknown, param: string): readonly string[] {
  const list = array(value, param);
  if (list.some((item) => typeof item !== 'string' || item === ''))
    fail(param, 'expected strings that are not empty');
  return list as string[];
}
