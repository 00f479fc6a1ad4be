/**
 * Workers.Status: what the engine last said of itself; never waits for a run.
 *
 * @module
 */
import type { MessageInitShape, StatusRequest, StatusResponseSchema } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";

/** `incarnation` is new at every start of the worker. */
export const status =
  (engine: Engine, incarnation: string) =>
  async (_: StatusRequest): Promise<MessageInitShape<typeof StatusResponseSchema>> => {
    const { restarts, residentContextIds, residentBytes, runningQueries, models } = engine.status();
    return {
      incarnation,
      engineRestarts: restarts,
      residentContextIds: [...residentContextIds],
      residentBytes: BigInt(residentBytes),
      runningQueries,
      models: [...models],
    };
  };
