/**
 * Tenants' keys as an engine uses them: unwrapped, and kept for a short while so that a load does
 * not ask the store for each part. A deleted tenant's key is forgotten within that while.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { BlobStore, CallOptions } from "../blob-store.ts";
import { type ContextManifest, ENCRYPTION } from "../manifest.ts";
import { type MasterKeys, readMasterKeys } from "./master-keys.ts";
import { isSealed, openPart, type PartPlace, sealedKeyId, sealPart } from "./sealed-part.ts";
import { findTenantKeys, obtainTenantKey, type TenantKeys } from "./tenant-keys.ts";

/** Seals a part's bytes. */
export type PartSealer = (bytes: Uint8Array, place: PartPlace) => Uint8Array;
/** Opens them again. */
export type PartOpener = (bytes: Uint8Array, place: PartPlace) => Promise<Uint8Array>;

const KEEP_MS = 10_000;

/** Where the request of a build belongs that waits in the store: no part of a record is there. */
const REQUEST_PLACE = { layer: -1, part: 0 } as const;

interface Kept {
  readonly keys: TenantKeys;
  readonly untilMs: number;
}

export class KeyRing {
  readonly #store: BlobStore;
  readonly #masters: MasterKeys | undefined;
  readonly #nowMs: () => number;
  /** Of tenants used within the last while; others are dropped when a key is added. */
  readonly #kept = new Map<string, Kept>();

  /** Without master keys nothing is sealed, and what is sealed does not open. */
  constructor(store: BlobStore, masters: MasterKeys | undefined, nowMs: () => number = Date.now) {
    this.#store = store;
    this.#masters = masters;
    this.#nowMs = nowMs;
  }

  /** Seals parts for `tenant`, whose key is made when there is none; undefined when parts are not sealed here. */
  async sealer(tenant: string, call: CallOptions = {}): Promise<PartSealer | undefined> {
    const masters = this.#masters;
    if (masters === undefined) return undefined;
    // Asked of the store each time: a build is long, and must not be sealed for a tenant that is gone.
    const key = await obtainTenantKey(this.#store, tenant, masters, call);
    return (bytes, place) => sealPart(bytes, key, place);
  }

  /** Opens the parts of a record; leaves those of one that is not encrypted as they are. STORE_FORBIDDEN when its key cannot be had. */
  async opener(
    { contextId, tenant, encryption }: Pick<ContextManifest, "contextId" | "tenant" | "encryption">,
    call: CallOptions = {},
  ): Promise<PartOpener> {
    if (encryption === undefined) return async (bytes) => bytes;
    const masters = this.#masters;
    if (masters === undefined || tenant === undefined) {
      throw new KvaultError(
        "STORE_FORBIDDEN",
        `Cannot read context "${contextId}": it is encrypted, and there is no master key here`,
        {
          details: { contextId },
        },
      );
    }
    const find = async (): Promise<TenantKeys> => this.#keep(tenant, await findTenantKeys(this.#store, tenant, masters, call));
    const kept = this.#kept.get(tenant);
    let keys = kept !== undefined && kept.untilMs > this.#nowMs() ? kept.keys : await find();
    return async (bytes, place) => {
      const id = sealedKeyId(bytes) ?? "";
      // Sealed with a key that is newer than what was kept.
      if (id !== "" && !keys.byId.has(id)) keys = await find();
      return openPart(bytes, keys.byId.get(id) ?? keys.current, place);
    };
  }

  /** The request of a build as it waits in the store: sealed for its tenant where parts are. */
  async sealRequest(bytes: Uint8Array, tenant: string, contextId: string, call: CallOptions = {}): Promise<Uint8Array> {
    const sealed = await this.sealer(tenant, call);
    return sealed?.(bytes, { contextId, ...REQUEST_PLACE }) ?? bytes;
  }

  /** What {@link sealRequest} was given. STORE_FORBIDDEN when it is sealed and its key cannot be had. */
  async openRequest(bytes: Uint8Array, tenant: string, contextId: string, call: CallOptions = {}): Promise<Uint8Array> {
    if (!isSealed(bytes)) return bytes;
    const open = await this.opener({ contextId, tenant, encryption: ENCRYPTION }, call);
    return open(bytes, { contextId, ...REQUEST_PLACE });
  }

  #keep(tenant: string, keys: TenantKeys): TenantKeys {
    const nowMs = this.#nowMs();
    for (const [other, { untilMs }] of this.#kept) if (untilMs <= nowMs) this.#kept.delete(other);
    this.#kept.set(tenant, { keys, untilMs: nowMs + KEEP_MS });
    return keys;
  }
}

/** A key ring over `store` with the master keys of a file; without one, for records that are not encrypted. */
export async function openKeyRing(store: BlobStore, masterKeyFile: string | undefined): Promise<KeyRing> {
  return new KeyRing(store, masterKeyFile === undefined ? undefined : await readMasterKeys(masterKeyFile));
}
