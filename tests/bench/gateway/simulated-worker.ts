/**
 * A worker process that speaks the real protocol and runs no model: builds are done at once,
 * answers are tokens at a steady pace. Takes `ADDRESS TOKEN_MS MAX_QUERIES`; says "ready" to its
 * parent.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { KvaultError } from "@kvault/core";
import { implement, startServer, Workers } from "@kvault/rpc";

const [address = "", tokenMs = "0", maxQueries = "0"] = process.argv.slice(2);
const pauseMs = Number(tokenMs);
const limit = Number(maxQueries);
let running = 0;

const workers = implement(Workers, {
  async *build() {
    yield { event: { case: "report", value: { contextTokens: 1, keptPairs: 1n, totalPairs: 1n, keptRatio: 1 } } };
  },
  async *execute(request) {
    if (running >= limit) throw new KvaultError("NO_CAPACITY", `Cannot take the query: ${running} run here`);
    running++;
    try {
      const tokens = request.limits?.maxTokens ?? 16;
      for (let i = 0; i < tokens; i++) {
        if (pauseMs > 0) await sleep(pauseMs);
        yield { event: { case: "delta", value: { text: " word", tokenIds: [i] } } };
      }
      yield { event: { case: "answer", value: { text: " word".repeat(tokens), usage: { newTokens: tokens } } } };
    } finally {
      running--;
    }
  },
  countTokens: async () => ({}),
  load: async () => ({}),
  evict: async () => ({}),
  status: async () => ({
    incarnation: String(process.pid),
    runningQueries: running,
    maxQueries: limit,
    meanQueries: running,
    secondsPerQuery: 0.01,
  }),
});

const server = await startServer({ address, services: [workers] });
process.send?.("ready");
process.once("SIGTERM", () => void server.close({ drainMs: 0 }).then(() => process.exit(0)));
