/**
 * What a context is made of: proto → checked content, and back for the workers.
 *
 * @module
 */
import { invalidArgument, KvaultError } from "@kvault/core";
import type { ContextContent } from "@kvault/kvstore";
import {
  ChatMessage_Role,
  type ContextContentSchema,
  type MessageInitShape,
  type ContextContent as ProtoContent,
} from "@kvault/rpc";

/** A text with more bytes for each token of the model's reach is refused unread; prose and code take 2 to 5. */
const MAX_BYTES_PER_TOKEN = 16;
/** Most messages of a conversation. */
const MAX_MESSAGES = 1_000;

const ROLE_NAMES = {
  [ChatMessage_Role.SYSTEM]: "system",
  [ChatMessage_Role.USER]: "user",
  [ChatMessage_Role.ASSISTANT]: "assistant",
} as const;

const ROLES: ReadonlyMap<string, ChatMessage_Role> = new Map([
  ["system", ChatMessage_Role.SYSTEM],
  ["user", ChatMessage_Role.USER],
  ["assistant", ChatMessage_Role.ASSISTANT],
]);

/** Checks a content that arrived whole. INVALID_ARGUMENT naming the field; TOKEN_LIMIT when it cannot fit `maxTokens`. */
export function readContent(message: ProtoContent | undefined, maxTokens: number): ContextContent {
  const { content } = message ?? {};
  switch (content?.case) {
    case "text": {
      const read: ContextContent = { text: content.value };
      if (content.value === "") throw invalidArgument("content.text", "Cannot make a context: text is empty");
      checkBytes(contentBytes(read), maxTokens);
      return read;
    }
    case "chat": {
      const { messages } = content.value;
      if (messages.length === 0) throw invalidArgument("content.chat.messages", "Cannot make a context: no messages");
      if (messages.length > MAX_MESSAGES) {
        throw invalidArgument(
          "content.chat.messages",
          `Cannot make a context of ${messages.length} messages: at most ${MAX_MESSAGES}`,
        );
      }
      const read = messages.map(({ role, content: text }, i) => {
        if (!isRole(role))
          throw invalidArgument(`content.chat.messages[${i}].role`, `Cannot use message ${i}: role ${role} is unknown`);
        return { role: ROLE_NAMES[role], content: text };
      });
      const last = read.at(-1);
      if (last?.role !== "user" || last.content === "") {
        throw invalidArgument(
          "content.chat.messages",
          "Cannot make a context: the last message must be the user's and not empty",
        );
      }
      checkBytes(contentBytes({ messages: read }), maxTokens);
      return { messages: read };
    }
    default:
      throw invalidArgument("content", "Cannot make a context: neither text nor chat given");
  }
}

/** TOKEN_LIMIT when a text of so many bytes cannot fit `maxTokens`, whatever it says. */
export function checkBytes(bytes: number, maxTokens: number): void {
  const limit = maxTokens * MAX_BYTES_PER_TOKEN;
  if (bytes <= limit) return;
  throw new KvaultError(
    "TOKEN_LIMIT",
    `Cannot make a context of ${bytes} bytes: at most ${limit}, ${MAX_BYTES_PER_TOKEN} for each of the model's ${maxTokens} tokens`,
    {
      details: { field: "content", bytes, limitBytes: limit, maxTokens },
    },
  );
}

/** UTF-8 bytes of all texts in `content`. */
export function contentBytes(content: ContextContent): number {
  if ("text" in content) return Buffer.byteLength(content.text);
  return content.messages.reduce((sum, message) => sum + Buffer.byteLength(message.content), 0);
}

/** Back to proto. */
export function contentMessage(content: ContextContent): MessageInitShape<typeof ContextContentSchema> {
  if ("text" in content) return { content: { case: "text", value: content.text } };
  const messages = content.messages.map(({ role, content: text }) => ({
    role: ROLES.get(role) ?? ChatMessage_Role.UNSPECIFIED,
    content: text,
  }));
  return { content: { case: "chat", value: { messages } } };
}

function isRole(role: ChatMessage_Role): role is keyof typeof ROLE_NAMES {
  return role in ROLE_NAMES;
}
