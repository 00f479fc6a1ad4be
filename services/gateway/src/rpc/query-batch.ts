/**
 * Inference.QueryBatch: many questions on one context at once, so that its worker decodes them
 * together. One question's failure is an event; the others go on. A question that finds no free
 * place waits for one as long as others of the batch are answered, and a while longer.
 *
 * @module
 */
import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { invalidArgument, isKvaultError, toKvaultError } from "@kvault/core";
import {
  type MessageInitShape,
  type QueryBatchRequest,
  type QueryBatchResponseSchema,
  type ServerCall,
  ServiceClass,
  toRpcStatus,
} from "@kvault/rpc";
import { findActive } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFrom } from "../validation/names.ts";
import { type CheckedQuestion, readQuestion, readServiceClass } from "../validation/question.ts";
import { merge } from "./merge.ts";
import { queryContext } from "./query.ts";
import { readRecompute } from "./recompute.ts";

const MAX_QUESTIONS = 64;
/** Wait between two looks for a free place; up to twice as much, at random. */
const LOOK_AGAIN_MS = 100;
/** How long a question looks for a place after the last answer of its batch. */
const PATIENCE_MS = 10_000;

type Event = MessageInitShape<typeof QueryBatchResponseSchema>;

export const queryBatch = (deps: GatewayDeps) =>
  async function* (request: QueryBatchRequest, call: ServerCall): AsyncGenerator<Event, void, undefined> {
    const id = contextIdFrom(request.context, "context");
    const { length } = request.questions;
    if (length === 0 || length > MAX_QUESTIONS) {
      throw invalidArgument("questions", `Cannot answer ${length} questions at once: must be 1 to ${MAX_QUESTIONS}`);
    }
    const questions = request.questions.map((question, i) => readQuestion(question, { prefix: `questions[${i}].` }));
    const serviceClass = readServiceClass(request.serviceClass, ServiceClass.BATCH);
    const { onMiss } = request;
    // What can be told at once is told once, and not question by question.
    if ((await readRecompute(id, onMiss, deps)) === undefined) await findActive(deps.catalogue, id);

    let lastAnswerMs = Date.now();
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
        yield* whenThereIsRoom(index, question);
        lastAnswerMs = Date.now();
      } catch (thrown) {
        if (call.signal.aborted) throw thrown;
        const error = toKvaultError(thrown);
        call.log.warn({ requestId: call.requestId, contextId: id, index, code: error.code, err: error }, "question failed");
        yield { index, event: { case: "error", value: toRpcStatus(error, call.requestId) } };
      }
    }

    async function* whenThereIsRoom(index: number, question: CheckedQuestion): AsyncGenerator<Event, void, undefined> {
      for (;;) {
        let begun = false;
        try {
          for await (const { event } of queryContext(id, { ...question, serviceClass }, onMiss, deps, each)) {
            begun = true;
            if (event !== undefined) yield { index, event };
          }
          return;
        } catch (error) {
          const mayWait = isKvaultError(error, "NO_CAPACITY") && error.retryable && !begun;
          if (!mayWait || Date.now() - lastAnswerMs > PATIENCE_MS) throw error;
          await sleep(LOOK_AGAIN_MS * (1 + Math.random()), undefined, { signal: each.signal });
        }
      }
    }
  };
