import { Template } from '@huggingface/jinja';
import { EngineError, invalidRequest, loadError } from '../errors.js';

/** A message as templates see it: plain JSON. */
export interface ChatTemplateMessage {
  role: string;
  content?: unknown;
  [field: string]: unknown;
}

/** The special tokens that a template may write. A {@link Tokenizer} is one. */
export interface ChatTemplateContext {
  bosToken: string | null;
  eosToken: string | null;
  padToken?: string | null;
  unkToken?: string | null;
  sepToken?: string | null;
  clsToken?: string | null;
  maskToken?: string | null;
  additionalSpecialTokens?: readonly string[];
}

export interface RenderOptions {
  /** Ends the prompt with the opening of an assistant message. */
  addGenerationPrompt: boolean;
  /** OpenAI tool objects. */
  tools?: readonly unknown[];
  /** The request's `chat_template_kwargs`, such as `{ enable_thinking: false }`. */
  kwargs?: Record<string, unknown>;
}

/** Names that a template gets from us or from Jinja: a request's kwargs must not replace them. */
const reserved = new Set([
  'messages',
  'tools',
  'add_generation_prompt',
  'raise_exception',
  'strftime_now',
  'range',
  'namespace',
  'true',
  'false',
  'none',
  'True',
  'False',
  'None',
]);

/** One chat template, parsed once (5 ms) and rendered per request (1.5 ms for a long one). */
export class ChatTemplate {
  readonly #template: Template;
  readonly #tokens: Record<string, unknown>;

  /** @throws EngineError `chat_template_error` where the template does not parse. */
  constructor(source: string, context: ChatTemplateContext) {
    try {
      this.#template = new Template(source);
    } catch (error) {
      throw loadError(
        `The chat template does not parse: ${(error as Error).message}. Pass another one in the option chatTemplate.`,
        'chat_template_error',
        error,
      );
    }
    const tokens = {
      bos_token: context.bosToken,
      eos_token: context.eosToken,
      pad_token: context.padToken,
      unk_token: context.unkToken,
      sep_token: context.sepToken,
      cls_token: context.clsToken,
      mask_token: context.maskToken,
      additional_special_tokens: context.additionalSpecialTokens?.length
        ? [...context.additionalSpecialTokens]
        : null,
    };
    // As in transformers, a token that the model does not have is undefined, not none.
    this.#tokens = Object.fromEntries(
      Object.entries(tokens).filter(([, token]) => token !== null && token !== undefined),
    );
  }

  /**
   * The prompt's text.
   *
   * @throws EngineError `chat_template_error`, status 400, where the template refuses the conversation
   * (its own words are in the message) or uses what the Jinja of this package lacks.
   */
  render(messages: readonly ChatTemplateMessage[], options: RenderOptions): string {
    const kwargs = options.kwargs ?? {};
    for (const name of Object.keys(kwargs)) {
      if (reserved.has(name))
        throw invalidRequest(
          `Expected chat_template_kwargs to hold the template's own variables, received ${name}, which is set from the request or by Jinja; leave it out.`,
          `chat_template_kwargs.${name}`,
        );
    }
    try {
      return this.#template.render({
        ...this.#tokens,
        documents: null,
        ...kwargs,
        messages,
        tools: options.tools ?? null,
        add_generation_prompt: options.addGenerationPrompt,
      });
    } catch (error) {
      throw new EngineError(
        `The model's chat template refused the conversation: ${(error as Error).message}`,
        {
          status: 400,
          type: 'invalid_request_error',
          code: 'chat_template_error',
          param: 'messages',
          cause: error,
        },
      );
    }
  }
}

/** A model's chat templates by name; tools choose "tool_use" where there is one, as in transformers. */
export class ChatTemplates {
  readonly #templates: ReadonlyMap<string, ChatTemplate>;

  /**
   * @param sources name -> Jinja source, at least one; see `Tokenizer.chatTemplates`
   * @throws EngineError `chat_template_error`, naming the template that does not parse.
   */
  constructor(sources: ReadonlyMap<string, string>, context: ChatTemplateContext) {
    const templates = new Map<string, ChatTemplate>();
    for (const [name, source] of sources) {
      try {
        templates.set(name, new ChatTemplate(source, context));
      } catch (error) {
        throw loadError(
          `Chat template "${name}": ${(error as Error).message}`,
          'chat_template_error',
          error,
        );
      }
    }
    this.#templates = templates;
  }

  /** @throws EngineError as {@link ChatTemplate.render}, or where no template fits. */
  render(messages: readonly ChatTemplateMessage[], options: RenderOptions): string {
    return this.#choose((options.tools?.length ?? 0) > 0).render(messages, options);
  }

  #choose(hasTools: boolean): ChatTemplate {
    const only = this.#templates.size === 1 ? [...this.#templates.values()][0] : undefined;
    const chosen =
      (hasTools ? this.#templates.get('tool_use') : undefined) ??
      this.#templates.get('default') ??
      only;
    if (chosen) return chosen;
    const names = [...this.#templates.keys()];
    throw new EngineError(
      names.length === 0
        ? 'This model has no chat template (none in tokenizer_config.json, no chat_template.jinja). Pass one in the option chatTemplate, or use completions with a prompt.'
        : `Expected a chat template named "default", found ${names.join(', ')}. Pass one in the option chatTemplate.`,
      {
        status: 400,
        type: 'invalid_request_error',
        code: 'chat_template_error',
        param: 'messages',
      },
    );
  }
}
