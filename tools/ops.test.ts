import { existsSync, readFileSync } from "node:fs";
import { METRICS } from "@kvault/telemetry";
import { describe, expect, test } from "vitest";

const RULES = readFileSync("ops/prometheus/kvault.rules.yaml", "utf8");
const DASHBOARD = JSON.parse(readFileSync("ops/grafana/kvault.json", "utf8")) as {
  readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string }[] }[];
};
const RUNBOOKS = readFileSync("docs/operations.md", "utf8");

/** Names of ours in a query that are no metric of the table, with the labels that it does not have. */
function unknownIn(query: string): string[] {
  const unknown: string[] = [];
  for (const [, name = "", matchers = ""] of query.matchAll(/\b((?:kvault|gen_ai|rpc|nodejs)_\w+)(?:\{([^}]*)\})?/g)) {
    const metric = metricOf(name);
    if (metric === undefined) {
      if (!isLabel(name)) unknown.push(name);
      continue;
    }
    for (const [, label = ""] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) {
      if (!metric.labels.includes(label) && label !== "job" && label !== "instance") unknown.push(`${name}{${label}}`);
    }
  }
  return unknown;
}

interface Metric {
  readonly type: string;
  readonly labels: readonly string[];
}
const TABLE: Readonly<Record<string, Metric>> = METRICS;

function metricOf(name: string): Metric | undefined {
  const base = name.replace(/_(bucket|sum|count)$/, "");
  return TABLE[name] ?? (TABLE[base]?.type === "histogram" ? TABLE[base] : undefined);
}

function isLabel(name: string): boolean {
  return Object.values(TABLE).some(({ labels }) => labels.includes(name));
}

test("a metric, a label that is not there is seen", () => {
  expect(unknownIn("sum(rate(kvault_lookups_total[5m]))")).toEqual(["kvault_lookups_total"]);
  expect(unknownIn('kvault_lookup_total{outcome="hit"}')).toEqual(["kvault_lookup_total{outcome}"]);
  expect(unknownIn("kvault_resident_bytes_bucket")).toEqual(["kvault_resident_bytes_bucket"]);
  expect(unknownIn("sum by (gen_ai_token_type) (rate(gen_ai_client_token_usage_sum[1m]))")).toEqual([]);
});

describe("the dashboard", () => {
  const queries = DASHBOARD.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const));
  test.each(queries)("%s asks for metrics there are: %s", (_, expr) => {
    expect(unknownIn(expr)).toEqual([]);
  });

  test("shows every metric", () => {
    const all = queries.map(([, expr]) => expr).join("\n");
    const left = new Set(["rpc_server_call_duration", "nodejs_eventloop_delay_p50", "nodejs_eventloop_delay_p90"]);
    for (const name of ["nodejs_eventloop_utilization", "kvault_kv_cache_usage_perc"]) left.add(name);
    expect(Object.keys(METRICS).filter((name) => !all.includes(name) && !left.has(name))).toEqual([]);
  });
});

describe("the alerts", () => {
  const alerts = RULES.split(/^ +- alert: /m)
    .slice(1)
    .map((text) => [text.split("\n")[0] ?? "", text] as const);

  test.each(alerts)("%s is about metrics there are, and has a runbook", (name, text) => {
    expect(unknownIn(text)).toEqual([]);
    expect(text).toContain(`runbook_url: docs/operations.md#${name.toLowerCase()}\n`);
    expect(RUNBOOKS).toMatch(new RegExp(`^### ${name}$`, "m"));
  });

  test("no runbook is left of an alert that is gone", () => {
    const written = [...RUNBOOKS.matchAll(/^### (Kvault\w+)$/gm)].map(([, name]) => name);
    expect(written).toEqual(alerts.map(([name]) => name));
  });
});

test("files that the pages name are there", () => {
  for (const path of ["ops/prometheus/kvault.rules.yaml", "ops/prometheus/kvault.rules.test.yaml", "ops/grafana/kvault.json"]) {
    expect(existsSync(path)).toBe(true);
  }
});
