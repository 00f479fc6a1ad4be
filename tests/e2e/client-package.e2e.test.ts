/** @kvault/client as npm has it: packed, installed into an empty project, type-checked, run. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningProcess, SMALL_MODEL, start } from "./support/kvault.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);
const bin = (name: string): string => join(ROOT, "node_modules", ".bin", name);

const PROGRAM = `
import { type Answer, fieldViolations, isKvaultError, type KvaultClient, openClient } from "@kvault/client";

const [address = "", model = ""] = process.argv.slice(2);
const kvault: KvaultClient = openClient(address);
const context = await kvault.contexts.create(
  { text: "The ferry to Lund leaves at 7:40 from pier three." },
  { model, keepRatio: 0.9, onChange: ({ state }) => console.error(state) },
);
const answer: Answer = await kvault.query(context.name, "When does the ferry leave?", { maxTokens: 12 }).answer();
const kept: number | undefined = context.report?.keptPairs;
const { models } = await kvault.api.models.listModels({ pageSize: 1 });
const refused = await kvault.query(context.name, "").answer().catch((error: unknown) => error);
if (!isKvaultError(refused, "INVALID_ARGUMENT")) throw refused;
console.log(JSON.stringify({ text: answer.text, kept, models: models.length, fields: fieldViolations(refused) }));
kvault.close();
`;

/** Types that must not pass: the package's declarations are seen, not \`any\`. */
const WRONG = `
import { openClient } from "@kvault/client";
export const state: number = (await openClient("127.0.0.1:1").contexts.get("x")).state;
export const text = openClient("127.0.0.1:1").query("x", "y", { maxToken: 3 });
`;

const OPTIONS = {
  compilerOptions: {
    target: "ES2022",
    module: "NodeNext",
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    types: ["node"],
    outDir: "out",
  },
};

describe("the package @kvault/client", () => {
  let project = "";
  let up: RunningProcess;

  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), "kvault-project-"));
    up = await start(["up", "--json", "--no-http", "--address", "127.0.0.1:0", "--data-dir", join(project, "data")]);
  });
  afterAll(async () => {
    await up.stop();
    await rm(project, { recursive: true, force: true });
  });

  test("installs from its tarball alone, checks and runs", async () => {
    const { stdout: packed } = await run(bin("tsx"), ["--conditions=kvault-source", "tools/pack-client.ts", project], {
      cwd: ROOT,
    });
    const tarball = packed.trim().split("\n").at(-1) ?? "";
    await writeFile(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
    const { version } = JSON.parse(await readFile(join(ROOT, "node_modules", "@types", "node", "package.json"), "utf8")) as {
      version: string;
    };
    const install = ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
    await run("npm", [...install, tarball, `@types/node@${version}`], { cwd: project, timeout: 120_000 });
    expect(await readdir(join(project, "node_modules", "@kvault"))).toEqual(["client"]);

    await writeFile(join(project, "program.ts"), PROGRAM);
    await writeFile(join(project, "tsconfig.json"), JSON.stringify({ ...OPTIONS, files: ["program.ts"] }));
    await run(bin("tsc"), ["-p", project]).catch(({ stdout }: { stdout: string }) => expect.fail(stdout));
    const args = [join(project, "out", "program.js"), String(up.ready["address"]), SMALL_MODEL];
    const { stdout } = await run(process.execPath, args, { cwd: project, timeout: 60_000 });
    expect(JSON.parse(stdout)).toMatchObject({
      text: expect.stringMatching(/\S/),
      kept: expect.any(Number),
      models: 1,
      fields: [{ field: "question" }],
    });

    await writeFile(join(project, "wrong.ts"), WRONG);
    await writeFile(join(project, "tsconfig.json"), JSON.stringify({ ...OPTIONS, files: ["wrong.ts"] }));
    const problems = await run(bin("tsc"), ["-p", project, "--pretty", "false"]).then(
      () => "",
      ({ stdout: said }: { stdout: string }) => said,
    );
    expect(problems).toContain("wrong.ts(3,14): error TS2322");
    expect(problems).toContain("'maxToken' does not exist");
  });
});
