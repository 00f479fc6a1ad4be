/**
 * Cluster.ListWorkers: who there is, as of each worker's last beat. Of what is resident a caller
 * sees its own contexts.
 *
 * @module
 */
import {
  type ListWorkersRequest,
  type ListWorkersResponseSchema,
  type MessageInitShape,
  Worker_Role,
  type WorkerSchema,
} from "@kvault/rpc";
import { contextName } from "../catalogue/context-message.ts";
import type { GatewayDeps } from "../deps.ts";
import type { WorkerLink } from "../workers/worker-link.ts";

export const listWorkers =
  ({ catalogue, decode, prefill }: GatewayDeps) =>
  async (_: ListWorkersRequest): Promise<MessageInitShape<typeof ListWorkersResponseSchema>> => {
    const isOurs = async (id: string): Promise<boolean> => (await catalogue.get(id)) !== undefined;
    const messages = await Promise.all([
      ...prefill.links.map((link) => workerMessage(Worker_Role.PREFILL, link, isOurs)),
      ...decode.links.map((link) => workerMessage(Worker_Role.DECODE, link, isOurs)),
    ]);
    return { workers: messages.sort(compare) };
  };

type WorkerInit = Omit<Exclude<MessageInitShape<typeof WorkerSchema>, { $typeName: string }>, "$typeName">;

async function workerMessage(
  role: Worker_Role,
  { address, isLive, lastStatus }: WorkerLink,
  isOurs: (contextId: string) => Promise<boolean>,
): Promise<WorkerInit> {
  if (lastStatus === undefined) return { role, address, live: isLive };
  const { incarnation, draining, models, runningBuilds, runningQueries, residentBytes, residentContextIds, engineRestarts } =
    lastStatus;
  const ours = await Promise.all(residentContextIds.map(async (id) => ((await isOurs(id)) ? [contextName(id)] : [])));
  const residentContexts = ours.flat().sort();
  return {
    ...{ role, address, live: isLive, incarnation, draining, models, runningBuilds, runningQueries },
    ...{ residentBytes, residentContexts, engineRestarts },
  };
}

function compare(a: WorkerInit, b: WorkerInit): number {
  const [left, right] = [a.address ?? "", b.address ?? ""];
  return (a.role ?? 0) - (b.role ?? 0) || (left < right ? -1 : left > right ? 1 : 0);
}
