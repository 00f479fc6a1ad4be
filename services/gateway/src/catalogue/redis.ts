/**
 * The catalogue in Redis: shared by several gateways, kept through their restarts.
 *
 * Every change is made on the record as it was read and refused when somebody changed it
 * meanwhile; then it is tried again on what is there now. Watchers of this gateway are told of its
 * own changes at once and of others' by the rows' news; they look for themselves every few
 * seconds too, so lost news cost seconds.
 *
 * While Redis does not answer, `get` gives an ACTIVE record that it saw before: its bytes are in
 * the store, and a worker that finds them gone says so. Everything else is UNREACHABLE.
 *
 * A row that cannot be read is mended from the record's manifest by whoever meets it; when there is
 * none the row goes: the context was never ACTIVE, and can be created again.
 *
 * @module
 */
import { ClusterRedis, type RowPlace, type SharedRow, SharedRows } from "@kvault/cluster";
import { isKvaultError, KvaultError, Latest } from "@kvault/core";
import type { ContextAttributes } from "@kvault/kvstore";
import {
  amended,
  type BeginResult,
  type ContextCatalogue,
  type ContextRecord,
  type ContextState,
  dueTimeMs,
  isListed,
  type ListOptions,
  mayChange,
  mayStartOver,
} from "./context-catalogue.ts";
import { readRecord, writeRecord } from "./record-text.ts";

/** Tries of one change against others' changes of the same record. */
const MAX_TRIES = 100;
/** Rows read at a time to fill a page, some of which are not listed. */
const MIN_PAGE = 50;
const LOOK_AGAIN_MS = 3_000;
/** Records remembered for a Redis that is away. */
const MAX_REMEMBERED = 10_000;

interface Watched {
  readonly watchers: Set<Latest<ContextRecord>>;
  /** Of what the watchers were told last. */
  version: number;
  looking: boolean;
  again: boolean;
}

type Heal = (id: string) => Promise<ContextRecord | undefined>;

interface FoundRecord {
  readonly version: number;
  readonly record: ContextRecord;
}

export class RedisCatalogue implements ContextCatalogue {
  readonly #heal: Heal;
  readonly #redis: ClusterRedis;
  readonly #rows: SharedRows;
  readonly #watched = new Map<string, Watched>();
  /** Least recently used first. */
  readonly #remembered = new Map<string, ContextRecord>();
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  /** `heal` finds in the store what the row of a context should say; undefined when the store has no such record. */
  constructor(url: string, heal: Heal = async () => undefined) {
    this.#heal = heal;
    this.#redis = new ClusterRedis(url);
    this.#rows = new SharedRows(this.#redis, "contexts");
    this.#rows.listen((id) => (id === undefined ? this.#lookAtAll() : void this.#look(id)));
    this.#timer = setInterval(() => this.#lookAtAll(), LOOK_AGAIN_MS);
    this.#timer.unref();
  }

  async begin(record: ContextRecord): Promise<BeginResult> {
    let startedOver = false;
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      const found = await this.#find(record.id);
      // Ours: an answer was lost, and the try before this one did it.
      if (found?.record.buildId === record.buildId && record.buildId !== "" && attempt > 0) {
        return { record: found.record, created: true, startedOver };
      }
      if (found !== undefined && !mayStartOver(found.record.state)) {
        return { record: found.record, created: false, startedOver: false };
      }
      startedOver = found !== undefined;
      if (await this.#put(record, found?.version ?? 0)) return { record, created: true, startedOver };
    }
    throw contended(record.id);
  }

