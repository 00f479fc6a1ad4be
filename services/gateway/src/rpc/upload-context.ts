/**
 * Contexts.UploadContext: the request first, then its text in pieces, UTF-8 split anywhere.
 *
 * The text is bounded while it arrives: by the model's reach, and by {@link MAX_CONTENT_BYTES}.
 *
 * @module
 */
import { invalidArgument, KvaultError } from "@kvault/core";
import {
  type CreateContextRequest,
  MAX_CONTENT_BYTES,
  type Operation,
  type ServerCall,
  type UploadContextRequest,
} from "@kvault/rpc";
import type { GatewayDeps } from "../deps.ts";
import { checkBytes } from "../validation/content.ts";
import { findModel, planBuild } from "../validation/create-request.ts";
import { acceptContext } from "./accept-context.ts";

export const uploadContext =
  (deps: GatewayDeps) =>
  async (messages: AsyncIterable<UploadContextRequest>, call: ServerCall): Promise<Operation> => {
    let request: CreateContextRequest | undefined;
    let maxTokens = 0;
    let bytes = 0;
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const pieces: string[] = [];
    for await (const { payload } of messages) {
      if (payload.case === "request") {
        if (request !== undefined) throw invalidArgument("request", "Cannot take the upload: a second request came");
        request = payload.value;
        if (request.content?.content.case !== undefined) {
          throw invalidArgument("request.content", "Cannot take the upload: its content must come in pieces, not in the request");
        }
        maxTokens = findModel(deps.models, request.model).config.maxTokens;
      } else if (payload.case === "text") {
        if (request === undefined) throw invalidArgument("request", "Cannot take the upload: text came before the request");
        bytes += payload.value.byteLength;
        checkBytes(bytes, maxTokens);
        if (bytes > MAX_CONTENT_BYTES) {
          throw new KvaultError("TOKEN_LIMIT", `Cannot take a text of over ${MAX_CONTENT_BYTES} bytes`, {
            details: { field: "text", limitBytes: MAX_CONTENT_BYTES },
          });
        }
        pieces.push(decode(() => decoder.decode(payload.value, { stream: true })));
      }
    }
    if (request === undefined) throw invalidArgument("request", "Cannot take the upload: no request came");
    pieces.push(decode(() => decoder.decode()));
    const text = pieces.join("");
    if (text === "") throw invalidArgument("text", "Cannot make a context: text is empty");
    return acceptContext(planBuild(request, { text }, deps), request, deps, call);
  };

function decode(decoded: () => string): string {
  try {
    return decoded();
  } catch {
    throw invalidArgument("text", "Cannot take the upload: its text is not UTF-8");
  }
}
