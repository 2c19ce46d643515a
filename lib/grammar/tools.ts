/** Calls of tools in a model's own format: forced, or bound to their schemas where the model makes them. */
import { invalidRequest } from '../errors.js';
import type { ToolCallFrame } from '../parse/tools/formats.js';
import type { ConstrainedTool, Constraint } from '../request/constraint.js';
import {
  type JsonOptions,
  jsonObjectExpression,
  jsonSchemaExpression,
} from './json-schema/index.js';
import { anyParametersExpression, parametersExpression } from './json-schema/parameters.js';
import { regexExpression } from './regex.js';
import { choice, type GrammarSource, optional, repeat, sequence } from './source.js';
import { anyText, forbidden, textUntil } from './text-until.js';

export type ToolsConstraint = Constraint & { kind: 'tools' };

export interface ToolOptions extends JsonOptions {
  /** Ends the text of a call where it ends the turn: left to the stop tokens then. */
  stopTexts?: readonly string[];
}

/**
 * required, named: calls and nothing else. auto: free text, in which what begins a call has to become one.
 *
 * @throws EngineError, status 400
 */
export function toolsExpression(
  source: GrammarSource,
  constraint: ToolsConstraint,
  frame: ToolCallFrame,
  options: ToolOptions = {},
): string {
  const writer = new CallWriter(source, constraint, frame, options);
  return constraint.mode === 'auto' ? writer.free() : writer.calls();
}

/** One call, without what is around calls. */
export function callExpression(
  source: GrammarSource,
  constraint: ToolsConstraint,
  frame: ToolCallFrame,
  options: ToolOptions = {},
): string {
  return new CallWriter(source, constraint, frame, options).call('');
}

class CallWriter {
  readonly #arguments = new Map<ConstrainedTool, string>();

  constructor(
    private readonly source: GrammarSource,
    private readonly constraint: ToolsConstraint,
    private readonly frame: ToolCallFrame,
    private readonly options: ToolOptions,
  ) {
    if (constraint.tools.length === 0)
      throw invalidRequest('tools: there is none that could be called.', 'tools');
  }

  calls(): string {
    return this.#block('');
  }

  free(): string {
    const { frame, source } = this;
    if (frame.trigger === '') return this.#freeWithoutTrigger();
    const free = source.name('free');
    const after = this.#isOne
      ? textUntil(source, [{ text: frame.trigger, next: forbidden }], true)
      : free;
    const block = source.rule('calls', sequence([this.#block(frame.trigger), after]));
    source.define(free, textUntil(source, [{ text: frame.trigger, next: block }], true));
    return free;
  }

  /**
   * Where no text of its own begins a call, one is taken for a call at the beginning of the answer only: so
   * an answer is calls, or does not begin as they do.
   */
  #freeWithoutTrigger(): string {
    const { source } = this;
    const text = sequence(['[^ \\t\\r\\n\\u{b}\\u{c}{]', anyText(source)]);
    return sequence(['[ \\t\\r\\n]{0,16}', optional(choice([this.#block(''), text]))]);
  }

  get #isOne(): boolean {
    return !this.constraint.parallel || this.frame.maxCalls === 1;
  }

  /** @param begun what has been written of it */
  #block(begun: string): string {
    const { frame, source } = this;
    const inBegin = begun.length <= frame.begin.length;
    const begin = inBegin ? frame.begin.slice(begun.length) : '';
    const first = this.call(inBegin && frame.begin !== '' ? '' : begun);
    const most = this.#isOne ? 1 : (frame.maxCalls ?? Infinity);
    const more =
      most === 1
        ? '""'
        : repeat(
            sequence([source.literal(frame.separator), source.rule('call', this.call(''))]),
            0,
            most - 1,
          );
    return sequence([source.literal(begin), first, more, source.literal(frame.end)]);
  }

  /** @param begun what has been written of it */
  call(begun: string): string {
    const { frame, source } = this;
    const before = source.literal(frame.beforeName.slice(begun.length));
    const { stopTexts = [] } = this.options;
    const after = stopTexts.includes(frame.afterArguments) ? '' : frame.afterArguments;
    const id = frame.id
      ? sequence([
          source.literal(frame.id.before),
          regexExpression(source, frame.id.pattern, 'tools'),
        ])
      : '""';
    const tools = this.constraint.tools.map((tool) => {
      const name =
        frame.name === 'json'
          ? source.bytes(JSON.stringify(tool.name).slice(1, -1))
          : source.literal(tool.name);
      return sequence([name, id, source.literal(frame.afterName), this.#argumentsOf(tool)]);
    });
    return sequence([before, choice(tools), source.literal(after)]);
  }

  #argumentsOf(tool: ConstrainedTool): string {
    let expression = this.#arguments.get(tool);
    if (expression === undefined) {
      expression = this.#writeArguments(tool);
      this.#arguments.set(tool, expression);
    }
    return expression;
  }

  #writeArguments({ name, parameters, strict }: ConstrainedTool): string {
    const { frame, source } = this;
    const options = { ...this.options, label: `tools: the parameters of ${name}` };
    const isFree = !strict || parameters === true;
    if (frame.parameters)
      return isFree
        ? anyParametersExpression(source, frame.parameters)
        : parametersExpression(source, parameters, frame.parameters, 'tools', options);
    if (isFree) return jsonObjectExpression(source, options);
    // Arguments are an object, whatever else the schema allows.
    const schema = parameters.type === undefined ? { ...parameters, type: 'object' } : parameters;
    return jsonSchemaExpression(source, schema, 'tools', options);
  }
}
