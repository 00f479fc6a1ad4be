import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contextIdOf, createManifest, encodeManifest, manifestKey, openStore, parseManifest } from "@kvault/kvstore";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Api, ask, build, connect, createRequest, refusal } from "./support/api.ts";
import { kvault, type RunningProcess, start } from "./support/kvault.ts";
import { LETTER } from "./support/texts.ts";

const QUESTION = "What colour is the boat?";

describe("kvault up, stopped and started again", () => {
  let dataDir = "";
  let up: RunningProcess;
  let api: Api;

  const startUp = async (): Promise<void> => {
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", dataDir]);
    api = await connect(String(up.ready["address"]));
  };
  const stopUp = async (): Promise<number | null> => {
    api.close();
    return up.stop();
  };

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    await startUp();
  });
  afterAll(async () => {
    await stopUp();
    await rm(dataDir, { recursive: true, force: true });
  });

  test("answers from a record that another process made, in the same words", async () => {
    const context = await build(api, createRequest(LETTER));
    const before = await ask(api, context.name, QUESTION);
    expect(await stopUp()).toBe(0);
    await startUp();
    const after = await ask(api, context.name, QUESTION);
    expect(after.answer.text).toBe(before.answer.text);
    expect(after.pieces.join("")).toBe(after.answer.text);
    expect(after.answer.cache?.reason).toBe("FIRST_USE");
    const again = await api.contexts.getContext({ name: context.name });
    expect(again.report?.storedBytes).toBe(context.report?.storedBytes);
  });

  test("finds the same request built already, and lists it once", async () => {
    const { contexts: before } = await api.contexts.listContexts({});
    const started = performance.now();
    const context = await build(api, createRequest(LETTER));
    expect(performance.now() - started).toBeLessThan(2_000);
    const { contexts: after } = await api.contexts.listContexts({});
    expect(after.map((each) => each.name)).toEqual(before.map((each) => each.name));
    expect(after.map((each) => each.name)).toContain(context.name);
  });

  test("shows a record's kept pairs without a server", async () => {
    const context = await build(api, createRequest(LETTER));
    const { code, json } = await kvault(["inspect", "record", context.name, "--data-dir", dataDir, "--json"]);
    expect(code).toBe(0);
    const { keptPerLayerAndHead, keptPairs } = json as { keptPerLayerAndHead: number[][]; keptPairs: number };
    expect(keptPerLayerAndHead.map((row) => row.length)).toEqual(Array.from({ length: 30 }, () => 3));
    expect(keptPerLayerAndHead.flat().reduce((sum, kept) => sum + kept, 0)).toBe(keptPairs);
    expect(keptPairs).toBe(Number(context.report?.keptPairs));
  });

  test("refuses a part with one flipped bit with CACHE_CORRUPT and serves nothing of it", async () => {
    const { name } = await build(api, createRequest(`${LETTER} P.S. One bit.`));
    await stopUp();
    const parts = join(dataDir, "store", "v1", "contexts", name.replace("contexts/", ""), "parts");
    const [part = ""] = await readdir(parts);
    const bytes = await readFile(join(parts, part));
    const middle = bytes.byteLength >> 1;
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
    await writeFile(join(parts, part), bytes);
    await startUp();
    const error = await refusal(ask(api, name, QUESTION));
    expect(error.code).toBe("CACHE_CORRUPT");
  });

  test("refuses a manifest that names another model, by the field that differs", async () => {
    const { name } = await build(api, createRequest(LETTER));
    await stopUp();
    const store = await openStore(`file:${join(dataDir, "store")}`);
    const id = name.replace("contexts/", "");
    const manifest = parseManifest(await store.get(manifestKey(id)));
    const other = createManifest({ ...manifest, identity: { ...manifest.identity, weightsSha256: "0".repeat(64) } });
    expect(other.contextId).toBe(contextIdOf(other.digest));
    const folder = join(dataDir, "store", "v1", "contexts");
    await cp(join(folder, id, "parts"), join(folder, other.contextId, "parts"), { recursive: true });
    await store.put(manifestKey(other.contextId), encodeManifest(other));
    await store.close();
    await startUp();
    const error = await refusal(ask(api, `contexts/${other.contextId}`, QUESTION));
    expect(error.code).toBe("INCOMPATIBLE_MODEL");
    expect(error.details).toMatchObject({ field: "weightsSha256" });
  });
});
