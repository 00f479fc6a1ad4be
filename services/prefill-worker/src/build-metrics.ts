/**
 * What a prefill worker tells of its builds.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import type { BuildResult, Engine } from "@kvault/runtime";
import { count, observe, watchGauge } from "@kvault/telemetry";

/** `building`, measured by what its report says; its failures are counted where they are damage. */
export async function measured(building: Promise<BuildResult>): Promise<BuildResult> {
  try {
    const result = await building;
    const { seconds, storedBytes, rawBytesF16 } = result.manifest.report;
    if (result.created) {
      observe("kvault_prefill_seconds", seconds.prefill);
      observe("kvault_score_seconds", seconds.score);
      observe("kvault_build_seconds", seconds.load + seconds.prefill + seconds.score + seconds.compress + seconds.publish);
      if (rawBytesF16 > 0) observe("kvault_compression_ratio", storedBytes / rawBytesF16);
    }
    return result;
  } catch (error) {
    if (isKvaultError(error, "CACHE_CORRUPT", "MODEL_CORRUPT")) count("kvault_integrity_failures_total", 1, { kind: error.code });
    throw error;
  }
}

/** Builds under way and behind it, until the function it returns is called. */
export function watchBuilds(engine: Pick<Engine, "status">): () => void {
  const unwatch = [
    watchGauge("kvault_num_requests_running", () => Math.min(1, engine.status().runningBuilds)),
    watchGauge("kvault_num_requests_waiting", () => Math.max(0, engine.status().runningBuilds - 1)),
  ];
  return () => {
    for (const end of unwatch) end();
  };
}
