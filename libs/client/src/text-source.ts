/**
 * What a context is made of, as a caller has it.
 *
 * A text of one message goes with the request; a longer one, a file and a stream go in pieces.
 *
 * @module
 */
import { createReadStream } from "node:fs";
import { invalidArgument } from "@kvault/core";
import { ChatMessage_Role, type ContextContentSchema, type MessageInitShape } from "@kvault/rpc";

/** Longest text that goes with its request, bytes; the API takes 4 MiB. */
const MAX_INLINE_BYTES = 3 * 2 ** 20;
/** Bytes of a piece of an upload. */
const PIECE_BYTES = 256 * 1024;

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** A text at hand. */
export type Content =
  | { readonly text: string }
  /** A conversation whose last message is the user's and holds the context. */
  | { readonly messages: readonly ChatMessage[] };

/** A text, or where it is. */
export type TextSource =
  | Content
  /** Path of a UTF-8 file. */
  | { readonly file: string }
  /** UTF-8, split anywhere; read once, so that a failed upload is not tried again. */
  | { readonly stream: AsyncIterable<string | Uint8Array> };

/** How a source travels. */
export type Shipment =
  | { readonly kind: "inline"; readonly content: MessageInitShape<typeof ContextContentSchema> }
  | { readonly kind: "upload"; readonly isRepeatable: boolean; open(): AsyncIterable<Uint8Array> };

const ROLES = {
  system: ChatMessage_Role.SYSTEM,
  user: ChatMessage_Role.USER,
  assistant: ChatMessage_Role.ASSISTANT,
} as const;

export function chatMessage({ role, content }: ChatMessage): { role: ChatMessage_Role; content: string } {
  return { role: ROLES[role], content };
}

export function contentMessage(content: Content): MessageInitShape<typeof ContextContentSchema> {
  if ("text" in content) return { content: { case: "text", value: content.text } };
  return { content: { case: "chat", value: { messages: content.messages.map(chatMessage) } } };
}

export function shipmentOf(source: TextSource): Shipment {
  if ("stream" in source) return { kind: "upload", isRepeatable: false, open: () => bytesOf(source.stream) };
  if ("file" in source) return { kind: "upload", isRepeatable: true, open: () => readPieces(source.file) };
  if ("text" in source && Buffer.byteLength(source.text) > MAX_INLINE_BYTES) {
    return { kind: "upload", isRepeatable: true, open: () => cut(Buffer.from(source.text)) };
  }
  return { kind: "inline", content: contentMessage(source) };
}

async function* readPieces(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path, { highWaterMark: PIECE_BYTES }) as AsyncIterable<Buffer>;
  } catch (error) {
    throw invalidArgument("file", `Cannot read "${path}": ${error instanceof Error ? error.message : "unreadable"}`);
  }
}

async function* bytesOf(stream: AsyncIterable<string | Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of stream) yield* cut(typeof piece === "string" ? Buffer.from(piece) : piece);
}

async function* cut(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}
