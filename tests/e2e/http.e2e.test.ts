/** The HTTP front of `kvault up`, real weights behind it: the example as it stands, and a conversation. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kvault, type RunningProcess, start } from "./support/kvault.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MODEL = "qwen2.5-coder-0.5b";
const TEXT = "The ferry to Lund leaves at 7:40 from pier three. The ferry to Oden leaves at 9:15 from pier eight.";

type Completion = OpenAI.ChatCompletion;

describe("the HTTP front", () => {
  let folder = "";
  let up: RunningProcess;
  let base = "";
  let context = "";

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", join(folder, "data")]);
    base = `http://${up.ready["httpAddress"]}/v1`;
    await writeFile(join(folder, "ferries.txt"), TEXT);
    const args = ["context", "create", "--file", join(folder, "ferries.txt"), "--model", MODEL, "--keep", "1", "--json"];
    const { json } = await kvault(args, { KVAULT_ADDRESS: String(up.ready["address"]) });
    context = String((json as { name: string }).name).replace("contexts/", "");
  });
  afterAll(async () => {
    await up.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function ask(messages: readonly object[]): Promise<{ answer: string; cached: number }> {
    const body = JSON.stringify({ model: MODEL, context, messages, max_tokens: 40 });
    const init = { method: "POST", headers: { "content-type": "application/json" }, body };
    const reply = await fetch(`${base}/chat/completions`, init).then((response) => response.json() as Promise<Completion>);
    return { answer: reply.choices[0]?.message.content ?? "", cached: reply.usage?.prompt_tokens_details?.cached_tokens ?? 0 };
  }

  test("examples/openai/ask.ts streams an answer", async () => {
    const command = join(ROOT, "node_modules", ".bin", "tsx");
    const args = [join(ROOT, "examples", "openai", "ask.ts"), context, "When does the ferry to Lund leave?", base];
    const { stdout } = await promisify(execFile)(command, args, { timeout: 60_000 });
    expect(stdout).toContain("7:40");
  });

  test("a later question of a conversation knows the earlier ones", async () => {
    const turns = [
      { role: "user", content: "The password is basil. Repeat it." },
      { role: "assistant", content: "The password is basil." },
    ];
    const { answer, cached } = await ask([...turns, { role: "user", content: "What is the password?" }]);
    expect(answer).toMatch(/basil/i);
    expect(cached).toBeGreaterThan(10);
  });
});
