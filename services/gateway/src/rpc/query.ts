/**
 * Inference.Query: one question on a stored context, or on a text sent along.
 *
 * @module
 */
import { invalidArgument, isKvaultError } from "@kvault/core";
import { contentSha256 } from "@kvault/kvstore";
import {
  type ExecuteRequestSchema,
  type MessageInitShape,
  type QueryRequest,
  type QueryResponseSchema,
  type ServerCall,
  ServiceClass,
} from "@kvault/rpc";
import { findActive } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contentMessage, readContent } from "../validation/content.ts";
import { findModel } from "../validation/create-request.ts";
import { contextIdFrom } from "../validation/names.ts";
import { type CheckedQuestion, readQuestion, readServiceClass } from "../validation/question.ts";

type Execution = MessageInitShape<typeof ExecuteRequestSchema>;

export const query = (deps: GatewayDeps) =>
  async function* (
    request: QueryRequest,
    call: ServerCall,
  ): AsyncGenerator<MessageInitShape<typeof QueryResponseSchema>, void, undefined> {
    const serviceClass = readServiceClass(request.serviceClass, ServiceClass.INTERACTIVE);
    const question = { ...readQuestion(request), serviceClass };
    switch (request.source.case) {
      case "context":
        yield* queryContext(contextIdFrom(request.source.value, "context"), question, deps, call);
        return;
      case "inline": {
        const { model: name, content: given } = request.source.value;
        const model = findModel(deps.models, name);
        const content = readContent(given, model.config.maxTokens);
        const inline = { model: model.name, content: contentMessage(content) };
        const execution: Execution = { ...question, source: { case: "inline", value: inline }, model: model.name };
        yield* stream(contentSha256(content), execution, deps, call);
        return;
      }
      default:
        throw invalidArgument("source", "Cannot answer: neither a context nor a text given");
    }
  };

/**
 * Answers on an ACTIVE context. When its record turns out to be gone or damaged the context is
 * marked FAILED, so that creating it again builds it again.
 */
export async function* queryContext(
  id: string,
  question: CheckedQuestion & Pick<Execution, "serviceClass">,
  deps: GatewayDeps,
  call: ServerCall,
): AsyncGenerator<Pick<MessageInitShape<typeof QueryResponseSchema>, "event">, void, undefined> {
  const record = await findActive(deps.catalogue, id);
  const execution: Execution = {
    ...question,
    source: { case: "contextId", value: id },
    digest: record.digest,
    model: record.model,
  };
  try {
    yield* stream(id, execution, deps, call, Number(record.state.report.storedBytes));
  } catch (error) {
    if (isKvaultError(error, "CACHE_CORRUPT", "CONTEXT_NOT_FOUND", "INCOMPATIBLE_FORMAT")) {
      await deps.catalogue.change(record, { type: "failed", error });
    }
    throw error;
  }
}

/** Takes one of the gateway's places for as long as the answer streams. */
async function* stream(
  affinity: string,
  execution: Execution,
  { admission, decode }: GatewayDeps,
  call: ServerCall,
  bytes = 0,
): AsyncGenerator<Pick<MessageInitShape<typeof QueryResponseSchema>, "event">, void, undefined> {
  const release = admission.take(execution.serviceClass ?? ServiceClass.INTERACTIVE);
  try {
    for await (const { event } of decode.execute(affinity, execution, call, bytes)) yield { event };
  } finally {
    release();
  }
}
