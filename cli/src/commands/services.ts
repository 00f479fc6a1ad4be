/**
 * `kvault gateway`, `kvault prefill-worker`, `kvault decode-worker`: one service in this process,
 * configured by the environment, as in a cluster.
 *
 * @module
 */
import type { Command } from "commander";
import { define, type Host, runs } from "./command.ts";

/** Each service's process entry reads the environment, serves, and ends the process at SIGTERM. */
const SERVICES = [
  { name: "gateway", summary: "Run the gateway alone", run: () => import("@kvault/gateway/main") },
  { name: "prefill-worker", summary: "Run a prefill worker alone", run: () => import("@kvault/prefill-worker/main") },
  { name: "decode-worker", summary: "Run a decode worker alone", run: () => import("@kvault/decode-worker/main") },
] as const;

export function addServices(program: Command, host: Host): void {
  for (const { name, summary, run } of SERVICES) {
    const service = define(program, {
      usage: name,
      summary,
      description: `${summary}, configured by KVAULT_* variables (docs/config.md). Logs are JSON lines on stderr, with or without
--json. SIGTERM and Ctrl-C stop it gracefully; a second one does not wait.`,
      examples: [
        [`KVAULT_STORE_URL=file:/var/lib/kvault … kvault ${name}`, "all problems of the configuration are listed at once"],
      ],
    });
    runs(service, host, async () => {
      await run();
    });
  }
}
