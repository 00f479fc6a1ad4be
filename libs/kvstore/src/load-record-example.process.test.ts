/** A record of ours opens without us: examples/python reads it with plain Python. */
import { execFile } from "node:child_process";
import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFilesystemStore } from "./backends/filesystem.ts";
import type { ContextManifest } from "./manifest.ts";
import { partKey } from "./record-layout.ts";
import { publishSample } from "./testing/sample-record.ts";

const run = promisify(execFile);
const example = fileURLToPath(new URL("../../../examples/python/load_record.py", import.meta.url));
const hasPython = await run("python3", ["--version"]).then(
  () => true,
  () => false,
);
if (!hasPython) console.warn("Skipping the Python example: there is no python3");

describe.skipIf(!hasPython)("examples/python/load_record.py", () => {
  let root: string;
  let manifest: ContextManifest;

  beforeEach(async () => {
    root = await fs.mkdtemp(path.join(tmpdir(), "kvault-python-"));
    const store = await openFilesystemStore(root);
    manifest = await publishSample(store, "text");
    await store.close();
  });
  afterEach(() => fs.rm(root, { recursive: true }));

  const load = (): Promise<{ stdout: string }> => run("python3", [example, path.join(root, "v1/contexts", manifest.contextId)]);

  test("prints the kept pairs of each layer and head", async () => {
    const { stdout } = await load();
    const counts = [...stdout.matchAll(/^layer +\d+: +(.*)$/gm)].map(([, list]) => (list as string).split(/ +/).map(Number));
    expect(counts).toEqual(manifest.layers.map(({ headLengths }) => headLengths));
    expect(stdout).toContain(`kept ${manifest.report.keptPairs} of ${manifest.report.totalPairs} pairs, all parts verified`);
  });

  test("passes its own tests", async () => {
    // Those that need torch skip themselves where it is not installed.
    const { stderr } = await run("python3", ["-B", "-m", "unittest"], { cwd: path.dirname(example) });
    expect(stderr).toMatch(/^Ran [1-9]\d* tests[\s\S]*\nOK/m);
  });

  test("refuses a part with one flipped bit", async () => {
    const file = path.join(root, partKey(manifest.contextId, manifest.layers[1]!.parts[0]!.sha256));
    const bytes = await fs.readFile(file);
    bytes[bytes.length - 1]! ^= 1;
    await fs.writeFile(file, bytes);
    await expect(load()).rejects.toThrow("Cannot read part");
  });
});
