/**
 * Whether there is any reason to look at what happens.
 *
 * @module
 */
import { isMeasuring } from "./metrics.ts";
import { isTracing } from "./trace.ts";

/** True when spans or metrics go anywhere. */
export function isRecording(): boolean {
  return isTracing() || isMeasuring();
}
