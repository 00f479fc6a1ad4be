/**
 * A text or a chat on the wire → as the engine takes it.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { ChatMessage } from "@kvault/model";
import { ChatMessage_Role, type ContextContent } from "@kvault/rpc";
import type { Content } from "@kvault/runtime";

const ROLES: Readonly<Record<ChatMessage_Role, ChatMessage["role"] | undefined>> = {
  [ChatMessage_Role.UNSPECIFIED]: undefined,
  [ChatMessage_Role.SYSTEM]: "system",
  [ChatMessage_Role.USER]: "user",
  [ChatMessage_Role.ASSISTANT]: "assistant",
};

/** INVALID_ARGUMENT naming what is missing; `field` is where the content is in the request, `doing` what cannot be done. */
export function readContent(content: ContextContent | undefined, field: string, doing: string): Content {
  const given = content?.content;
  switch (given?.case) {
    case "text":
      return { text: given.value };
    case "chat":
      return {
        messages: readMessages(given.value.messages, `${field}.chat.messages`, doing),
      };
    default:
      throw invalidArgument(field, `Cannot ${doing}: no content given`);
  }
}

/** INVALID_ARGUMENT on a role that is nobody's; `field` is where the messages are in the request. */
export function readMessages(
  messages: readonly { readonly role: ChatMessage_Role; readonly content: string }[],
  field: string,
  doing: string,
): ChatMessage[] {
  return messages.map(({ role, content }) => ({ role: readRole(role, field, doing), content }));
}

function readRole(role: ChatMessage_Role, field: string, doing: string): ChatMessage["role"] {
  const known = ROLES[role];
  if (known === undefined) throw invalidArgument(`${field}.role`, `Cannot ${doing}: found role ${role}`);
  return known;
}
