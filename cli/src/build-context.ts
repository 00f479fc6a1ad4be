/**
 * Submits a context and follows its build to the end, showing every phase.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import {
  anyUnpack,
  type Progress as BuildProgress,
  type Context,
  Context_State,
  CreateContextMetadataSchema,
  type CreateContextRequestSchema,
  fromRpcStatus,
  type MessageInitShape,
  Progress_Phase,
} from "@kvault/rpc";
import type { GatewayClient } from "./gateway-client.ts";
import type { Progress, ProgressUpdate } from "./terminal/progress.ts";

export type CreateRequest = MessageInitShape<typeof CreateContextRequestSchema>;

const PHASES: Readonly<Record<Progress_Phase, Pick<ProgressUpdate, "label" | "unit"> | undefined>> = {
  [Progress_Phase.UNSPECIFIED]: undefined,
  [Progress_Phase.QUEUED]: undefined,
  [Progress_Phase.LOADING]: { label: "load", unit: "layers" },
  [Progress_Phase.PREFILL]: { label: "prefill", unit: "tokens" },
  [Progress_Phase.SCORE]: { label: "score", unit: "tokens" },
  // Layers are published as they are compressed: one bar for both.
  [Progress_Phase.COMPRESS]: undefined,
  [Progress_Phase.PUBLISH]: { label: "publish", unit: "layers" },
};

/** The context's name, `contexts/{id}`, before anything is built. */
export async function submitContext(gateway: GatewayClient, request: CreateRequest, signal?: AbortSignal): Promise<string> {
  const operation = await gateway.contexts.createContext(request, signal === undefined ? {} : { signal });
  const metadata = operation.metadata === undefined ? undefined : anyUnpack(operation.metadata, CreateContextMetadataSchema);
  if (metadata === undefined)
    throw new KvaultError("INTERNAL", `Cannot follow operation "${operation.name}": it names no context`);
  return metadata.context;
}

/** Watches until the context is ACTIVE; throws the build's own error when it failed. */
export async function followContext(
  gateway: GatewayClient,
  name: string,
  options: { readonly progress?: Progress; readonly onChange?: (context: Context) => void; readonly signal?: AbortSignal } = {},
): Promise<Context> {
  const { progress, onChange, signal } = options;
  const show = phaseDisplay(progress);
  try {
    for await (const { context, deleted } of gateway.contexts.watchContext({ name }, signal === undefined ? {} : { signal })) {
      if (deleted || context === undefined) break;
      onChange?.(context);
      if (context.state === Context_State.ACTIVE) return context;
      if (context.state === Context_State.FAILED) {
        throw context.error === undefined
          ? new KvaultError("CONTEXT_FAILED", `Cannot build "${name}": no reason given`)
          : fromRpcStatus(context.error);
      }
      if (context.progress !== undefined) show(context.progress);
    }
  } finally {
    progress?.close();
  }
  throw new KvaultError("CONTEXT_NOT_FOUND", `Cannot follow "${name}": it was deleted`, { details: { context: name } });
}

/** What is shown never goes back, but for a build that is started over. */
function phaseDisplay(progress: Progress | undefined): (update: BuildProgress) => void {
  let furthest = Progress_Phase.UNSPECIFIED;
  let starts = 0;
  return ({ phase, done, total, restarts }) => {
    if (restarts > starts) {
      progress?.note("the engine died: building it again");
      furthest = Progress_Phase.UNSPECIFIED;
      starts = restarts;
    }
    const known = PHASES[phase];
    if (progress === undefined || known === undefined || phase < furthest) return;
    furthest = phase;
    progress.update({ ...known, done, total });
  };
}
