import { readdirSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Context_State } from "@kvault/rpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Api, ask, build, connect, createRequest, refusal } from "./support/api.ts";
import { type RunningProcess, start } from "./support/kvault.ts";
import { LETTER } from "./support/texts.ts";

/** A record of the letter at 1.0 needs about 4 MB, at 0.05 about 0.7 MB. */
const DISK = "1500k";

describe("a disk that fills up while a record is published", () => {
  let folder = "";
  let disk = "";
  let up: RunningProcess;
  let api: Api;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    disk = join(folder, "disk");
    await mkdir(disk);
    // In a mount namespace of its own the process sees a small file system, with or without root.
    const mount = 'mount -t tmpfs -o size="$0" kvault-e2e "$1" && shift && exec "$@"';
    const prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, DISK, disk];
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", disk], {}, prefix);
    api = await connect(String(up.ready["address"]));
  });
  afterAll(async () => {
    api.close();
    await up.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** Files of the small file system, seen through the process that mounted it. */
  const files = (): string[] =>
    readdirSync(join("/proc", String(up.pid), "root", disk), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name);

  test("fails the build with STORE_FULL, shows no record, and gives the room back", async () => {
    const error = await refusal(build(api, createRequest(LETTER, { compression: { spec: "none", keepRatio: 1 } })));
    expect(error.code).toBe("STORE_FULL");
    const { contexts } = await api.contexts.listContexts({});
    expect(contexts.filter((context) => context.state === Context_State.ACTIVE)).toEqual([]);
    expect(files().filter((name) => name === "manifest.json" || name.endsWith(".safetensors"))).toEqual([]);
  });

  test("a smaller record then fits on the same disk and answers", async () => {
    const context = await build(api, createRequest(LETTER, { compression: { spec: "kvzip", keepRatio: 0.05 } }));
    expect(context.state).toBe(Context_State.ACTIVE);
    const { answer } = await ask(api, context.name, "Who wrote?", 4);
    expect(answer.usage?.newTokens).toBeGreaterThan(0);
  });
});
