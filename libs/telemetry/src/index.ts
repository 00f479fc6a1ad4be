/**
 * Logs, traces and metrics: nothing that anybody wrote gets into any of them.
 *
 * @module
 */

export { isRecording } from "./is-recording.ts";
export { createLogger, type Logger, type LoggerOptions, type LogLevel } from "./logger.ts";
export { count, type Labels, METRICS, type MetricName, observe, type Reading, watchGauge } from "./metrics.ts";
export type { Telemetry, TelemetryOptions } from "./plan.ts";
export { startTelemetry } from "./start.ts";
export {
  type Attributes,
  annotate,
  bindTrace,
  carriedTrace,
  inSpan,
  inSpanStream,
  isInTrace,
  isTracing,
  pastSpan,
  type SpanOptions,
  traceIds,
  underTrace,
  useRegisteredTracer,
} from "./trace.ts";
