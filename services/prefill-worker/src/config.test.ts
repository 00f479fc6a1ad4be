import { describe, expect, test } from "vitest";
import { readConfig } from "./config.ts";

const NEEDED = { KVAULT_STORE_URL: "file:/records", KVAULT_CACHE_DIR: "/models" };

describe("readConfig()", () => {
  test("fills in defaults and freezes the result", () => {
    const config = readConfig(NEEDED);
    expect(config).toMatchObject({ address: "127.0.0.1:7718", storeUrl: "file:/records", cacheDir: "/models", offline: false });
    expect(config).toMatchObject({ activations: "int8", maxWaitingBuilds: 2, drainMs: 120_000, logLevel: "info" });
    expect(config.numThreads).toBeGreaterThanOrEqual(1);
    expect(Object.isFrozen(config)).toBe(true);
  });

  test("reads every variable", () => {
    const config = readConfig({
      ...NEEDED,
      KVAULT_WORKER_ADDRESS: "unix:/run/prefill.sock",
      KVAULT_OFFLINE: "true",
      KVAULT_THREADS: "3",
      KVAULT_ACTIVATIONS: "f32",
      KVAULT_MAX_WAITING_BUILDS: "0",
      KVAULT_CHECKPOINT_TOKENS: "4096",
      KVAULT_QUEUE_URL: "redis://r:6379/0",
      KVAULT_REGISTRY_URL: "redis://r:6379/1",
      KVAULT_ADVERTISE_ADDRESS: "10.0.0.7:7718",
      KVAULT_DRAIN_MS: "5",
      KVAULT_LOG_LEVEL: "debug",
    });
    expect(config).toMatchObject({ address: "unix:/run/prefill.sock", offline: true, numThreads: 3, activations: "f32" });
    expect(config).toMatchObject({ queueUrl: "redis://r:6379/0", registryUrl: "redis://r:6379/1", checkpointTokens: 4_096 });
    expect(config.advertiseAddress).toBe("10.0.0.7:7718");
    expect(config).toMatchObject({ maxWaitingBuilds: 0, drainMs: 5, logLevel: "debug" });
  });

  test("lists every problem at once, misspelt names included", () => {
    const read = () =>
      readConfig({ KVAULT_CACHE_DIR: "/models", KVAULT_THREADS: "0", KVAULT_OFFLINE: "yes", KVAULT_THREDS: "2" });
    for (const name of ["KVAULT_STORE_URL", "KVAULT_THREADS", "KVAULT_OFFLINE", "KVAULT_THREDS"]) {
      expect(read).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(name) }));
    }
  });
});
