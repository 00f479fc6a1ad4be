/**
 * Inference.Query: one question on a stored context, or on a text sent along.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { contentSha256 } from "@kvault/kvstore";
import {
  type Answer,
  CacheInfo_Tier,
  CacheInfoSchema,
  create,
  type ExecuteRequestSchema,
  type MessageInitShape,
  type OnMiss,
  type QueryRequest,
  type QueryResponseSchema,
  type ServerCall,
  ServiceClass,
} from "@kvault/rpc";
import { findActive } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { toldAnswer } from "../telemetry/answer-telemetry.ts";
import { contentMessage, readContent } from "../validation/content.ts";
import { findModel } from "../validation/create-request.ts";
import { contextIdFrom } from "../validation/names.ts";
import { type CheckedQuestion, readQuestion, readServiceClass } from "../validation/question.ts";
import { isLost, isMiss, readRecompute, rebuildLost } from "./recompute.ts";

/** How long a record may take to load when its text is at hand. */
const LOAD_PATIENCE_MS = 10_000;

type Event = Pick<MessageInitShape<typeof QueryResponseSchema>, "event">;
type Execution = MessageInitShape<typeof ExecuteRequestSchema>;

export const query = (deps: GatewayDeps) =>
  async function* (
    request: QueryRequest,
    call: ServerCall,
  ): AsyncGenerator<MessageInitShape<typeof QueryResponseSchema>, void, undefined> {
    const serviceClass = readServiceClass(request.serviceClass, ServiceClass.INTERACTIVE);
    const mayBeEmpty = request.source.case === "inline" && request.source.value.content?.content.case === "chat";
    const question = { ...readQuestion(request, { mayBeEmpty }), serviceClass };
    switch (request.source.case) {
      case "context":
        yield* queryContext(contextIdFrom(request.source.value, "context"), question, request.onMiss, deps, call);
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
 * marked FAILED, so that creating it again builds it again. A miss is answered from the text when
 * the request brings it.
 */
export async function* queryContext(
  id: string,
  question: CheckedQuestion & Pick<Execution, "serviceClass">,
  onMiss: OnMiss | undefined,
  deps: GatewayDeps,
  call: ServerCall,
): AsyncGenerator<Event, void, undefined> {
  const text = await readRecompute(id, onMiss, deps);
  let begun = false;
  let error: unknown;
  try {
    for await (const event of queryRecord(id, question, text === undefined ? 0 : LOAD_PATIENCE_MS, deps, call)) {
      begun = true;
      yield event;
    }
    return;
  } catch (thrown) {
    error = thrown;
  }
  if (text === undefined || begun || call.signal.aborted || !isMiss(error)) throw error;
  call.log.warn({ requestId: call.requestId, contextId: id, code: error.code }, "query answered from its text");
  await rebuildLost(text, error, deps, call);
  const inline = { model: text.plan.model, content: contentMessage(text.plan.content) };
  const execution: Execution = { ...question, source: { case: "inline", value: inline }, model: text.plan.model };
  for await (const { event } of stream(id, execution, deps, call)) {
    if (event === undefined) continue;
    if (event.case === "answer") {
      const cache = create(CacheInfoSchema, { tier: CacheInfo_Tier.NONE, reason: `RECOMPUTED ${error.code}` });
      yield { event: { case: "answer", value: { ...event.value, cache } as Answer } };
    } else yield { event };
  }
}

async function* queryRecord(
  id: string,
  question: CheckedQuestion & Pick<Execution, "serviceClass">,
  loadTimeoutMs: number,
  deps: GatewayDeps,
  call: ServerCall,
): AsyncGenerator<Event, void, undefined> {
  const record = await findActive(deps.catalogue, id);
  deps.refresh.used(record, Date.now());
  const execution: Execution = {
    ...question,
    source: { case: "contextId", value: id },
    digest: record.digest,
    model: record.model,
    loadTimeoutMs,
  };
  try {
    yield* stream(id, execution, deps, call, Number(record.state.report.storedBytes));
  } catch (error) {
    if (isLost(error)) await deps.catalogue.change(record, { type: "failed", error });
    throw error;
  }
}

/** Takes one of the gateway's places for as long as the answer streams. */
async function* stream(
  affinity: string,
  execution: Execution,
  { admission, decode, recent }: GatewayDeps,
  call: ServerCall,
  bytes = 0,
): AsyncGenerator<Event, void, undefined> {
  const release = admission.take(execution.serviceClass ?? ServiceClass.INTERACTIVE);
  const contextId = execution.source?.case === "contextId" ? affinity : "";
  const { model = "" } = execution;
  recent.note(call, { contextId, model });
  try {
    const asked = { model, contextId, maxTokens: execution.limits?.maxTokens ?? 0 };
    for await (const { event } of toldAnswer(asked, () => decode.execute(affinity, execution, call, bytes))) {
      if (event.case === "answer") recent.note(call, { answer: event.value });
      yield { event };
    }
  } finally {
    release();
  }
}
