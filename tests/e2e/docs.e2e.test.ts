import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { documents } from "../../tools/documents.ts";
import { fences } from "../../tools/markdown.ts";
import { kvault, type RunningProcess, start } from "./support/kvault.ts";
import { expectTranscript } from "./support/transcript.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MODEL = "qwen2.5-coder-0.5b";
const PAGE = "docs/adr/0001-run-models-in-a-child-process.md";
const QUESTION = "What is an engine?";

describe("the documentation, done as written", () => {
  let folder = "";
  let up: RunningProcess;
  let env: Record<string, string>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    const shim = `#!/bin/sh\nexec "${process.execPath}" "${join(ROOT, "cli", "bin", "kvault.js")}" "$@"\n`;
    await writeFile(join(folder, "kvault"), shim, { mode: 0o755 });
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", join(folder, "data")]);
    env = {
      KVAULT_ADDRESS: String(up.ready["address"]),
      KV: `http://${up.ready["httpAddress"]}`,
      PATH: `${folder}:${process.env["PATH"] ?? ""}`,
    };
  });
  afterAll(async () => {
    await up.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test("the tour of the README", async () => {
    const lines: string[] = [];
    const type = async (args: readonly string[], shown: string): Promise<string> => {
      const { code, stdout, stderr } = await kvault(args, env);
      expect(stderr).not.toContain("error:");
      expect(code).toBe(0);
      lines.push(`$ kvault ${shown}`, stdout.trim());
      return stdout;
    };
    const created = await type(
      ["context", "create", "--file", PAGE, "--model", MODEL, "--keep", "0.5"],
      `context create --file ${PAGE} --keep 0.5`,
    );
    const id = /contexts\/(c[0-9a-f]{32})/.exec(created)?.[1] ?? "";
    await type(["query", id, QUESTION], `query ${id} "${QUESTION}"`);
    await type(["context", "list"], "context list");
    const normalise = (text: string): string =>
      text
        .replace(/(\$ kvault query[^\n]*\n)[^$]*/, "$1")
        .replace(/c?[0-9a-f]{32,64}/g, "<id>")
        .replace(/[\d.,]+( ?(ms|s|KB|MB)\b)?/g, "#")
        .replace(/[ -]+/g, " ");
    expectTranscript("README.md", "tour", lines.join("\n"), normalise);
  });

  test('every block marked "sh run"', async () => {
    let count = 0;
    for (const path of documents(ROOT)) {
      for (const { info, code, line } of fences(await readFile(join(ROOT, path), "utf8"))) {
        if (info !== "sh run") continue;
        count += 1;
        const script = `set -euo pipefail\n${code}`;
        const ran = promisify(execFile)("bash", ["-c", script], { cwd: ROOT, env: { ...process.env, ...env }, timeout: 120_000 });
        await ran.catch((error: Error) => expect.fail(`${path}:${line}: ${error.message}`));
      }
    }
    expect(count).toBeGreaterThan(0);
  });
});
