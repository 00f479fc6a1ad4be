/**
 * Workers.Execute: one answer, as deltas and then the whole. Cancelling the call ends the query.
 *
 * @module
 */
import {
  type ExecuteRequest,
  type ExecuteResponseSchema,
  type MessageInitShape,
  type ServerCall,
  ServiceClass,
} from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import type { LoadMeter } from "../load-meter.ts";
import type { QuerySlots } from "../query-slots.ts";
import { answerMessage, deltaMessage, readQueryRequest } from "./query-messages.ts";

/** Part of the slots that class BATCH may fill: INTERACTIVE finds one when both are busy. */
const BATCH_SHARE = 0.75;

export interface ExecuteDeps {
  /** The engine, reading under leases. */
  readonly reads: Pick<Engine, "query" | "load">;
  readonly slots: QuerySlots;
  readonly meter: LoadMeter;
}

export const execute = ({ reads, slots, meter }: ExecuteDeps) =>
  async function* (
    request: ExecuteRequest,
    { signal }: ServerCall,
  ): AsyncGenerator<MessageInitShape<typeof ExecuteResponseSchema>, void, undefined> {
    const query = readQueryRequest(request);
    const isBatch = request.serviceClass === ServiceClass.BATCH;
    const slot = slots.take(isBatch ? BATCH_SHARE : 1);
    const end = meter.begin();
    try {
      for await (const event of reads.query(query, { signal })) {
        if (event.type === "delta") {
          yield { event: { case: "delta", value: deltaMessage(event) } };
        } else {
          const { timings, cache } = event;
          // Nobody waits for a batch's first token: what it waits tells nothing.
          if (!isBatch) slot.answered(timings);
          meter.loaded(cache.bytesLoaded, timings.loadMs);
          yield { event: { case: "answer", value: answerMessage(event) } };
        }
      }
    } finally {
      end();
      slot.release();
    }
  };
