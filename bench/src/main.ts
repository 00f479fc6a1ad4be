/**
 * `make bench`: runs the benchmarks, or those whose figures ONLY names, and keeps the results.
 *
 *     npx tsx --conditions=kvault-source bench/src/main.ts [--only NAME,NAME] [--json] [--list]
 *
 * @module
 */
import { parseArgs } from "node:util";
import { ENTRIES } from "./entries/registry.ts";
import { Bench } from "./harness/bench.ts";
import { environment } from "./harness/environment.ts";
import { isReached } from "./harness/figure.ts";
import { type Result, writeResults } from "./harness/results.ts";

const MODEL = "qwen2.5-coder-0.5b";
const THREADS = 2;
const ORDER = ENTRIES.flatMap((entry) => entry.names);

const { values } = parseArgs({
  options: { only: { type: "string" }, json: { type: "boolean" }, list: { type: "boolean" }, help: { type: "boolean" } },
});

function line({ name, ours, rival, unit, rivalName, ratio, kind, target, othersCores, ...rest }: Result): string {
  const reached = isReached({ kind, ratio, target } as Result);
  const mark = reached === undefined ? "" : reached ? " reached" : " MISSED";
  const promise = target === undefined ? "" : ` (${kind === "gain" ? "at least" : "at most"} ${target})`;
  const busy = othersCores > 0.15 ? `, others used ${othersCores.toFixed(2)} cores` : "";
  return `${name}: ${ratio.toFixed(3)}${promise}${mark}: ${ours.toFixed(2)} against ${rival.toFixed(2)} ${unit} of ${rivalName}${busy}${
    rest.details === undefined ? "" : ` ${JSON.stringify(rest.details)}`
  }`;
}

async function main(): Promise<void> {
  if (values.help) {
    console.log("make bench [ONLY=NAME,NAME]; with --json the results as JSON, with --list the names");
    return;
  }
  if (values.list) {
    for (const name of ORDER) console.log(name);
    return;
  }
  const only = values.only?.split(",").filter((name) => name !== "") ?? [];
  const unknown = only.filter((name) => !ORDER.includes(name));
  if (unknown.length > 0) throw new TypeError(`Cannot measure ${unknown.join(", ")}: known are ${ORDER.join(", ")}`);
  const chosen = ENTRIES.filter((entry) => only.length === 0 || entry.names.some((name) => only.includes(name)));
  const say = (text: string): void => console[values.json ? "error" : "log"](text);
  const bench = new Bench({ model: MODEL, threads: THREADS, log: say });
  const machine = environment(THREADS);
  const fresh: Result[] = [];
  try {
    for (const entry of chosen) {
      for (const figure of await entry.run(bench)) {
        const result = { ...figure, environment: machine };
        fresh.push(result);
        say(line(result));
      }
      writeResults(fresh, ORDER);
    }
  } finally {
    await bench.close();
  }
  if (values.json) console.log(JSON.stringify(fresh));
}

await main();
