/**
 * A model's chat template, cut into pieces. Messages are never pasted into the rendered text:
 * each is rendered as a unique placeholder, and what stands between placeholders is template.
 * So template text and message text are known apart whatever the messages say.
 *
 * Templates that look inside message contents (trim them, search them) see the placeholder.
 *
 * @module
 */
import { Template } from "@huggingface/jinja";
import { KvaultError } from "@kvault/core";
import type { ChatMessage } from "../types.ts";

export interface ChatTemplate {
  /** SHA-256 covers this text. */
  readonly text: string;
  /**
   * Template pieces around the contents of `messages`: piece i precedes content i, the last one
   * follows the last content and opens the assistant's turn. INVALID_ARGUMENT when the template
   * refuses the messages, MODEL_UNSUPPORTED when it drops or reorders them.
   */
  pieces(messages: readonly ChatMessage[]): string[];
}

/** Compiles a Jinja template; `variables` are the names it may use besides the messages (bos_token, eos_token). */
export function parseChatTemplate(text: string, variables: Readonly<Record<string, string>>): ChatTemplate {
  const template = compile(text);
  return {
    text,
    pieces(messages) {
      const placeholder = (i: number): string => `\u{e000}${i}\u{e001}`;
      const masked = messages.map(({ role }, i) => ({ role, content: placeholder(i) }));
      let rendered: string;
      try {
        rendered = template.render({ ...variables, messages: masked, add_generation_prompt: true });
      } catch (cause) {
        throw new KvaultError(
          "INVALID_ARGUMENT",
          `Cannot render messages: the model's chat template says: ${(cause as Error).message}`,
          {
            cause,
            details: { field: "messages" },
          },
        );
      }
      const parts = rendered.split(/\u{e000}(\d+)\u{e001}/u);
      const order = parts.filter((_, i) => i % 2 === 1);
      if (order.length !== messages.length || order.some((found, i) => found !== String(i))) {
        throw new KvaultError(
          "MODEL_UNSUPPORTED",
          `Cannot use chat template: it renders contents [${order.join(", ")}] of ${messages.length} messages`,
        );
      }
      return parts.filter((_, i) => i % 2 === 0);
    },
  };
}

/** What a model without a template gets: `bos`, the contents a blank line apart, and a cue to answer. */
export function plainTemplate(bos: string): ChatTemplate {
  return {
    text: `plain:${bos}`,
    pieces: (messages) => [bos, ...messages.slice(1).map(() => "\n\n"), "\n\nAnswer:"],
  };
}

function compile(text: string): Template {
  try {
    return new Template(text);
  } catch (cause) {
    throw new KvaultError("MODEL_UNSUPPORTED", `Cannot read chat template: ${(cause as Error).message}`, { cause });
  }
}
