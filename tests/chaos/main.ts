/**
 * `make chaos`: a whole cluster under load, hurt from a seed, and a verifier that knows every right
 * answer. Writes `out/chaos.json`; exits 0 when no promise was broken.
 *
 *     npx tsx tests/chaos/main.ts [--seconds 600] [--seed N] [--clients 12] [--engine toy|real] [--out out]
 *
 * The same seed gives the same faults at the same times. What services said is in `out/chaos-logs`.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { auditQueue, auditStore, untilWhole } from "./audit.ts";
import { type ChaosCluster, startChaosCluster } from "./chaos-cluster.ts";
import { Findings } from "./findings.ts";
import { Injector } from "./inject.ts";
import { Load } from "./load.ts";
import { describeFault, planFaults } from "./plan.ts";
import { realTexts, toyTexts } from "./texts.ts";

const PROGRESS_MS = 10_000;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    clients: { type: "string", default: "12" },
    engine: { type: "string", default: "toy" },
    out: { type: "string", default: "out" },
    verbose: { type: "boolean", default: false },
  },
});
const [seconds, seed, numClients] = [Number(values.seconds), Number(values.seed), Number(values.clients)];
if (![seconds, seed, numClients].every((value) => Number.isInteger(value) && value >= 0) || seconds < 30) {
  throw new RangeError("Cannot run: --seconds (30 and more), --seed and --clients are whole numbers");
}
const { engine } = values;
if (engine !== "toy" && engine !== "real") throw new RangeError('Cannot run: --engine is "toy" or "real"');
const say = (line: string): void => void process.stderr.write(`${line}\n`);

function residentMiB({ services }: ChaosCluster): number[] {
  return services.gateway.map(({ pid }) => {
    const [, kib = "0"] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid ?? "self"}/status`, "utf8")) ?? [];
    return Math.round(Number(kib) / 1_024);
  });
}

async function run(engine: "toy" | "real"): Promise<boolean> {
  const faults = planFaults(seed, seconds);
  say(`chaos      seed ${seed}, ${seconds} s, ${faults.length} faults; again with --seed ${seed} --seconds ${seconds}`);
  const cacheDir = process.env["KVAULT_CACHE_DIR"] ?? path.join(homedir(), ".cache", "kvault");
  const cluster = await startChaosCluster({ engine, cacheDir, logFolder: path.join(values.out, "chaos-logs") });
  try {
    await untilWhole(cluster);
    const texts = engine === "toy" ? await toyTexts(seed) : await realTexts(seed, cluster.addresses[0] ?? "");
    const findings = new Findings();
    const load = new Load({ addresses: cluster.addresses, texts, seed, numClients, findings });
    const injector = new Injector({ cluster, onDamage: (contextId) => load.damaged(contextId), onFull: () => load.storeFull() });
    const startMs = performance.now();
    const elapsedMs = (): number => performance.now() - startMs;
    const numKills = (): number => Object.values(injector.kills).reduce((sum, each) => sum + each, 0);
    const progress = setInterval(() => {
      const { requests, answers, builds, broken } = findings;
      const bad = Object.values(broken).reduce((sum, each) => sum + each, 0);
      say(
        `${String(Math.round(elapsedMs() / 1_000)).padStart(5)} s    ${requests} requests, ${answers} answers, ${builds} builds, ${numKills()} kills, ${bad} broken promises`,
      );
    }, PROGRESS_MS);
    load.start();
    for (const fault of faults) {
      await sleep(Math.max(0, fault.atMs - elapsedMs()));
      if (values.verbose) say(`${(fault.atMs / 1_000).toFixed(1).padStart(7)}  ${describeFault(fault)}`);
      injector.begin(fault);
    }
    await sleep(Math.max(0, seconds * 1_000 - elapsedMs()));
    await injector.settle();
    say("calm       every fault is over: what runs comes to its end");
    await load.stop();
    clearInterval(progress);
    if (!(await untilWhole(cluster))) findings.report("stuckJobs", "the cluster is not whole again");
    const left = await load.audit();
    await auditQueue(cluster, findings);
    await auditStore(cluster, left, findings);
    load.close();
    const { requests, answers, builds, moved, damageFound, calls, errors, broken, examples } = findings;
    const selfExits = Object.values(cluster.services).flatMap((all) => all.map(({ selfExits: ended }) => ended));
    const report = {
      ...{ engine, seed, seconds, kills: numKills(), ...broken, requests },
      ...{ answers, builds, movedAnswers: moved, damageFound, contextsAtEnd: left.present.size },
      ...{ killsByRole: injector.kills, otherFaults: injector.others, calls, errors },
      ...{ exitsByThemselves: selfExits.reduce((sum, each) => sum + each, 0), gatewayMiB: residentMiB(cluster), examples },
    };
    await writeFile(path.join(values.out, "chaos.json"), `${JSON.stringify(report, null, 2)}\n`);
    process.stdout.write(`${JSON.stringify(report)}\n`);
    for (const example of examples) say(`BROKEN     ${example}`);
    say(findings.isClean ? "ok         every promise was kept" : "FAILED     promises were broken");
    return findings.isClean;
  } finally {
    await cluster.stop();
  }
}

await mkdir(values.out, { recursive: true });
process.exit((await run(engine)) ? 0 : 1);
