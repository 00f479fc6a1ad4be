/**
 * Follows a build to its end, showing every phase.
 *
 * @module
 */
import type { BuildPhase, BuildProgress, Context, KvaultClient } from "@kvault/client";
import type { Progress, ProgressUpdate } from "./terminal/progress.ts";

/** In their order. Layers are published as they are compressed: one bar for both. */
const PHASES: readonly (Pick<ProgressUpdate, "label" | "unit"> & { readonly phase: BuildPhase })[] = [
  { phase: "LOADING", label: "load", unit: "layers" },
  { phase: "PREFILL", label: "prefill", unit: "tokens" },
  { phase: "SCORE", label: "score", unit: "tokens" },
  { phase: "PUBLISH", label: "publish", unit: "layers" },
];

export interface FollowOptions {
  readonly progress?: Progress;
  readonly onChange?: (context: Context) => void;
  readonly signal?: AbortSignal;
}

/** Watches until the context is ACTIVE; throws the build's own error when it failed. */
export async function followContext(client: KvaultClient, name: string, options: FollowOptions = {}): Promise<Context> {
  const { progress, onChange, signal } = options;
  const show = phaseDisplay(progress);
  try {
    return await client.contexts.wait(name, {
      ...(signal === undefined ? {} : { signal }),
      onChange(context) {
        onChange?.(context);
        if (context.state === "CREATING" && context.progress !== undefined) show(context.progress);
      },
    });
  } finally {
    progress?.close();
  }
}

/** What is shown never goes back, but for a build that is started over. */
function phaseDisplay(progress: Progress | undefined): (update: BuildProgress) => void {
  let furthest = 0;
  let starts = 0;
  return ({ phase, done, total, restarts }) => {
    if (restarts > starts) {
      progress?.note("the engine died: building it again");
      furthest = 0;
      starts = restarts;
    }
    const index = PHASES.findIndex((known) => known.phase === phase);
    const known = PHASES[index];
    if (progress === undefined || known === undefined || index < furthest) return;
    furthest = index;
    progress.update({ label: known.label, unit: known.unit, done, total });
  };
}
