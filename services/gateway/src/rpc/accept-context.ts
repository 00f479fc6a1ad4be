/**
 * A checked request → a context: found when it is there, started when it is not.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { KvaultError } from "@kvault/core";
import { type Operation, Progress_Phase, type ServerCall } from "@kvault/rpc";
import type { BuildJob } from "../builds/build-job.ts";
import { creating } from "../builds/builder.ts";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { operationMessage } from "../catalogue/context-message.ts";
import { isExpired } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";

/** A context that is being deleted is waited for, then started anew; at most so often. */
const MAX_TRIES = 3;

/** The operation of the context's build. A context that exists keeps its labels and its expiry. */
export async function acceptContext(
  plan: Omit<BuildJob, "buildId">,
  validateOnly: boolean,
  deps: GatewayDeps,
  call: ServerCall,
): Promise<Operation> {
  const buildId = randomUUID();
  const { contextId: id, content: _, contentSha256: __, ...rest } = plan;
  const fresh: ContextRecord = { ...rest, id, buildId, state: creating({ phase: Progress_Phase.QUEUED }) };
  if (validateOnly) return operationMessage((await deps.catalogue.get(id)) ?? fresh);

  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const existing = await deps.catalogue.get(id);
    if (existing !== undefined && isExpired(existing, Date.now())) await deps.catalogue.change(existing, { type: "expired" });
    const { record, created, startedOver } = await deps.catalogue.begin(fresh);
    if (created) {
      await startBuild(fresh, { ...plan, buildId }, startedOver, deps);
      call.log.info({ requestId: call.requestId, contextId: id, buildId, model: plan.model }, "context accepted");
      return operationMessage((await deps.catalogue.get(id)) ?? fresh);
    }
    if (record.state.type !== "deleting") return operationMessage(record);
    await deps.remover.remove(id, call.signal);
  }
  throw new KvaultError("NO_CAPACITY", `Cannot create context "${id}": it is being deleted again and again`, {
    details: { contextId: id },
  });
}

async function startBuild(record: ContextRecord, job: BuildJob, startedOver: boolean, deps: GatewayDeps): Promise<void> {
  try {
    if (startedOver) await deps.remover.clear(record.id);
    const current = await deps.catalogue.get(record.id);
    // Deleted while it was being cleared: the deletion stands.
    if (current?.buildId === record.buildId && current.state.type === "creating") await deps.builder.submit(record, job);
  } catch (error) {
    await deps.catalogue.remove(record);
    throw error;
  }
}
