/**
 * Every check of the repository, in order, each with its time; `quick` leaves out what needs
 * model files. All steps run even when one fails, so that one run tells everything. The last
 * line is `N passed, N failed`: tests, plus every step that failed.
 *
 * The models download, and the servers of the tests are set up, while the checks that do not
 * need them run.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** Left out of `quick`. */
  readonly slow?: boolean;
  /** Runs beside the next steps; `needs` waits for it. */
  readonly background?: boolean;
  readonly needs?: readonly string[];
  /** vitest's JSON summary, counted at the end. */
  readonly summary?: string;
}

interface Outcome {
  readonly ok: boolean;
  readonly seconds: number;
  readonly output: string;
}

const scratch = mkdtempSync(join(tmpdir(), "kvault-check-"));
const tsx = ["tsx", "--conditions=kvault-source"];

function vitest(name: string, projects: readonly string[], more: Partial<Step>): Step {
  const summary = join(scratch, `${name}.json`);
  const selected = projects.flatMap((project) => ["--project", project]);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${summary}`];
  return { name, command: ["vitest", "run", ...selected, ...reporters], summary, ...more };
}

const STEPS: readonly Step[] = [
  { name: "types", command: ["tsc", "-b"] },
  {
    name: "models",
    command: ["node", "cli/bin/kvault.js", "model", "pull", "smollm2-135m", "qwen2.5-coder-0.5b"],
    slow: true,
    background: true,
    needs: ["types"],
  },
  {
    name: "test servers",
    // One after the other: both may install packages, and only one at a time can.
    command: ["bash", "-c", "tools/setup-test-servers && tools/setup-browser"],
    slow: true,
    background: true,
  },
  { name: "docs site", command: ["make", "docs"], slow: true, background: true },
  { name: "kubernetes tools", command: ["tools/setup-kubernetes", "checks"], slow: true, background: true },
  { name: "proto lint", command: ["buf", "lint"] },
  { name: "generated code is fresh", command: [...tsx, "tools/check-gen.ts"] },
  { name: "style", command: ["biome", "ci", "--error-on-warnings", "."] },
  { name: "dead code", command: ["knip"] },
  { name: "docs", command: [...tsx, "tools/check-docs.ts"], needs: ["types"] },
  vitest("unit tests", ["unit"], {}),
  { name: "the checks catch what they should", command: [...tsx, "tools/check-checkers.ts"], slow: true },
  vitest("process tests", ["process"], { slow: true }),
  {
    name: "manifests and Dockerfiles",
    command: [...tsx, "tools/check-manifests.ts"],
    slow: true,
    needs: ["kubernetes tools"],
  },
  vitest("server tests", ["servers"], { slow: true, needs: ["types", "test servers"] }),
  {
    name: "chaos, 90 seconds of one seed",
    command: [...tsx, "tests/chaos/main.ts", "--seconds", "90", "--seed", "4", "--out", join(scratch, "chaos")],
    slow: true,
    needs: ["types", "test servers"],
  },
  vitest("model and end-to-end tests", ["model", "e2e"], { slow: true, needs: ["types", "models", "test servers"] }),
];

/** Runs one command with node_modules/.bin first on the path; its output is kept and shown when it fails. */
function run(step: Step): Promise<Outcome> {
  const started = Date.now();
  const [command, ...args] = step.command as [string, ...string[]];
  const path = `${join(process.cwd(), "node_modules", ".bin")}:${process.env["PATH"] ?? ""}`;
  return new Promise((resolve) => {
    const live = step.summary !== undefined;
    const child = spawn(command, args, {
      env: { ...process.env, PATH: path, FORCE_COLOR: process.stdout.isTTY ? "1" : "0" },
      stdio: ["ignore", live ? "inherit" : "pipe", live ? "inherit" : "pipe"],
    });
    let output = "";
    child.stdout?.on("data", (data: Buffer) => {
      output += data.toString();
    });
    child.stderr?.on("data", (data: Buffer) => {
      output += data.toString();
    });
    const finish = (ok: boolean): void => resolve({ ok, seconds: (Date.now() - started) / 1000, output });
    child.on("error", (error) => {
      output += `${error.message}\n`;
      finish(false);
    });
    child.on("close", (code) => finish(code === 0));
  });
}

function report(step: Step, outcome: Outcome): void {
  const mark = outcome.ok ? "ok  " : "FAIL";
  console.log(`${mark} ${step.name} (${outcome.seconds.toFixed(1)} s)`);
  if (!outcome.ok && outcome.output !== "") console.log(outcome.output.trimEnd());
}

/** Tests counted by vitest; a run that wrote no summary counts as one failure. */
function countTests(steps: readonly Step[], ran: ReadonlySet<string>): { passed: number; failed: number; skipped: number } {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const step of steps) {
    if (step.summary === undefined || !ran.has(step.name)) continue;
    try {
      const summary = JSON.parse(readFileSync(step.summary, "utf8")) as Record<string, number>;
      counts.passed += summary["numPassedTests"] ?? 0;
      counts.failed += summary["numFailedTests"] ?? 0;
      counts.skipped += (summary["numPendingTests"] ?? 0) + (summary["numTodoTests"] ?? 0);
    } catch {
      counts.failed += 1;
    }
  }
  return counts;
}

async function main(): Promise<number> {
  const mode = process.argv[2];
  if (mode !== "all" && mode !== "quick") throw new TypeError(`Cannot run checks "${mode ?? ""}": say "all" or "quick"`);
  const steps = STEPS.filter((step) => mode === "all" || step.slow !== true);
  const outcomes = new Map<string, Promise<Outcome>>();
  const failed: string[] = [];
  const ran = new Set<string>();
  const settle = (step: Step, outcome: Outcome): Outcome => {
    report(step, outcome);
    if (!outcome.ok) failed.push(step.name);
    return outcome;
  };
  for (const step of steps) {
    const needed = await Promise.all((step.needs ?? []).map((name) => outcomes.get(name)));
    if (needed.some((outcome) => outcome?.ok === false)) {
      failed.push(step.name);
      console.log(`SKIP ${step.name}: it needs ${(step.needs ?? []).join(", ")}`);
      continue;
    }
    ran.add(step.name);
    const running = run(step).then((outcome) => settle(step, outcome));
    outcomes.set(step.name, running);
    if (step.background !== true) await running;
  }
  await Promise.all(outcomes.values());
  const tests = countTests(steps, ran);
  const failures = Math.max(tests.failed, 0) + failed.filter((name) => !hasFailedTests(steps, name, tests.failed)).length;
  if (failed.length > 0) console.log(`\nFailed: ${failed.join(", ")}`);
  const skipped = tests.skipped === 0 ? "" : `, ${tests.skipped} skipped`;
  console.log(`${tests.passed} passed, ${failures} failed${skipped}`);
  return failed.length === 0 && failures === 0 ? 0 : 1;
}

/** A vitest step that failed by its tests is already counted by them. */
function hasFailedTests(steps: readonly Step[], name: string, failedTests: number): boolean {
  return failedTests > 0 && steps.find((step) => step.name === name)?.summary !== undefined;
}

try {
  process.exitCode = await main();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
