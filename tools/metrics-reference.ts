/**
 * The table of metrics, from the one that the code records by.
 *
 * @module
 */
import { METRICS } from "@kvault/telemetry";

interface Metric {
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
  readonly otel?: string;
}

export function metricsReference(): string {
  const rows = Object.entries<Metric>(METRICS).map(([name, { type, labels, help, otel }]) => {
    const label = labels.map((each) => `\`${each}\``).join(" ");
    return `| \`${name}\`${otel === undefined ? "" : `<br>OTLP: \`${otel}\``} | ${type} | ${label} | ${help} |`;
  });
  return ["| metric | type | labels | what it tells |", "| --- | --- | --- | --- |", ...rows].join("\n");
}
