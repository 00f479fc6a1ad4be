import { describe, expect, test } from "vitest";
import { readConfig } from "./config.ts";

const NEEDED = { KVAULT_STORE_URL: "file:/records", KVAULT_CACHE_DIR: "/models" };

describe("readConfig()", () => {
  test("fills in defaults and freezes the result", () => {
    const config = readConfig(NEEDED);
    expect(config).toMatchObject({ address: "127.0.0.1:7719", storeUrl: "file:/records", cacheDir: "/models", offline: false });
    expect(config).toMatchObject({
      activations: "int8",
      residentBytes: 2 * 2 ** 30,
      maxQueries: 64,
      drainMs: 30_000,
      logLevel: "info",
    });
    expect(config.numThreads).toBeGreaterThanOrEqual(1);
    expect(Object.isFrozen(config)).toBe(true);
  });

  test("reads every variable", () => {
    const config = readConfig({
      ...NEEDED,
      KVAULT_WORKER_ADDRESS: "unix:/run/decode.sock",
      KVAULT_OFFLINE: "true",
      KVAULT_THREADS: "3",
      KVAULT_ACTIVATIONS: "f32",
      KVAULT_RESIDENT_BYTES: "1000",
      KVAULT_MAX_QUERIES: "7",
      KVAULT_DRAIN_MS: "5",
      KVAULT_LOG_LEVEL: "debug",
    });
    expect(config).toMatchObject({ address: "unix:/run/decode.sock", offline: true, numThreads: 3, activations: "f32" });
    expect(config).toMatchObject({ residentBytes: 1_000, maxQueries: 7, drainMs: 5, logLevel: "debug" });
  });

  test("lists every problem at once, misspelt names included", () => {
    const read = () =>
      readConfig({ KVAULT_CACHE_DIR: "/models", KVAULT_THREADS: "0", KVAULT_OFFLINE: "yes", KVAULT_THREDS: "2" });
    for (const name of ["KVAULT_STORE_URL", "KVAULT_THREADS", "KVAULT_OFFLINE", "KVAULT_THREDS"]) {
      expect(read).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(name) }));
    }
  });
});
