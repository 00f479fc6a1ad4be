/**
 * Workers.Execute: one answer, as deltas and then the whole. Cancelling the call ends the query.
 *
 * @module
 */
import type { ExecuteRequest, ExecuteResponseSchema, MessageInitShape, ServerCall } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import type { QuerySlots } from "../query-slots.ts";
import { answerMessage, deltaMessage, readQueryRequest } from "./query-messages.ts";

export interface ExecuteDeps {
  readonly engine: Engine;
  readonly slots: QuerySlots;
}

export const execute = ({ engine, slots }: ExecuteDeps) =>
  async function* (
    request: ExecuteRequest,
    { signal }: ServerCall,
  ): AsyncGenerator<MessageInitShape<typeof ExecuteResponseSchema>, void, undefined> {
    const query = readQueryRequest(request);
    const release = slots.take();
    try {
      for await (const event of engine.query(query, { signal })) {
        yield event.type === "delta"
          ? { event: { case: "delta", value: deltaMessage(event) } }
          : { event: { case: "answer", value: answerMessage(event) } };
      }
    } finally {
      release();
    }
  };
