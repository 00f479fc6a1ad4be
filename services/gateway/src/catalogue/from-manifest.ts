/**
 * Records in the store → catalogue records: what a gateway knows after a restart.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import {
  type BlobStore,
  type ContextManifest,
  listRecords,
  readAttributes,
  readManifest,
  type StoredRecord,
} from "@kvault/kvstore";
import { type CompressionReport, CompressionReportSchema, create, DEFAULT_TENANT, type RpcLogger } from "@kvault/rpc";
import { type ContextCatalogue, type ContextRecord, firstAttributes } from "./context-catalogue.ts";

/** Puts every readable record of `store` into `catalogue`; returns how many. Unreadable ones are logged and left alone. */
export async function fillFromStore(catalogue: ContextCatalogue, store: BlobStore, log: RpcLogger): Promise<number> {
  let count = 0;
  const onBroken = (contextId: string, error: Error): void => log.warn({ contextId, err: error }, "record left out: unreadable");
  for await (const stored of listRecords(store, { onBroken })) {
    const { record, created } = await catalogue.begin(recordOf(stored));
    if (!created && stored.attributes !== undefined) await catalogue.amend(record, stored.attributes);
    count++;
  }
  return count;
}

/** What a catalogue should say of `id` by its record; undefined when there is none, or none that can be read. */
export async function recordInStore(store: BlobStore, id: string): Promise<ContextRecord | undefined> {
  try {
    const manifest = await readManifest(store, id);
    const attributes = await readAttributes(store, id, manifest.createTimeMs);
    return recordOf({ manifest, ...(attributes === undefined ? {} : { attributes }) });
  } catch (error) {
    if (isKvaultError(error, "CONTEXT_NOT_FOUND", "CACHE_CORRUPT", "INCOMPATIBLE_FORMAT")) return undefined;
    throw error;
  }
}

function recordOf({ manifest, attributes = firstAttributes(manifest) }: StoredRecord): ContextRecord {
  const report = reportOf(manifest);
  return {
    id: manifest.contextId,
    tenant: manifest.tenant ?? DEFAULT_TENANT,
    digest: manifest.digest,
    model: manifest.model.name,
    spec: manifest.identity.spec,
    ...attributes,
    buildId: "",
    state: { type: attributes.purgeTimeMs === 0 ? "active" : "deleted", report },
  };
}

/** The report of a committed record. */
export function reportOf({ report, layers, prefixTokens, contextTokens }: ContextManifest): CompressionReport {
  return create(CompressionReportSchema, {
    ...report,
    resumedTokens: report.resumedTokens ?? 0,
    contextTokens,
    prefixTokens,
    keptPairs: BigInt(report.keptPairs),
    totalPairs: BigInt(report.totalPairs),
    rawBytesF16: BigInt(report.rawBytesF16),
    storedBytes: BigInt(report.storedBytes),
    layers: layers.map((layer) => ({
      keptPerHead: [...layer.headLengths],
      storedBytes: BigInt(layer.parts.reduce((sum, part) => sum + part.bytes, 0)),
    })),
  });
}
