/**
 * Inference.CountTokens: a worker's engine counts, so that no text is tokenised on this event loop.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { CountTokensRequest, CountTokensResponse, ServerCall } from "@kvault/rpc";
import { onward } from "@kvault/rpc";
import type { GatewayDeps } from "../deps.ts";
import { readContent } from "../validation/content.ts";
import { findModel } from "../validation/create-request.ts";

export const countTokens =
  ({ models, decode }: GatewayDeps) =>
  async ({ model: name, content, question }: CountTokensRequest, call: ServerCall): Promise<CountTokensResponse> => {
    const model = findModel(models, name);
    if (content === undefined && question === "")
      throw invalidArgument("content", "Cannot count tokens: neither content nor question");
    // Checked as for a context; counted as it came.
    if (content !== undefined) readContent(content, model.config.maxTokens);
    const request = { model: model.name, question, ...(content === undefined ? {} : { content }) };
    return decode.countTokens(request, onward(call));
  };
