/** The examples as they stand, each a process of its own, against one real `kvault up`. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningProcess, SMALL_MODEL, start } from "./support/kvault.ts";
import { pythonWith } from "./support/python.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const EXAMPLES = join(ROOT, "examples");
const TSX = join(ROOT, "node_modules", ".bin", "tsx");
const TEXT = "The ferry to Lund leaves at 7:40 from pier three. The ferry to Oden leaves at 9:15 from pier eight.";

describe("examples", () => {
  let folder = "";
  let text = "";
  let up: RunningProcess;
  let address = "";
  let http = "";

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    text = join(folder, "ferries.txt");
    await writeFile(text, TEXT);
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", join(folder, "data")]);
    address = String(up.ready["address"]);
    http = `http://${up.ready["httpAddress"]}/v1`;
  });
  afterAll(async () => {
    await up.stop();
    await rm(folder, { recursive: true, force: true });
  });

  interface Ran {
    readonly stdout: string;
    readonly stderr: string;
  }

  /** Runs to the end with `input` on stdin; any exit code but `code` fails the test. */
  async function run(command: string, args: readonly string[], { input = "", code = 0, env = {} } = {}): Promise<Ran> {
    const child = spawn(command, args, { cwd: ROOT, env: { ...process.env, ...env }, timeout: 240_000 });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (data: Buffer) => {
      stdout += data.toString();
    });
    child.stderr.on("data", (data: Buffer) => {
      stderr += data.toString();
    });
    child.stdin.end(input);
    const [ended] = (await once(child, "close")) as [number | null];
    if (ended !== code) expect.fail(`${command} ${args.join(" ")} ended with ${ended}: ${stdout}${stderr}`);
    return { stdout, stderr };
  }

  test("quickstart.ts makes a context and streams an answer; the second run finds it", async () => {
    const args = [join(EXAMPLES, "quickstart", "quickstart.ts"), text, "When does the ferry leave?", address, SMALL_MODEL];
    const first = await run(TSX, args);
    expect(first.stdout.trim()).not.toBe("");
    expect(first.stderr).toMatch(/contexts\/c[0-9a-f]{32}: \d+ of \d+ pairs kept/);
    const second = await run(TSX, args);
    expect(second.stdout).toBe(first.stdout);
    expect(second.stderr).not.toContain("PREFILL");
  });

  test("chat-with-repository reads a code base by its ignore rules and holds a conversation", async () => {
    const chat = join(EXAMPLES, "chat-with-repository", "chat.ts");
    const code = join(folder, "code");
    await mkdir(join(code, "src"), { recursive: true });
    await writeFile(join(code, ".gitignore"), "*.log\n.gitignore\n");
    await writeFile(join(code, "build.log"), "no part of it");
    await writeFile(join(code, "src", "ferries.test.ts"), "ignored by the command line");
    await writeFile(
      join(code, "src", "ferries.ts"),
      `/** ${TEXT} */\nexport function nextFerry(hour: number): string {\n  return hour < 8 ? "Lund" : "Oden";\n}\n`,
    );
    const args = [chat, code, "--address", address, "--model", SMALL_MODEL, "--ignore", "*.test.ts", "--max-tokens", "16"];
    const { stdout } = await run(TSX, args, { input: "/files\nWhat does this code do?\nName its function.\n/usage\n/exit\n" });
    expect(stdout).toMatch(/^1 files, \d+ tokens; smollm2-135m reads \d+\n/);
    expect(stdout).toContain("> src/ferries.ts\n");
    expect(stdout).toMatch(/\d+ tokens of code not read again, \d+ read, first word after \d+ ms/);
    const tooMuch = await run(TSX, [chat, join(ROOT, "libs", "core"), "--address", address, "--model", SMALL_MODEL], { code: 1 });
    expect(tooMuch.stderr).toContain("leave something out with --ignore");
  });

  test("curl/ask.sh needs nothing but curl", async () => {
    const { stdout } = await run(join(EXAMPLES, "curl", "ask.sh"), [text, "When does the ferry leave?", http, SMALL_MODEL]);
    const reply = JSON.parse(stdout) as { readonly choices: readonly { readonly message: { readonly content: string } }[] };
    expect(reply.choices[0]?.message.content.trim()).not.toBe("");
  });

  test("python/stubs: generated stubs, a conversation, and a refusal by its code", async () => {
    const stubs = join(EXAMPLES, "python", "stubs");
    const interpreter = await pythonWith(join(stubs, "requirements.txt"));
    const generated = join(folder, "generated");
    await run(join(stubs, "generate.sh"), [generated, interpreter]);
    const args = [join(stubs, "ask.py"), address, SMALL_MODEL, text];
    const env = { PYTHONPATH: generated };
    const { stdout } = await run(interpreter, [...args, "When does the ferry leave?", "From where?"], { env });
    expect(stdout).toMatch(
      /^contexts\/c[0-9a-f]{32}: \d+ of \d+ pairs kept\n> When does the ferry leave\?\n[^>]*\S[^>]*\n> From where\?\n[^>]*\S/,
    );
    const refused = await run(interpreter, [...args, " "], { env, code: 1 });
    expect(refused.stderr).toContain("refused: INVALID_ARGUMENT");
  });
});
