/**
 * `kvault gc`: what nothing in a store leads to any more.
 *
 * @module
 */
import type { Command } from "commander";
import { dataDirOption, duration } from "../options.ts";
import { defaultDataDir, storeUrlOf } from "../settings.ts";
import { formatBytes, formatCount } from "../terminal/units.ts";
import { define, type Host, runs } from "./command.ts";

/** Longer than any build: its parts come before its manifest. */
const GRACE_SECONDS = 24 * 3_600;

interface GcOptions {
  readonly dataDir?: string;
  readonly store?: string;
  readonly grace?: number;
  readonly dryRun?: boolean;
}

export function addGc(program: Command, host: Host): void {
  const gc = define(program, {
    usage: "gc",
    summary: "Remove what nothing in a store leads to any more",
    description: `Parts that no record names and requests of builds that are over: what killed builders and gateways leave.
Gateways do the same every hour. Works on the store itself, so it needs no server; leave the grace time longer than the
longest build.`,
    examples: [
      ["kvault gc --dry-run", "how much there is, and leave it"],
      ["kvault gc --store s3://contexts/kvault --grace 7d", "of another store, only what is older than a week"],
    ],
  })
    .addOption(dataDirOption())
    .option("--store <url>", "store URL (default: the data folder's)")
    .option("--grace <duration>", "leave what is younger, such as 12h or 7d (default: 24h)", duration)
    .option("--dry-run", "count it, remove nothing");
  runs<GcOptions>(gc, host, async ({ terminal, signal, env }, options) => {
    const { grace = GRACE_SECONDS, dryRun = false } = options;
    const { collectGarbage, openStore } = await import("@kvault/kvstore");
    const store = await openStore(options.store ?? storeUrlOf(options.dataDir ?? defaultDataDir(env)));
    try {
      const broken: string[] = [];
      const onBroken = (contextId: string): void => void broken.push(contextId);
      const found = await collectGarbage(store, { graceMs: grace * 1_000, dryRun, signal, onBroken });
      terminal.result({ dryRun, ...found, broken }, () =>
        [
          `${dryRun ? "would remove" : "removed"} ${formatCount(found.removedParts)} parts, ${formatBytes(found.removedBytes)}`,
          `${dryRun ? "would remove" : "removed"} ${formatCount(found.removedRequests)} build requests, ${formatBytes(found.removedRequestBytes)}`,
          ...broken.map((contextId) => `left alone ${contextId}: its manifest cannot be read`),
        ].join("\n"),
      );
    } finally {
      await store.close();
    }
  });
}