  async get(id: string): Promise<ContextRecord | undefined> {
    const remembered = this.#remembered.get(id);
    if (remembered !== undefined && !this.#redis.isUp && !this.#closed) return remembered;
    try {
      const record = (await this.#find(id))?.record;
      this.#remember(id, record);
      return record;
    } catch (error) {
      if (remembered === undefined || !isKvaultError(error, "UNREACHABLE")) throw error;
      return remembered;
    }
  }

  async list({ limit, after, ...which }: ListOptions): Promise<readonly ContextRecord[]> {
    const { tenant } = which;
    const records: ContextRecord[] = [];
    const rowLimit = Math.max(limit, MIN_PAGE);
    let from = after;
    for (;;) {
      const rows = await this.#rows.page({
        limit: rowLimit,
        ...(from === undefined ? {} : { after: { order: from.createTimeMs, id: from.id } }),
        ...(tenant === undefined ? {} : { group: tenant }),
      });
      for (const row of rows) {
        const record = (await this.#read(row.id, row))?.record;
        if (record === undefined) continue;
        from = record;
        if (isListed(record, which)) records.push(record);
        if (records.length === limit) return records;
      }
      if (rows.length < rowLimit) return records;
    }
  }

  async change(
    { id, buildId }: Pick<ContextRecord, "id" | "buildId">,
    state: ContextState,
    expected?: { readonly revision: number },
  ): Promise<boolean> {
    const changed = await this.#update(id, buildId, (record) => {
      if (expected !== undefined && expected.revision !== record.revision) return undefined;
      return mayChange(record.state, state) ? { ...record, state } : undefined;
    });
    return changed !== undefined;
  }

  amend(
    { id, buildId }: Pick<ContextRecord, "id" | "buildId">,
    attributes: ContextAttributes,
  ): Promise<ContextRecord | undefined> {
    return this.#update(id, buildId, (record) => amended(record, attributes));
  }

  async remove({ id, buildId }: Pick<ContextRecord, "id" | "buildId">): Promise<boolean> {
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      const found = await this.#find(id);
      if (found === undefined) return attempt > 0;
      if (found.record.buildId !== buildId) return false;
      if (await this.#rows.remove(id, placeOf(found.record), found.version)) {
        this.#remembered.delete(id);
        for (const watcher of this.#watched.get(id)?.watchers ?? []) watcher.end();
        return true;
      }
    }
    throw contended(id);
  }

  async *watch(id: string, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<ContextRecord> {
    if (this.#closed) return;
    const watcher = new Latest<ContextRecord>();
    const watched = this.#watched.get(id) ?? { watchers: new Set(), version: 0, looking: false, again: false };
    // Before the first look, so that no change falls between it and the news.
    this.#watched.set(id, watched);
    watched.watchers.add(watcher);
    try {
      const found = await this.#find(id);
      if (found === undefined) return;
      // What the others were told meanwhile may be newer; it is in the box then.
      if (found.version >= watched.version) {
        watched.version = found.version;
        watcher.put(found.record);
      }
      yield* watcher.read(options.signal);
    } finally {
      watched.watchers.delete(watcher);
      if (watched.watchers.size === 0) this.#watched.delete(id);
    }
  }

  async due(nowMs: number): Promise<readonly ContextRecord[]> {
    // Read after its place was: a build that ended in between is not due any more.
    return (await this.#dueRows(nowMs)).filter((record) => {
      const { due } = placeOf(record);
      return record.state.type !== "creating" && due !== undefined && due <= nowMs;
    });
  }

  async building(): Promise<readonly ContextRecord[]> {
    return (await this.#dueRows(0)).filter(({ state }) => state.type === "creating");
  }

  isWhole(): Promise<boolean> {
    return this.#rows.isWhole();
  }

  markWhole(): Promise<void> {
    return this.#rows.markWhole();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#rows.close();
    for (const { watchers } of this.#watched.values()) for (const watcher of watchers) watcher.end();
    this.#redis.close();
  }

  /** Changes a record on what is there; undefined when `edit` gives nothing or the start is another one. */
  async #update(
    id: string,
    buildId: string,
    edit: (record: ContextRecord) => ContextRecord | undefined,
  ): Promise<ContextRecord | undefined> {
    let tried: string | undefined;
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      const found = await this.#find(id);
      if (found === undefined || found.record.buildId !== buildId) return undefined;
      // An answer was lost, and the try before this one did it.
      if (tried !== undefined && writeRecord(found.record) === tried) return found.record;
      const changed = edit(found.record);
      if (changed === undefined) return undefined;
      tried = writeRecord(changed);
      if (await this.#put(changed, found.version)) return changed;
    }
    throw contended(id);
  }

  async #find(id: string): Promise<FoundRecord | undefined> {
    const row: SharedRow | undefined = await this.#rows.get(id);
    return row === undefined ? undefined : this.#read(id, row);
  }

  /** What a row says, once it says anything. */
  async #read(id: string, row: SharedRow): Promise<FoundRecord | undefined> {
    try {
      return { version: row.version, record: readRecord(id, row.value) };
    } catch (error) {
      if (!isKvaultError(error, "CACHE_CORRUPT")) throw error;
    }
    const record = await this.#heal(id);
    await this.#rows.mend(id, row, record && { value: writeRecord(record), place: placeOf(record) });
    return this.#find(id);
  }

  async #put(record: ContextRecord, expected: number): Promise<boolean> {
    const version = await this.#rows.put(record.id, writeRecord(record), placeOf(record), expected);
    if (version === 0) return false;
    this.#remember(record.id, record);
    this.#tell(record.id, version, record);
    return true;
  }

  async #dueRows(nowMs: number): Promise<readonly ContextRecord[]> {
    const found = await Promise.all((await this.#rows.due(nowMs)).map((row) => this.#read(row.id, row)));
    return found.flatMap((each) => (each === undefined ? [] : [each.record]));
  }

  #tell(id: string, version: number, record: ContextRecord): void {
    const watched = this.#watched.get(id);
    if (watched === undefined || version <= watched.version) return;
    watched.version = version;
    for (const watcher of watched.watchers) watcher.put(record);
  }

  #lookAtAll(): void {
    for (const id of this.#watched.keys()) void this.#look(id);
  }

  /** Tells the watchers of `id` what is there now. One look at a time; news that come meanwhile make another. */
  async #look(id: string): Promise<void> {
    const watched = this.#watched.get(id);
    if (watched === undefined) return;
    watched.again = true;
    if (watched.looking) return;
    watched.looking = true;
    try {
      while (watched.again && !this.#closed) {
        watched.again = false;
        const found = await this.#find(id);
        if (found === undefined) for (const watcher of watched.watchers) watcher.end();
        else this.#tell(id, found.version, found.record);
      }
    } catch {
      // Redis is away: the next look tells.
    } finally {
      watched.looking = false;
    }
  }

  #remember(id: string, record: ContextRecord | undefined): void {
    this.#remembered.delete(id);
    if (record?.state.type !== "active") return;
    this.#remembered.set(id, record);
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED) break;
      this.#remembered.delete(oldest);
    }
  }
}

/** Builds and deletions under way are due from their start, so that all can be found without reading every row. */
function placeOf(record: ContextRecord): RowPlace {
  const base = { group: record.tenant, order: record.createTimeMs };
  const due = record.state.type === "creating" ? 0 : dueTimeMs(record);
  return due === undefined ? base : { ...base, due };
}

function contended(id: string): KvaultError {
  return new KvaultError("NO_CAPACITY", `Cannot change context "${id}": others changed it ${MAX_TRIES} times meanwhile`, {
    details: { contextId: id },
  });
}
