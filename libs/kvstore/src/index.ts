/**
 * Where compressed contexts live: blob stores, and records on top of them.
 *
 * @module
 */
export { type ContextAttributes, putAttributes, readAttributes } from "./attributes.ts";
export type { FilesystemStoreOptions } from "./backends/filesystem.ts";
export { openFilesystemStore } from "./backends/filesystem.ts";
export { openMemoryStore } from "./backends/memory.ts";
export type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "./blob-store.ts";
export { MAX_KEY_CHARS, MAX_VALUE_BYTES } from "./blob-store.ts";

export type { BuildRequestRef } from "./build-request.ts";
export { deleteBuildRequest, putBuildRequest, readBuildRequest } from "./build-request.ts";
export type { Tier } from "./cache-tier.ts";
export { checkedStore } from "./checked-store.ts";
export type { CircuitBreakerOptions, CircuitState } from "./circuit-breaker.ts";
export { circuitBreaker } from "./circuit-breaker.ts";
export type { GarbageReport } from "./collect-garbage.ts";
export { collectGarbage } from "./collect-garbage.ts";
export * from "./content-id.ts";
export { KeyRing, openKeyRing, type PartOpener } from "./encryption/key-ring.ts";
export { createMasterKeyLine, parseMasterKeys, readMasterKeys } from "./encryption/master-keys.ts";
export { type ResealReport, resealRecords } from "./encryption/reseal-records.ts";
export { openPart, type PartPlace, sealPart } from "./encryption/sealed-part.ts";
export { rewrapTenantKeys, rotateTenantKey, shredTenantKey } from "./encryption/tenant-keys.ts";
export * from "./identity.ts";
export type { StoreCall } from "./instrumented-store.ts";
export { instrumentedStore } from "./instrumented-store.ts";
export * from "./manifest.ts";
export * from "./open-store.ts";
export * from "./record.ts";
export { checkpointsPrefix, manifestKey, partKey } from "./record-layout.ts";
export * from "./record-writer.ts";
export { takeRequestId } from "./request-ids.ts";
export * from "./sweep.ts";
export type { TieredStoreOptions, TierHit } from "./tiered-store.ts";
export { openTieredStore } from "./tiered-store.ts";
