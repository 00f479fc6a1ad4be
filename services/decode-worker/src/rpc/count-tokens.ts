/**
 * Workers.CountTokens: the engine's tokenizer counts.
 *
 * @module
 */
import type { CountTokensRequest, CountTokensResponseSchema, MessageInitShape, ServerCall } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import { readContent } from "@kvault/worker";

export const countTokens =
  (engine: Pick<Engine, "countTokens">) =>
  (
    { model, content, question }: CountTokensRequest,
    { signal }: ServerCall,
  ): Promise<MessageInitShape<typeof CountTokensResponseSchema>> =>
    engine.countTokens(
      { model, question, ...(content === undefined ? {} : { content: readContent(content, "content", "count tokens") }) },
      { signal },
    );
