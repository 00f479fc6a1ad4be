/**
 * Takes away what a deleted tenant leaves: its contexts one by one, then the key that sealed them.
 * Its tokens are void as soon as the access file says so. Every step is idempotent: a gateway that
 * dies in the middle, or another one at the same time, does no harm, and the next look goes on.
 *
 * @module
 */
import { type BlobStore, shredTenantKey } from "@kvault/kvstore";
import type { RpcLogger } from "@kvault/rpc";
import type { ContextCatalogue, ContextState } from "../catalogue/context-catalogue.ts";
import type { Remover } from "../catalogue/remover.ts";

const PAGE = 100;
/** All that have, or may have, something in the store; the expired are swept anyway. */
const STATES: ReadonlySet<ContextState["type"]> = new Set(["creating", "active", "failed", "deleting", "deleted"]);

export interface TenantRemoverDeps {
  readonly catalogue: Pick<ContextCatalogue, "list">;
  readonly remover: Pick<Remover, "remove">;
  readonly store: BlobStore;
  readonly log: RpcLogger;
  deletedTenants(): readonly string[];
}

export class TenantRemover {
  readonly #deps: TenantRemoverDeps;
  readonly #gone = new Set<string>();
  #looking: Promise<void> | undefined;

  constructor(deps: TenantRemoverDeps) {
    this.#deps = deps;
  }

  /** Removes what is left of tenants that were deleted since. Never rejects; joins a look under way. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    for (const tenant of this.#deps.deletedTenants()) {
      if (this.#gone.has(tenant)) continue;
      try {
        await this.#remove(tenant);
        this.#gone.add(tenant);
      } catch (error) {
        this.#deps.log.warn({ tenant, err: error }, "deleted tenant not cleared away yet");
      }
    }
  }

  async #remove(tenant: string): Promise<void> {
    const { catalogue, remover, store, log } = this.#deps;
    // The key first: whatever comes after, and whatever fails, its bytes cannot be read any more.
    await shredTenantKey(store, tenant);
    let contexts = 0;
    for (;;) {
      const page = await catalogue.list({ limit: PAGE, tenant, states: STATES });
      if (page.length === 0) break;
      await Promise.all(page.map(({ id }) => remover.remove(id)));
      contexts += page.length;
    }
    log.info({ tenant, contexts }, "tenant deleted");
  }
}
