/**
 * Reading records under a lease, so that nobody takes their parts away meanwhile.
 *
 * Best effort by design: a worker that gets no lease reads all the same, because a part that is
 * gone is a record that is gone (CONTEXT_NOT_FOUND), never a wrong answer.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Leases } from "@kvault/cluster";
import type { Engine, QueryEvent, QueryRequest } from "@kvault/runtime";

/** Longer than a record takes to load. */
const READ_MS = 30_000;
/** A registry that takes longer is done without. */
const PATIENCE_MS = 500;

export type LeasedReads = Pick<Engine, "query" | "load" | "inspectContext">;

/** `engine`, holding a read lease while it makes a context resident. */
export function leasedReads(engine: Engine, leases: Leases): LeasedReads {
  const begin = async (contextId: string): Promise<() => void> => {
    if (engine.status().residentContextIds.includes(contextId)) return () => undefined;
    return beginReading(contextId);
  };
  const beginReading = async (contextId: string): Promise<() => void> => {
    const lease = leases.read(contextId, { ttlMs: READ_MS });
    const end = (): void => void lease.then((release) => release()).catch(() => undefined);
    await Promise.race([lease.catch(() => undefined), sleep(PATIENCE_MS, undefined, { ref: false })]);
    return end;
  };
  return {
    async *query(request: QueryRequest, options): AsyncGenerator<QueryEvent> {
      const { source } = request;
      const end = source.type === "stored" ? await begin(source.contextId) : () => undefined;
      try {
        for await (const event of engine.query(request, options)) {
          // Whoever answers has read.
          end();
          yield event;
        }
      } finally {
        end();
      }
    },
    async load(request, options) {
      const end = await begin(request.contextId);
      return engine.load(request, options).finally(end);
    },
    async inspectContext(request, options) {
      // From the store, resident or not.
      const end = await beginReading(request.contextId);
      return engine.inspectContext(request, options).finally(end);
    },
  };
}
