/**
 * A real Prometheus that scrapes pods as the PodMonitor does, with the labels that it gives them.
 *
 * @module
 */
import { writeFile } from "node:fs/promises";
import { stringify } from "yaml";
import { TestProcess } from "../servers/test-process.ts";

export interface PrometheusOptions {
  /** `host:port` of every pod that there may be; one that is not there is a failed scrape. */
  readonly targets: readonly string[];
  readonly intervalMs: number;
  /** Where its configuration is put. */
  readonly configPath: string;
}

export async function startPrometheus({ targets, intervalMs, configPath }: PrometheusOptions): Promise<TestProcess> {
  const interval = `${intervalMs}ms`;
  const config = {
    global: { scrape_interval: interval, scrape_timeout: interval },
    scrape_configs: [{ job_name: "kvault", static_configs: [{ targets, labels: { namespace: "kvault" } }] }],
  };
  await writeFile(configPath, stringify(config));
  return TestProcess.create({
    program: "prometheus",
    args: (port, directory) => [
      ...[`--config.file=${configPath}`, `--storage.tsdb.path=${directory}`],
      ...[`--web.listen-address=127.0.0.1:${port}`, "--log.level=warn"],
    ],
    isUp: async (port) => (await fetch(`http://127.0.0.1:${port}/-/ready`)).ok,
  });
}

/** The one number that `query` is now, as KEDA's scaler takes it; an error when there is none or several. */
export async function queryPrometheus(port: number, query: string): Promise<number> {
  const reply = await fetch(`http://127.0.0.1:${port}/api/v1/query?${new URLSearchParams({ query })}`);
  const { data, error } = (await reply.json()) as { data?: { result: { value: [number, string] }[] }; error?: string };
  const [only, ...more] = data?.result ?? [];
  if (only === undefined || more.length > 0)
    throw new Error(`${query}: ${error ?? `${data?.result.length} values`}; a signal is one number`);
  return Number(only.value[1]);
}
