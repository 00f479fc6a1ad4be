/**
 * `kvault inspect …`: what a record kept, and what a scorer says about given tokens.
 *
 * @module
 */
import type { Command } from "commander";
import { contextId } from "../context-view.ts";
import { dataDirOption } from "../options.ts";
import { defaultDataDir, storeUrlOf } from "../settings.ts";
import { heatMap, keptTable } from "../terminal/heat-map.ts";
import { formatBytes, formatCount } from "../terminal/units.ts";
import { define, group, type Host, runs } from "./command.ts";
import { addInspectScores } from "./inspect-scores.ts";

interface RecordOptions {
  readonly dataDir?: string;
  readonly store?: string;
}

export function addInspect(program: Command, host: Host): void {
  const inspect = group(program, "inspect", "Look inside records and scorers");
  const record = define(inspect, {
    usage: "record <context>",
    summary: "Show how many pairs each layer and head kept",
    description: `Reads the record's manifest from the store itself, so it needs no server. On a terminal: one row per KV head,
one column per layer, higher is more. Elsewhere: plain numbers.`,
    examples: [
      ["kvault inspect record c0123…", "a record of the local data folder"],
      ["kvault inspect record c0123… --store file:/srv/kvault --json", "of another store, as JSON"],
    ],
  })
    .addOption(dataDirOption())
    .option("--store <url>", "store URL (default: the data folder's)");
  runs<RecordOptions>(record, host, async ({ terminal, signal, env }, options, context = "") => {
    const { openStore, readManifest } = await import("@kvault/kvstore");
    const store = await openStore(options.store ?? storeUrlOf(options.dataDir ?? defaultDataDir(env)));
    try {
      const manifest = await readManifest(store, contextId(context), { signal });
      const { model, report, prefixTokens, contextTokens } = manifest;
      const kept_LK = manifest.layers.map((layer) => layer.headLengths);
      const value = {
        name: `contexts/${manifest.contextId}`,
        model: model.name,
        spec: report.spec,
        contextTokens,
        prefixTokens,
        keptPairs: report.keptPairs,
        totalPairs: report.totalPairs,
        rawBytesF16: report.rawBytesF16,
        storedBytes: report.storedBytes,
        keptPerLayerAndHead: kept_LK,
        storedBytesPerLayer: manifest.layers.map((layer) => layer.parts.reduce((sum, part) => sum + part.bytes, 0)),
      };
      terminal.result(value, () => {
        const positions = prefixTokens + contextTokens;
        return [
          `${value.name}  ${model.name}  ${report.spec}`,
          `${formatCount(report.keptPairs)} of ${formatCount(report.totalPairs)} KV pairs kept, ${formatBytes(report.storedBytes)} instead of ${formatBytes(report.rawBytesF16)}`,
          "",
          terminal.pictures ? heatMap(kept_LK, positions) : keptTable(kept_LK),
        ].join("\n");
      });
    } finally {
      await store.close();
    }
  });
  addInspectScores(inspect, host);
}
