import { describe, expect, test } from "vitest";
import { readConfig } from "./config.ts";

const REQUIRED = {
  KVAULT_STORE_URL: "file:/data",
  KVAULT_CACHE_DIR: "/cache",
  KVAULT_PREFILL_WORKERS: "prefill-0:7718",
  KVAULT_DECODE_WORKERS: "unix:/run/decode.sock, decode-1:7719,[::1]:7720",
};

describe("readConfig()", () => {
  test("fills in defaults, splits lists and freezes", () => {
    const config = readConfig({ ...REQUIRED, PATH: "/bin" });
    expect(config).toEqual({
      address: "127.0.0.1:7717",
      storeUrl: "file:/data",
      security: { auth: "auto", allowPlaintext: false },
      cacheDir: "/cache",
      queueUrl: "local:",
      catalogueUrl: "memory:",
      registryUrl: "memory:",
      prefillWorkers: ["prefill-0:7718"],
      decodeWorkers: ["unix:/run/decode.sock", "decode-1:7719", "[::1]:7720"],
      deleteRetentionMs: 86_400_000,
      logLevel: "info",
      drainMs: 10_000,
      drainNoticeMs: 0,
      maxStreams: 1_024,
      sweepIntervalMs: 60_000,
      maxQueuedBytes: 536_870_912,
    });
    expect(Object.isFrozen(config)).toBe(true);
  });

  test("needs no names of workers where they register", () => {
    const { KVAULT_PREFILL_WORKERS: _, KVAULT_DECODE_WORKERS: __, ...rest } = REQUIRED;
    expect(readConfig({ ...rest, KVAULT_REGISTRY_URL: "redis://r:6379" })).toMatchObject({
      prefillWorkers: [],
      decodeWorkers: [],
      registryUrl: "redis://r:6379",
    });
  });

  test("in Kubernetes finds the API where every pod is told that it is", () => {
    const env = { ...REQUIRED, KVAULT_DISCOVERY: "kubernetes", KUBERNETES_SERVICE_PORT: "443" };
    expect(readConfig({ ...env, KUBERNETES_SERVICE_HOST: "10.0.0.1" }).kubernetes).toEqual({
      apiUrl: "https://10.0.0.1:443",
      accountDir: "/var/run/secrets/kubernetes.io/serviceaccount",
      decodeService: "decode",
    });
    expect(readConfig({ ...env, KUBERNETES_SERVICE_HOST: "fd00::1" }).kubernetes?.apiUrl).toBe("https://[fd00::1]:443");
    expect(() => readConfig(env)).toThrow("KVAULT_DISCOVERY");
  });

  test("lists every problem at once, unknown names of ours included", () => {
    const env = {
      KVAULT_STORE_URL: "file:/data",
      KVAULT_DRAIN_MS: "soon",
      KVAULT_LOG_LEVEL: "loud",
      KVAULT_PREFILL_WORKER: "a:1",
    };
    const problems = (() => {
      try {
        return readConfig(env);
      } catch (error) {
        return error instanceof Error ? error.message : "";
      }
    })();
    for (const name of [
      "KVAULT_PREFILL_WORKER:",
      "KVAULT_DRAIN_MS",
      "KVAULT_LOG_LEVEL",
      "KVAULT_CACHE_DIR",
      "KVAULT_DECODE_WORKERS",
    ]) {
      expect(problems).toContain(name);
    }
  });

  test.each(["", "host", "host:", "host:123456", "unix:relative", "a:1,,b:2"])("refuses the worker list %j", (list) => {
    expect(() => readConfig({ ...REQUIRED, KVAULT_DECODE_WORKERS: list })).toThrow("KVAULT_DECODE_WORKERS");
  });
});
