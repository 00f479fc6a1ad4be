/**
 * Telemetry of a process: on when something asks for it, else nothing is even loaded.
 *
 * Traces and metrics go where the standard `OTEL_*` variables say; metrics can also be asked for at
 * an address of the process's own.
 *
 * @module
 */
import { type Telemetry, type TelemetryOptions, telemetryPlan } from "./plan.ts";

const OFF: Telemetry = { close: async () => undefined };

/** TypeError for a protocol that is not spoken, or an address that cannot be listened on. */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const plan = telemetryPlan(options.env);
  if (plan.traces === undefined && plan.metrics === undefined && options.metricsAddress === undefined) return OFF;
  // Tens of milliseconds and megabytes: only for those who asked.
  const { openSdk } = await import("./sdk.ts");
  return openSdk(options, plan);
}
