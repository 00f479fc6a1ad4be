/**
 * Workers.Status: what the engine last said of itself, and the load of the worker; never waits
 * for a run.
 *
 * @module
 */
import type { MessageInitShape, StatusRequest, StatusResponseSchema } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import type { LoadMeter } from "../load-meter.ts";
import type { QuerySlots } from "../query-slots.ts";

export interface StatusDeps {
  readonly engine: Engine;
  readonly slots: QuerySlots;
  readonly meter: LoadMeter;
  /** New at every start of the worker. */
  readonly incarnation: string;
  readonly residentLimitBytes: number;
  /** Whether it is stopping. */
  readonly isDraining: () => boolean;
}

export const status =
  ({ engine, slots, meter, incarnation, residentLimitBytes, isDraining }: StatusDeps) =>
  async (_: StatusRequest): Promise<MessageInitShape<typeof StatusResponseSchema>> => {
    const { restarts, residentContextIds, residentBytes, runningQueries, models } = engine.status();
    return {
      incarnation,
      engineRestarts: restarts,
      residentContextIds: [...residentContextIds],
      residentBytes: BigInt(residentBytes),
      residentLimitBytes: BigInt(residentLimitBytes),
      runningQueries,
      maxQueries: slots.limit,
      meanQueries: meter.meanQueries,
      secondsPerQuery: meter.secondsPerQuery,
      loadBytesPerSecond: meter.loadBytesPerSecond,
      models: [...models],
      draining: isDraining(),
    };
  };
