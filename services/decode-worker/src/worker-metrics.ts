/**
 * What a decode worker tells of itself when somebody looks: the gauges that dashboards, gateways
 * and autoscalers read. Names: libs/telemetry's table.
 *
 * @module
 */
import type { Engine } from "@kvault/runtime";
import { count, watchGauge } from "@kvault/telemetry";
import type { InFlight } from "./in-flight.ts";

export interface WorkerMetricsDeps {
  readonly engine: Pick<Engine, "status">;
  readonly inFlight: InFlight;
  readonly maxQueries: number;
  readonly budgetBytes: number;
}

/** Until the function it returns is called. */
export function watchWorker({ engine, inFlight, maxQueries, budgetBytes }: WorkerMetricsDeps): () => void {
  const occupiedBytes = (): number => engine.status().occupiedBytes ?? 0;
  const usage = (): number => (budgetBytes > 0 ? Math.min(1, occupiedBytes() / budgetBytes) : 0);
  let toldEvictions = 0;
  const residentBytes = (): number => {
    const { residentBytes: bytes, evictions = 0 } = engine.status();
    // Counted by the engine since its process began; a look is when we hear of it.
    if (evictions < toldEvictions) toldEvictions = 0;
    if (evictions > toldEvictions) count("kvault_evictions_total", evictions - toldEvictions, { reason: "room" });
    toldEvictions = evictions;
    return bytes;
  };
  const unwatch = [
    watchGauge("kvault_num_requests_running", () => inFlight.running),
    watchGauge("kvault_num_requests_waiting", () => inFlight.waiting),
    watchGauge("kvault_decode_inflight_tokens", () => inFlight.tokens),
    watchGauge("kvault_kv_occupied_bytes", occupiedBytes),
    watchGauge("kvault_kv_budget_bytes", () => budgetBytes),
    watchGauge("kvault_kv_cache_usage_perc", usage),
    watchGauge("kvault_decode_occupancy", () => Math.max(usage(), inFlight.running / maxQueries)),
    watchGauge("kvault_resident_bytes", residentBytes),
    watchGauge("kvault_context_bytes", () => [
      { value: engine.status().residentBytes, labels: { tier: "memory", kind: "resident" } },
    ]),
  ];
  return () => {
    for (const end of unwatch) end();
  };
}
