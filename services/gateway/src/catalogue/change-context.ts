/**
 * A change of what may change of a context: decided on what is there, written to the store, then
 * told to the catalogue.
 *
 * The store decides: a revision is created only if nobody else has created it. A gateway that dies
 * between the two writes leaves a change that was not acknowledged; whoever changes the context
 * next, or would take it away for its time, finds it and tells the catalogue first.
 *
 * @module
 */
import { isKvaultError, KvaultError } from "@kvault/core";
import { type BlobStore, type ContextAttributes, putAttributes, readAttributes } from "@kvault/kvstore";
import { attributesOf, type ContextRecord } from "./context-catalogue.ts";
import { contextNotFound } from "./find-context.ts";
import type { TenantCatalogue } from "./tenant-catalogue.ts";

/** Tries of one change against others' changes of the same context. */
const MAX_TRIES = 20;

export interface ChangeDeps {
  readonly catalogue: Pick<TenantCatalogue, "get" | "amend">;
  readonly store: BlobStore;
}

/** What a change may say; the rest stays. */
export type ContextEdit = Partial<Omit<ContextAttributes, "revision" | "createTimeMs" | "updateTimeMs">>;

/**
 * The context as changed. `edit` sees it as it is and may be called again; it throws to refuse, and
 * returns nothing when nothing is to be done. CONTEXT_NOT_FOUND, NO_CAPACITY.
 */
export async function changeContext(
  { catalogue, store }: ChangeDeps,
  id: string,
  edit: (record: ContextRecord) => ContextEdit | undefined,
): Promise<ContextRecord> {
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const record = await catalogue.get(id);
    if (record === undefined) throw contextNotFound(id);
    const edited = edit(record);
    if (edited === undefined) return record;
    const before = attributesOf(record);
    const attributes = { ...before, ...edited, revision: before.revision + 1, updateTimeMs: Date.now() };
    try {
      await putAttributes(store, id, attributes);
    } catch (error) {
      if (!isKvaultError(error, "STORE_EXISTS")) throw error;
      const stored = await readAttributes(store, id, record.createTimeMs);
      if (stored !== undefined) await catalogue.amend(record, stored);
      continue;
    }
    const changed = await catalogue.amend(record, attributes);
    if (changed !== undefined) return changed;
  }
  throw new KvaultError("NO_CAPACITY", `Cannot change context "${id}": others changed it ${MAX_TRIES} times meanwhile`, {
    details: { contextId: id },
  });
}
