/**
 * Workers.Build: progress, then the report; the manifest is committed by then. Cancelling the
 * call cancels the build.
 *
 * @module
 */
import type { BuildRequest, BuildResponseSchema, MessageInitShape, ServerCall } from "@kvault/rpc";
import type { BuildProgress, BuildResult, Engine } from "@kvault/runtime";
import { measured } from "../build-metrics.ts";
import type { BuildSlots } from "../build-slots.ts";
import { latestProgress } from "../latest-progress.ts";
import { progressMessage, readBuildRequest, reportMessage } from "./build-messages.ts";

export interface BuildDeps {
  readonly engine: Engine;
  readonly slots: BuildSlots;
}

type BuildEvent = MessageInitShape<typeof BuildResponseSchema>;

export const build = ({ engine, slots }: BuildDeps) =>
  async function* (request: BuildRequest, { signal }: ServerCall): AsyncGenerator<BuildEvent, void, undefined> {
    const wanted = readBuildRequest(request);
    const release = slots.take();
    try {
      const { manifest } = yield* progressEvents(
        latestProgress<BuildProgress, BuildResult>((onProgress) => measured(engine.build(wanted, { signal, onProgress }))),
      );
      yield { event: { case: "report", value: reportMessage(manifest) } };
    } finally {
      release();
    }
  };

async function* progressEvents(
  reports: AsyncGenerator<BuildProgress, BuildResult, undefined>,
): AsyncGenerator<BuildEvent, BuildResult, undefined> {
  for (;;) {
    const next = await reports.next();
    if (next.done === true) return next.value;
    yield { event: { case: "progress", value: progressMessage(next.value) } };
  }
}
