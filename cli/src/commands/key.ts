/**
 * `kvault key …`: master keys, moving tenants' keys to another one, and another key for a tenant.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { ResealReport } from "@kvault/kvstore";
import { type Command, Option } from "commander";
import { duration } from "../options.ts";
import { define, group, type Host, runs } from "./command.ts";

interface RewrapOptions {
  readonly store: string;
  readonly masterKeyFile: string;
}

interface RotateOptions extends RewrapOptions {
  readonly registry?: string;
  readonly stopped?: boolean;
  readonly newKey: boolean;
  readonly retireAfter?: number;
}

/** Longer than any build: one that began before the rotation still seals with the key before. */
const RETIRE_SECONDS = 24 * 3_600;
/** A record is taken for itself as whoever deletes it would: see the gateway's remover. */
const LEASE_MS = 30_000;
const WAIT_MS = 60_000;

export function addKey(program: Command, host: Host): void {
  const key = group(program, "key", "Make and rotate the master keys of encrypted records");
  const create = define(key, {
    usage: "create <id>",
    summary: "Print a new master key, a line for the key file",
    description: "The first line of the file wraps tenants' keys, the others still open what they wrapped before.",
    examples: [["kvault key create 2026-11 > master.keys", "then KVAULT_MASTER_KEY_FILE=master.keys for every worker"]],
  });
  runs<object>(create, host, async ({ terminal }, _, id = "") => {
    const { createMasterKeyLine } = await import("@kvault/kvstore");
    const line = createMasterKeyLine(id);
    terminal.result({ line }, () => line);
  });

  const rewrap = define(key, {
    usage: "rewrap",
    summary: "Wrap every tenant's keys with the first master key of the file",
    description: `To rotate the master key: put a new line first, restart the workers with both, re-wrap, and take the old line away.
Stored parts are not touched.`,
    examples: [["kvault key rewrap --store file:/var/lib/kvault --master-key-file master.keys", "how many keys were moved"]],
  })
    .addOption(new Option("--store <url>", "where the records are").env("KVAULT_STORE_URL").makeOptionMandatory())
    .addOption(new Option("--master-key-file <path>", "master keys").env("KVAULT_MASTER_KEY_FILE").makeOptionMandatory());
  runs<RewrapOptions>(rewrap, host, async ({ terminal, signal }, { store: url, masterKeyFile }) => {
    const { openStore, readMasterKeys, rewrapTenantKeys } = await import("@kvault/kvstore");
    const masters = await readMasterKeys(masterKeyFile);
    const store = await openStore(url);
    try {
      const rewrapped = await rewrapTenantKeys(store, masters, { signal });
      terminal.result({ rewrapped }, () => `re-wrapped ${rewrapped} tenant keys with "${masters.currentId}"`);
    } finally {
      await store.close();
    }
  });

  const rotate = define(key, {
    usage: "rotate <tenant...>",
    summary: "Give tenants another key, and seal their records anew with it",
    description: `From then on records are sealed with the new key; those that are stored are sealed anew one by one, under
the lease that deletions take, while servers go on. Killed in the middle nothing is lost: with --no-new-key it goes on.
Earlier keys go when nothing is sealed with them and no build can be that began before: a run after a day takes them away.`,
    examples: [
      [
        "kvault key rotate acme --store s3://contexts/kvault --registry redis://127.0.0.1:6379/0 --master-key-file master.keys",
        "in a cluster, while it serves",
      ],
      [
        "kvault key rotate acme --no-new-key --stopped --store file:/var/lib/kvault --master-key-file master.keys",
        "the rest, and earlier keys that may go; no server uses this store now",
      ],
    ],
  })
    .addOption(new Option("--store <url>", "where the records are").env("KVAULT_STORE_URL").makeOptionMandatory())
    .addOption(new Option("--master-key-file <path>", "master keys").env("KVAULT_MASTER_KEY_FILE").makeOptionMandatory())
    .addOption(new Option("--registry <url>", "where the servers' leases are").env("KVAULT_REGISTRY_URL"))
    .option("--stopped", "no server uses the store: there are no leases")
    .option("--no-new-key", "only seal anew what is left, and take away keys that may go")
    .option("--retire-after <duration>", "keep earlier keys so long after their last use (default: 24h)", duration);
  runs<RotateOptions>(rotate, host, async ({ terminal, signal }, options, ...tenants) => {
    const { store: url, masterKeyFile, newKey, retireAfter = RETIRE_SECONDS } = options;
    const { openLeases, waitForLease, waitForReaders } = await import("@kvault/cluster");
    const { openStore, readMasterKeys, resealRecords, rotateTenantKey } = await import("@kvault/kvstore");
    const leases = openLeases(leasesUrl(options));
    const store = await openStore(url);
    try {
      const masters = await readMasterKeys(masterKeyFile);
      for (const tenant of tenants) {
        if (newKey) await rotateTenantKey(store, tenant, masters, { signal });
        const report = await resealRecords(store, tenant, masters, {
          signal,
          retireAfterMs: retireAfter * 1_000,
          async alone(contextId, work) {
            const lease = await waitForLease(leases, `clear.${contextId}`, { ttlMs: LEASE_MS, waitMs: WAIT_MS, signal });
            await work().finally(() => lease.release());
          },
          unread: async (contextId) => void (await waitForReaders(leases, contextId, WAIT_MS)),
        });
        terminal.result({ tenant, ...report }, () => describe(tenant, report));
      }
    } finally {
      await Promise.all([store.close(), leases.close()]);
    }
  });
}

function leasesUrl({ registry, stopped = false }: RotateOptions): string {
  if (stopped) return "memory:";
  if (registry !== undefined && registry !== "memory:") return registry;
  throw invalidArgument(
    "registry",
    "Cannot seal records anew: servers may delete them meanwhile. Name their --registry, or stop them and say --stopped",
  );
}

function describe(tenant: string, { resealedRecords, resealedParts, retiredKeys, broken }: ResealReport): string {
  return [
    `${tenant}: sealed ${resealedRecords} records anew (${resealedParts} parts), took ${retiredKeys} earlier keys away`,
    ...broken.map((contextId) => `left alone ${contextId}: it cannot be read, so every key stays`),
  ].join("\n");
}
