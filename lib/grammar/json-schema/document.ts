/** A JSON Schema and what its references mean. */

export type SchemaObject = Readonly<Record<string, unknown>>;

/** One schema in a document. Booleans have nodes too. */
export interface SchemaNode {
  readonly id: number;
  readonly schema: SchemaObject | boolean;
  /** JSON pointer, `#` for the root. */
  readonly pointer: string;
  /** What `#` means in its references. */
  readonly resource: SchemaObject;
}

/** A keyword that cannot be enforced, or is none. */
export class SchemaFault extends Error {
  constructor(
    readonly keyword: string,
    readonly pointer: string,
    readonly reason: string,
  ) {
    super(`${keyword} at ${pointer}: ${reason}`);
  }
}

export function fault(node: SchemaNode, keyword: string, reason: string): never {
  throw new SchemaFault(keyword, node.pointer, reason);
}

/** Say nothing about what is valid. */
const annotations = new Set(
  (
    'title description default examples example $comment deprecated readOnly writeOnly $schema $id id $anchor ' +
    '$defs definitions $vocabulary contentMediaType contentEncoding contentSchema externalDocs xml discriminator'
  ).split(' '),
);

export function isNote(keyword: string): boolean {
  return annotations.has(keyword) || keyword.startsWith('x-');
}

const singles = [
  'items',
  'additionalItems',
  'unevaluatedItems',
  'contains',
  'additionalProperties',
];
singles.push(
  'unevaluatedProperties',
  'propertyNames',
  'if',
  'then',
  'else',
  'not',
  'contentSchema',
);
const lists = ['allOf', 'anyOf', 'oneOf', 'prefixItems', 'items'];
const maps = ['properties', 'patternProperties', 'dependentSchemas', 'dependencies', '$defs'];
maps.push('definitions');

const maxDepth = 200;
export const maxSchemaNodes = 100_000;

export class SchemaDocument {
  readonly root: SchemaNode;
  readonly #nodes = new Map<SchemaObject, SchemaNode>();
  readonly #constants = new Map<string, SchemaNode>();
  readonly #booleans: Record<'true' | 'false', SchemaNode>;
  /** $id and $anchor, as they are referred to. */
  readonly #named = new Map<string, SchemaNode>();
  #next = 0;

  /** @throws SchemaFault */
  constructor(schema: SchemaObject | boolean) {
    const resource = typeof schema === 'boolean' ? {} : schema;
    const boolean = (value: boolean): SchemaNode => ({
      id: this.#next++,
      schema: value,
      pointer: '#',
      resource,
    });
    this.#booleans = { true: boolean(true), false: boolean(false) };
    this.root = this.#plain(this.#index(schema, '#', resource, ''));
  }

