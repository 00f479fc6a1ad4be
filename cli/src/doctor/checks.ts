/**
 * What `kvault doctor` looks at. Everything it writes into a store it removes again.
 *
 * @module
 */
import { createPrivateKey, randomUUID, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { openRegistry } from "@kvault/cluster";
import { isKvaultError } from "@kvault/core";
import { openStore } from "@kvault/kvstore";
import { openHub } from "@kvault/model";
import { openQueue } from "@kvault/queue";
import { connectGateway } from "../gateway-client.ts";
import type { ConnectionFlags } from "../options.ts";
import { type Check, failed, ok, warning } from "./check.ts";

const OLDEST_NODE = [20, 19] as const;
/** Leases are 15 s: clocks further apart make live things look dead. */
const MAX_SKEW_MS = 5_000;
/** Certificates are renewed before this is left. */
const EXPIRES_SOON_MS = 14 * 24 * 3_600_000;

export function nodeCheck(version: string): Check {
  const todo = `Install Node ${OLDEST_NODE.join(".")} or later.`;
  return {
    name: "node",
    todo,
    async run() {
      const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
      const isNew = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
      return isNew ? ok(version) : failed(version, todo);
    },
  };
}

export function modelsCheck(cacheDir: string): Check {
  return {
    name: "models",
    todo: "Name a folder that this user may write in KVAULT_CACHE_DIR.",
    async run() {
      const hub = await openHub({ cacheDir });
      const names = hub.list().map(({ name }) => name);
      const present: string[] = [];
      for (const name of names) if (await hub.isPresent(name)) present.push(name);
      if (present.length > 0) return ok(`${present.join(" ")} in ${cacheDir}`);
      return warning(`none in ${cacheDir}`, "`kvault model pull NAME` fetches one; else the first use does.");
    },
  };
}

/** Puts, reads, is refused a second conditional create, deletes. */
export function storeCheck(url: string): Check {
  const todo = "Check KVAULT_STORE_URL, and that this user may read, write, create conditionally and delete there.";
  return {
    name: "store",
    todo,
    async run(signal) {
      const store = await openStore(url);
      const key = `doctor/${randomUUID()}.probe`;
      const bytes = new TextEncoder().encode("kvault doctor");
      try {
        const startMs = performance.now();
        await store.put(key, bytes, { ifAbsent: true, signal });
        const read = await store.get(key, { signal });
        const tookMs = performance.now() - startMs;
        if (Buffer.compare(read, bytes) !== 0) return failed("reads back other bytes than were written", todo);
        const second = await store.put(key, bytes, { ifAbsent: true, signal }).then(
          () => "took it",
          (error: unknown) => (isKvaultError(error, "STORE_EXISTS") ? "refused" : "failed"),
        );
        if (second !== "refused") {
          return failed(
            `a second conditional create ${second}`,
            "Use a store with conditional create (S3: If-None-Match): two builders must not both commit.",
          );
        }
        const { modifiedMs } = (await store.stat(key, { signal })) ?? {};
        const skewMs = modifiedMs === undefined ? 0 : Math.abs(Date.now() - modifiedMs);
        const found = `writes, reads and creates conditionally, ${tookMs.toFixed(1)} ms for a write and a read`;
        if (skewMs > MAX_SKEW_MS) {
          return warning(
            `${found}; its clock is ${Math.round(skewMs / 1_000)} s from ours`,
            "Set both clocks by NTP: leases and expiry go by them.",
          );
        }
        return ok(found);
      } finally {
        await store.delete(key).catch(() => undefined);
        await store.close();
      }
    },
  };
}

export function queueCheck(url: string): Check {
  return {
    name: "queue",
    todo: "Check KVAULT_QUEUE_URL, and that its Redis runs with maxmemory-policy noeviction.",
    async run() {
      if (!/^rediss?:/.test(url)) return ok("in the gateway's process");
      const queue = openQueue(url);
      try {
        await queue.ready();
        return ok("Redis answers, and never evicts");
      } finally {
        await queue.close({ drainMs: 0 });
      }
    },
  };
}

export function registryCheck(url: string): Check {
  return {
    name: "registry",
    todo: "Check KVAULT_REGISTRY_URL.",
    async run() {
      if (!/^rediss?:/.test(url)) return ok("in the gateway's process");
      const registry = openRegistry(url);
      try {
        return ok(`Redis answers, ${(await registry.list()).length} workers are registered`);
      } finally {
        await registry.close();
      }
    },
  };
}

export interface TlsPaths {
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export function tlsCheck({ certFile, keyFile }: TlsPaths, nowMs: number): Check {
  const todo = "Set KVAULT_TLS_CERT_FILE and KVAULT_TLS_KEY_FILE to a certificate and its own key, PEM, both.";
  return {
    name: "tls",
    todo,
    async run() {
      if (certFile === undefined && keyFile === undefined) return ok("off: right on this machine alone");
      if (certFile === undefined || keyFile === undefined) return failed("one of certificate and key is missing", todo);
      const certificate = new X509Certificate(readFileSync(certFile));
      if (!certificate.checkPrivateKey(createPrivateKey(readFileSync(keyFile)))) {
        return failed("the key is not the certificate's", todo);
      }
      const until = Date.parse(certificate.validTo);
      const found = `${certificate.subjectAltName ?? certificate.subject}, until ${new Date(until).toISOString()}`;
      if (until <= nowMs || Date.parse(certificate.validFrom) > nowMs)
        return failed(`not valid now: ${found}`, "Renew the certificate.");
      return until - nowMs < EXPIRES_SOON_MS ? warning(found, "Renew the certificate: it is read again by itself.") : ok(found);
    },
  };
}

/** A gateway answers; or its port is free for one. */
export function gatewayCheck(flags: ConnectionFlags): Check {
  const todo = "Start one (`kvault up`), or say where it is with --address; with tokens also --token-file.";
  return {
    name: "gateway",
    todo,
    async run(signal) {
      const startMs = performance.now();
      const gateway = await connectGateway(flags).catch(() => undefined);
      if (gateway === undefined) {
        const taken = await isTaken(flags.address);
        const what = taken ? "something else listens there" : "nothing listens there";
        return failed(`${flags.address}: ${what}`, taken ? "Stop what has the port, or choose another." : todo);
      }
      try {
        const { workers } = await gateway.api.cluster.listWorkers({}, { signal });
        const tookMs = performance.now() - startMs;
        const live = workers.filter((worker) => worker.live);
        const roles = new Set(live.map(({ role }) => role));
        const found = `${flags.address} answers in ${tookMs.toFixed(0)} ms, ${live.length} of ${workers.length} workers live`;
        if (roles.size < 2)
          return failed(found, "Start a prefill worker and a decode worker; `kvault status` shows those it knows.");
        if (live.length < workers.length) return warning(found, "`kvault status` shows which are silent: look at their logs.");
        return ok(found);
      } finally {
        gateway.close();
      }
    },
  };
}

/** Whether something listens at an address of this machine. */
async function isTaken(address: string): Promise<boolean> {
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(address) ?? [];
  if (port === "") return false;
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EADDRINUSE"));
    server.listen(Number(port), host.replace(/^\[|\]$/g, ""), () => server.close(() => resolve(false)));
  });
}
