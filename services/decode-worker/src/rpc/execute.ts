/**
 * Workers.Execute: one answer, as deltas and then the whole. Cancelling the call ends the query.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import {
  type ExecuteRequest,
  type ExecuteResponseSchema,
  type MessageInitShape,
  type ServerCall,
  ServiceClass,
} from "@kvault/rpc";
import type { CacheInfo } from "@kvault/runtime";
import { count, observe } from "@kvault/telemetry";
import type { InFlight } from "../in-flight.ts";
import type { LeasedReads } from "../leased-reads.ts";
import type { LoadMeter } from "../load-meter.ts";
import type { QuerySlots } from "../query-slots.ts";
import { answerMessage, deltaMessage, readQueryRequest } from "./query-messages.ts";

/** Part of the slots that class BATCH may fill: INTERACTIVE finds one when both are busy. */
const BATCH_SHARE = 0.75;

export interface ExecuteDeps {
  /** The engine, reading under leases. */
  readonly reads: LeasedReads;
  readonly slots: QuerySlots;
  readonly meter: LoadMeter;
  readonly inFlight: InFlight;
}

export const execute = ({ reads, slots, meter, inFlight }: ExecuteDeps) =>
  async function* (
    request: ExecuteRequest,
    { signal }: ServerCall,
  ): AsyncGenerator<MessageInitShape<typeof ExecuteResponseSchema>, void, undefined> {
    const query = readQueryRequest(request);
    const isBatch = request.serviceClass === ServiceClass.BATCH;
    const slot = slots.take(isBatch ? BATCH_SHARE : 1);
    const end = meter.begin();
    const flight = inFlight.begin(request.source.case === "contextId" ? request.source.value : "");
    observe("kvault_decode_batch_size", flight.together);
    try {
      for await (const event of reads.query(query, { signal })) {
        if (event.type === "delta") {
          flight.add(event.tokenIds.length);
          yield { event: { case: "delta", value: deltaMessage(event) } };
        } else {
          const { timings, cache } = event;
          // Nobody waits for a batch's first token: what it waits tells nothing.
          if (!isBatch) slot.answered(timings);
          meter.loaded(cache.bytesLoaded, timings.loadMs);
          tellLoad(cache, timings.loadMs);
          yield { event: { case: "answer", value: answerMessage(event) } };
        }
      }
    } catch (error) {
      if (isKvaultError(error, "CACHE_CORRUPT", "MODEL_CORRUPT"))
        count("kvault_integrity_failures_total", 1, { kind: error.code });
      throw error;
    } finally {
      flight.end();
      end();
      slot.release();
    }
  };

function tellLoad({ tier, reason, bytesLoaded }: CacheInfo, loadMs: number): void {
  if (reason === "INLINE") return;
  count("kvault_lookup_total", 1, { result: tier === "memory" ? "hit" : "miss", reason });
  if (tier === "memory") return;
  observe("kvault_load_seconds", loadMs / 1_000, { tier });
  count("kvault_load_bytes_total", bytesLoaded, { tier });
}