  /** A schema that says nothing is `true`. */
  #plain(node: SchemaNode): SchemaNode {
    const saysNothing = typeof node.schema !== 'boolean' && Object.keys(node.schema).every(isNote);
    return saysNothing ? this.#booleans.true : node;
  }

  /** The node of a schema inside `parent`. */
  child(parent: SchemaNode, schema: unknown, ...path: (string | number)[]): SchemaNode {
    const pointer = [parent.pointer, ...path.map(escapePointer)].join('/');
    if (typeof schema === 'boolean') return this.#booleans[`${schema}`];
    if (!isObject(schema))
      throw new SchemaFault(
        String(path[0]),
        parent.pointer,
        'expected a schema, an object or a boolean',
      );
    return this.#plain(this.#nodes.get(schema) ?? this.#add(schema, pointer, parent.resource));
  }

  /** A schema that allows one value. */
  constant(parent: SchemaNode, value: unknown): SchemaNode {
    const key = JSON.stringify(value);
    let node = this.#constants.get(key);
    if (!node) {
      node = this.#add({ const: value }, parent.pointer, parent.resource);
      this.#constants.set(key, node);
    }
    return node;
  }

  /** @throws SchemaFault where it leads nowhere in this document */
  resolve(node: SchemaNode, keyword: string, reference: unknown): SchemaNode {
    return this.#plain(this.#target(node, keyword, reference));
  }

  #target(node: SchemaNode, keyword: string, reference: unknown): SchemaNode {
    if (typeof reference !== 'string') fault(node, keyword, 'expected a string');
    const named = this.#named.get(reference);
    if (named) return named;
    const [base, fragment = ''] = splitFragment(reference);
    const start = base === '' ? this.#nodes.get(node.resource) : this.#named.get(base);
    if (!start)
      fault(
        node,
        keyword,
        `${JSON.stringify(reference)} is outside of this schema; put it into $defs`,
      );
    if (fragment === '') return start;
    if (!fragment.startsWith('/')) {
      const anchored = this.#named.get(`${baseOf(start)}#${fragment}`);
      return anchored ?? fault(node, keyword, `nothing is called ${JSON.stringify(reference)}`);
    }
    return this.#walk(node, keyword, start, fragment);
  }

  #walk(node: SchemaNode, keyword: string, start: SchemaNode, fragment: string): SchemaNode {
    let target: unknown = start.schema;
    let { resource, pointer } = start;
    for (const part of fragment.slice(1).split('/')) {
      const key = unescapePointer(part);
      const isThere = typeof target === 'object' && target !== null && Object.hasOwn(target, key);
      if (!isThere) fault(node, keyword, `there is nothing at ${fragment}`);
      target = (target as SchemaObject)[key];
      pointer += `/${escapePointer(key)}`;
      if (isObject(target)) resource = this.#nodes.get(target)?.resource ?? resource;
    }
    if (typeof target === 'boolean') return this.#booleans[`${target}`];
    if (!isObject(target)) fault(node, keyword, `there is no schema at ${fragment}`);
    return this.#nodes.get(target) ?? this.#add(target, pointer, resource);
  }

  #add(schema: SchemaObject, pointer: string, resource: SchemaObject): SchemaNode {
    const node = { id: this.#next++, schema, pointer, resource };
    if (this.#next > maxSchemaNodes)
      throw new SchemaFault('schema', '#', `it has more than ${maxSchemaNodes} parts`);
    this.#nodes.set(schema, node);
    return node;
  }

  /** Finds everything that has a name, in all places where schemas stand. */
  #index(root: unknown, pointer: string, resource: SchemaObject, base: string): SchemaNode {
    if (typeof root === 'boolean') return this.#booleans[`${root}`];
    if (!isObject(root))
      throw new SchemaFault('schema', pointer, 'expected an object or a boolean');
    const visit = (
      schema: unknown,
      at: string,
      owner: SchemaObject,
      uri: string,
      depth: number,
    ) => {
      if (!isObject(schema) || this.#nodes.has(schema)) return;
      if (depth > maxDepth)
        throw new SchemaFault('schema', at, `it is nested deeper than ${maxDepth}`);
      const { $id: id, $anchor: anchor } = schema;
      const isResource = typeof id === 'string' && !id.startsWith('#');
      const ours = isResource ? schema : owner;
      const name = isResource ? resolved(splitFragment(id)[0], uri) : uri;
      const node = this.#add(schema, at, ours);
      if (isResource) {
        this.#named.set(name, node);
        if (!this.#named.has(id)) this.#named.set(id, node);
      } else if (at === '#') this.#named.set(name, node);
      if (typeof id === 'string' && id.startsWith('#')) this.#named.set(`${name}${id}`, node);
      if (typeof anchor === 'string') this.#named.set(`${name}#${anchor}`, node);
      baseNames.set(ours, name);
      const down = (value: unknown, ...path: (string | number)[]) =>
        visit(value, [at, ...path.map(escapePointer)].join('/'), ours, name, depth + 1);
      for (const key of singles) down(schema[key], key);
      for (const key of lists)
        if (Array.isArray(schema[key])) for (const [i, v] of schema[key].entries()) down(v, key, i);
      for (const key of maps)
        if (isObject(schema[key]))
          for (const [k, v] of Object.entries(schema[key])) down(v, key, k);
    };
    visit(root, pointer, resource, base, 0);
    return this.#nodes.get(root)!;
  }
}

const baseNames = new WeakMap<SchemaObject, string>();

function baseOf(node: SchemaNode): string {
  return baseNames.get(node.resource) ?? '';
}

export function isObject(value: unknown): value is SchemaObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function escapePointer(part: string | number): string {
  return String(part).replaceAll('~', '~0').replaceAll('/', '~1');
}

function unescapePointer(part: string): string {
  let plain = part;
  try {
    plain = decodeURIComponent(part);
  } catch {
    // A lone % stands for itself.
  }
  return plain.replaceAll('~1', '/').replaceAll('~0', '~');
}

function splitFragment(reference: string): [string, string] {
  const at = reference.indexOf('#');
  return at < 0 ? [reference, ''] : [reference.slice(0, at), reference.slice(at + 1)];
}

function resolved(reference: string, base: string): string {
  try {
    return base === '' ? reference : new URL(reference, base).href;
  } catch {
    return reference;
  }
}
