/**
 * Inference.QueryBatch: many questions on one context at once, so that its worker decodes them
 * together. One question's failure is an event; the others go on.
 *
 * @module
 */
import { setMaxListeners } from "node:events";
import { invalidArgument, toKvaultError } from "@kvault/core";
import {
  type MessageInitShape,
  type QueryBatchRequest,
  type QueryBatchResponseSchema,
  type ServerCall,
  toRpcStatus,
} from "@kvault/rpc";
import { findActive } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFrom } from "../validation/names.ts";
import { type CheckedQuestion, readQuestion } from "../validation/question.ts";
import { merge } from "./merge.ts";
import { queryContext } from "./query.ts";

const MAX_QUESTIONS = 64;

type Event = MessageInitShape<typeof QueryBatchResponseSchema>;

export const queryBatch = (deps: GatewayDeps) =>
  async function* (request: QueryBatchRequest, call: ServerCall): AsyncGenerator<Event, void, undefined> {
    const id = contextIdFrom(request.context, "context");
    const { length } = request.questions;
    if (length === 0 || length > MAX_QUESTIONS) {
      throw invalidArgument("questions", `Cannot answer ${length} questions at once: must be 1 to ${MAX_QUESTIONS}`);
    }
    const questions = request.questions.map((question, i) => readQuestion(question, `questions[${i}].`));
    await findActive(deps.catalogue, id);

    const leaving = new AbortController();
    const each: ServerCall = { ...call, signal: AbortSignal.any([call.signal, leaving.signal]) };
    setMaxListeners(0, each.signal);
    try {
      yield* merge(questions.map((question, index) => answer(index, question)));
    } finally {
      leaving.abort();
    }

    async function* answer(index: number, question: CheckedQuestion): AsyncGenerator<Event, void, undefined> {
      try {
        for await (const { event } of queryContext(id, question, deps, each)) {
          if (event !== undefined) yield { index, event };
        }
      } catch (thrown) {
        if (call.signal.aborted) throw thrown;
        const error = toKvaultError(thrown);
        call.log.warn({ requestId: call.requestId, contextId: id, index, code: error.code, err: error }, "question failed");
        yield { index, event: { case: "error", value: toRpcStatus(error, call.requestId) } };
      }
    }
  };
