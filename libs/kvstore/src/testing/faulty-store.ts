/**
 * A store that fails as told: for seeing what code above it does on a full disk, a torn value,
 * a flipped bit or a slow answer. Faults are counted per operation, so a test says "the third
 * put" and means it.
 *
 * @module
 */
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "../blob-store.ts";
import { checkedStore } from "../checked-store.ts";

export type StoreOperation = "put" | "get" | "stat" | "delete";

/** One planned fault. `call` counts calls of `on` from 1; without it every call of `on` is meant. */
export type StoreFault = {
  readonly on: StoreOperation;
  readonly call?: number;
  /** Only keys that end so; calls of other keys do not count. */
  readonly keyEnd?: string;
} & (
  | { readonly effect: "fail"; readonly error: Error }
  /** The value put or got loses all beyond `bytes`, silently. */
  | { readonly effect: "truncate"; readonly bytes: number }
  /** Bit `bit` of the value put or got is another, silently. */
  | { readonly effect: "flip-bit"; readonly bit: number }
  /** The call goes through once `until` resolves. */
  | { readonly effect: "delay"; readonly until: Promise<void> }
);

/** `store` with the faults of `plan`; closing it closes `store`. */
export function faultyStore(store: BlobStore, plan: readonly StoreFault[]): BlobStore {
  return checkedStore(new FaultyStore(store, plan));
}

class FaultyStore implements BlobStore {
  readonly #store: BlobStore;
  readonly #faults: { readonly fault: StoreFault; calls: number }[];

  constructor(store: BlobStore, plan: readonly StoreFault[]) {
    this.#store = store;
    this.#faults = plan.map((fault) => ({ fault, calls: 0 }));
  }

  get abilities(): StoreAbilities {
    return this.#store.abilities;
  }

  async put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    const faults = await this.#meet("put", key);
    await this.#store.put(key, damage(bytes, faults), options);
  }

  async get(key: string, options?: CallOptions): Promise<Uint8Array> {
    const faults = await this.#meet("get", key);
    return damage(await this.#store.get(key, options), faults);
  }

  async stat(key: string, options?: CallOptions): Promise<BlobStat | undefined> {
    await this.#meet("stat", key);
    return this.#store.stat(key, options);
  }

  async delete(key: string, options?: CallOptions): Promise<void> {
    await this.#meet("delete", key);
    await this.#store.delete(key, options);
  }

  list(prefix: string, options?: CallOptions): AsyncIterable<string> {
    return this.#store.list(prefix, options);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** Faults due for this call; fails or waits when one says so. */
  async #meet(on: StoreOperation, key: string): Promise<StoreFault[]> {
    const due: StoreFault[] = [];
    for (const planned of this.#faults) {
      const { fault } = planned;
      if (fault.on !== on || !key.endsWith(fault.keyEnd ?? "")) continue;
      planned.calls++;
      if (fault.call === undefined || fault.call === planned.calls) due.push(fault);
    }
    for (const fault of due) {
      if (fault.effect === "fail") throw fault.error;
      if (fault.effect === "delay") await fault.until;
    }
    return due;
  }
}

function damage(bytes: Uint8Array, faults: readonly StoreFault[]): Uint8Array {
  let damaged = bytes;
  for (const fault of faults) {
    if (fault.effect === "truncate") damaged = damaged.slice(0, fault.bytes);
    if (fault.effect === "flip-bit") {
      damaged = Uint8Array.from(damaged);
      const at = fault.bit >> 3;
      if (at >= damaged.byteLength) throw new RangeError(`Cannot flip bit ${fault.bit} of ${damaged.byteLength} bytes`);
      damaged[at] = (damaged[at] as number) ^ (1 << (fault.bit & 7));
    }
  }
  return damaged;
}
