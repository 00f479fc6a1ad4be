/**
 * What a gateway tells of the cluster when somebody looks: contexts, workers, backlog.
 *
 * @module
 */
import { watchGauge } from "@kvault/telemetry";
import type { ContextCatalogue, ContextRecord } from "../catalogue/context-catalogue.ts";
import type { WorkerLink } from "../workers/worker-link.ts";
import type { Backlog } from "./backlog.ts";

export interface GatewayGaugesDeps {
  readonly catalogue: Pick<ContextCatalogue, "list" | "building">;
  readonly backlog: Backlog;
  readonly workers: () => { readonly prefill: readonly WorkerLink[]; readonly decode: readonly WorkerLink[] };
}

/** There may be many contexts: counting them takes one part in so many of the time at most. */
const COUNTING_SHARE = 100;
const MIN_FRESH_MS = 1_000;
const PAGE = 1_000;
/** Contexts counted at most; beyond, the gauges stand still and docs/observability.md says so. */
const MAX_COUNTED = 100_000;

interface Totals {
  readonly states: ReadonlyMap<string, number>;
  readonly storedBytes: number;
  readonly rawBytes: number;
}

/** Until the function it returns is called. */
export function watchGateway({ catalogue, backlog, workers }: GatewayGaugesDeps): () => void {
  let counted: { readonly totals: Promise<Totals>; staleAtMs: number } | undefined;
  const totals = (): Promise<Totals> => {
    const nowMs = performance.now();
    if (counted !== undefined && nowMs < counted.staleAtMs) return counted.totals;
    const counting = { totals: countContexts(catalogue), staleAtMs: Number.POSITIVE_INFINITY };
    counted = counting;
    const settled = (): void => {
      const endMs = performance.now();
      counting.staleAtMs = endMs + Math.max(MIN_FRESH_MS, COUNTING_SHARE * (endMs - nowMs));
    };
    counting.totals.then(settled, settled);
    return counting.totals;
  };
  const unwatch = [
    watchGauge("kvault_contexts", async () =>
      [...(await totals()).states].map(([state, value]) => ({ value, labels: { state } })),
    ),
    watchGauge("kvault_context_bytes", async () => {
      const { storedBytes, rawBytes } = await totals();
      return [
        { value: storedBytes, labels: { tier: "store", kind: "stored" } },
        { value: rawBytes, labels: { tier: "store", kind: "raw" } },
      ];
    }),
    watchGauge("kvault_backlog_tokens", () => backlog.tokens()),
    watchGauge("kvault_backlog_seconds", () => backlog.seconds()),
    watchGauge("kvault_workers", () =>
      Object.entries(workers()).flatMap(([role, links]) => {
        const live = links.filter(({ isLive }) => isLive).length;
        return [
          { value: live, labels: { role, state: "live" } },
          { value: links.length - live, labels: { role, state: "silent" } },
        ];
      }),
    ),
  ];
  return () => {
    for (const end of unwatch) end();
  };
}

async function countContexts(catalogue: Pick<ContextCatalogue, "list">): Promise<Totals> {
  const states = new Map<string, number>(["creating", "active", "failed"].map((state) => [state, 0]));
  let [storedBytes, rawBytes, seen] = [0, 0, 0];
  let after: ContextRecord | undefined;
  do {
    const page = await catalogue.list({ limit: PAGE, ...(after === undefined ? {} : { after }) });
    for (const { state } of page) {
      states.set(state.type, (states.get(state.type) ?? 0) + 1);
      if (state.type !== "active") continue;
      storedBytes += Number(state.report.storedBytes);
      rawBytes += Number(state.report.rawBytesF16);
    }
    seen += page.length;
    after = page.length < PAGE ? undefined : page.at(-1);
  } while (after !== undefined && seen < MAX_COUNTED);
  return { states, storedBytes, rawBytes };
}
