/**
 * Who runs next: a pure decision over waiting work, no clock, no sessions.
 *
 * One engine runs one graph at a time. Three kinds of work want it:
 *
 * - **decode**: sequences of one group (a resident context) that need their next token, all
 *   in one run of T = 1;
 * - **read**: sequences of one group that still read their question, in chunks of at most
 *   {@link BatcherLimits.readTokens} tokens; several joiners share a run when their lengths
 *   are within a factor of two (the run pads them to one length) or all short;
 * - **prefill**: a chunk of a text that is read for one query alone.
 *
 * A read or a prefill takes as long as tens of decode runs, so each *owes* the decoders that
 * waited for it as much time as it took, and its kind does not run again before that is paid.
 * (Reads pay towards prefills too, since someone waits for their first token.) So decoders
 * keep about half of the machine, a lone newcomer is served at once, and nothing starves.
 * Groups take turns, and so do the members of a group.
 *
 * @module
 */

export interface BatcherLimits {
  /** Tokens of one question in one run. */
  readonly readTokens: number;
  /** Rows of a read run, padding included: members × longest. */
  readonly readRows: number;
  /** Sequences of a decode run. */
  readonly decodeRows: number;
}

/** A chunk is short enough that decoders wait well under a second on two cores. */
export const BATCHER_LIMITS: BatcherLimits = Object.freeze({ readTokens: 256, readRows: 512, decodeRows: 64 });

/** Padding to this many tokens costs little beside reading the weights once. */
const SHORT_TOKENS = 32;

export interface ReadPart<Member> {
  readonly member: Member;
  /** How many of its unread tokens this run reads. */
  readonly tokens: number;
}

/** What runs next. */
export type Run<Group, Member> =
  | { readonly kind: "read"; readonly group: Group; readonly parts: readonly ReadPart<Member>[] }
  | { readonly kind: "decode"; readonly group: Group; readonly members: readonly Member[] }
  | { readonly kind: "prefill"; readonly member: Member };

interface Reader<Member> {
  readonly member: Member;
  readonly unread: number;
}

export class Batcher<Group, Member> {
  readonly #limits: BatcherLimits;
  /** Insertion order is whose turn it is; whoever ran goes to the end. */
  readonly #readers = new Map<Group, Reader<Member>[]>();
  readonly #decoders = new Map<Group, Member[]>();
  readonly #prefills: Member[] = [];
  /** Milliseconds each kind owes to those that waited for it. */
  readonly #owedMs = { read: 0, prefill: 0 };
  #lastLong: "read" | "prefill" = "prefill";

  constructor(limits: BatcherLimits = BATCHER_LIMITS) {
    this.#limits = limits;
  }

  /** A sequence with `tokens` (at least one) to read before it decodes. */
  join(group: Group, member: Member, tokens: number): void {
    if (!(tokens >= 1)) throw new RangeError(`Cannot join a batch with ${tokens} tokens: at least 1 is needed`);
    append(this.#readers, group, { member, unread: tokens });
  }

  /** A member that wants one run of its own; it joins again for the next one. */
  joinPrefill(member: Member): void {
    this.#prefills.push(member);
  }

  /** Forgets a member wherever it waits; unknown ones are ignored. */
  leave(member: Member): void {
    for (const [group, readers] of this.#readers) keepOnly(this.#readers, group, readers, (reader) => reader.member !== member);
    for (const [group, members] of this.#decoders) keepOnly(this.#decoders, group, members, (other) => other !== member);
    const at = this.#prefills.indexOf(member);
    if (at >= 0) this.#prefills.splice(at, 1);
  }

  /** The next run, or undefined when nothing waits. Report it with {@link ran} before asking again. */
  next(): Run<Group, Member> | undefined {
    const decoding = this.#decoders.size > 0;
    const mayRead = this.#readers.size > 0 && !(decoding && this.#owedMs.read > 0);
    const someoneWaits = decoding || this.#readers.size > 0;
    const mayPrefill = this.#prefills.length > 0 && !(someoneWaits && this.#owedMs.prefill > 0);
    if (mayRead && !(mayPrefill && this.#lastLong === "read")) return this.#nextRead();
    if (mayPrefill) return { kind: "prefill", member: this.#prefills[0] };
    return decoding ? this.#nextDecode() : undefined;
  }

  /** Accounts for a run: who read moves on, who waited is owed `durationMs`. */
  ran(run: Run<Group, Member>, durationMs: number): void {
    const waiting = { decoders: this.#decoders.size > 0, readers: this.#readers.size > 0 };
    if (run.kind === "decode") {
      this.#pay("read", durationMs);
      this.#pay("prefill", durationMs);
      this.#rotateDecoders(run.group, run.members);
    } else if (run.kind === "read") {
      this.#lastLong = "read";
      this.#pay("prefill", durationMs);
      this.#owedMs.read = waiting.decoders ? this.#owedMs.read + durationMs : 0;
      this.#advanceReaders(run.group, run.parts);
    } else {
      this.#lastLong = "prefill";
      this.#owedMs.prefill = waiting.decoders || waiting.readers ? this.#owedMs.prefill + durationMs : 0;
      const at = this.#prefills.indexOf(run.member);
      if (at >= 0) this.#prefills.splice(at, 1);
    }
  }

  #pay(kind: "read" | "prefill", durationMs: number): void {
    this.#owedMs[kind] = Math.max(0, this.#owedMs[kind] - durationMs);
  }

  #nextRead(): Run<Group, Member> {
    const { readTokens, readRows } = this.#limits;
    const [group, readers] = first(this.#readers);
    const parts: ReadPart<Member>[] = [];
    let shortest = Number.POSITIVE_INFINITY;
    let longest = 0;
    for (const { member, unread } of readers) {
      const tokens = Math.min(unread, readTokens);
      const least = Math.min(shortest, tokens);
      const most = Math.max(longest, tokens);
      const alike = most <= Math.max(2 * least, SHORT_TOKENS);
      if (parts.length > 0 && !(alike && (parts.length + 1) * most <= readRows)) continue;
      parts.push({ member, tokens });
      shortest = least;
      longest = most;
    }
    return { kind: "read", group, parts };
  }

  #nextDecode(): Run<Group, Member> {
    const [group, members] = first(this.#decoders);
    return { kind: "decode", group, members: members.slice(0, this.#limits.decodeRows) };
  }

  #advanceReaders(group: Group, parts: readonly ReadPart<Member>[]): void {
    const read = new Map(parts.map((part) => [part.member, part.tokens]));
    const readers = this.#readers.get(group) ?? [];
    this.#readers.delete(group);
    const unfinished: Reader<Member>[] = [];
    for (const reader of readers) {
      const tokens = read.get(reader.member);
      if (tokens === undefined) append(this.#readers, group, reader);
      else if (tokens < reader.unread) unfinished.push({ member: reader.member, unread: reader.unread - tokens });
      else append(this.#decoders, group, reader.member);
    }
    for (const reader of unfinished) append(this.#readers, group, reader);
  }

  #rotateDecoders(group: Group, ran: readonly Member[]): void {
    const members = this.#decoders.get(group);
    if (members === undefined) return;
    const done = new Set(ran);
    this.#decoders.delete(group);
    this.#decoders.set(group, [
      ...members.filter((member) => !done.has(member)),
      ...members.filter((member) => done.has(member)),
    ]);
  }
}

function append<Group, Item>(lists: Map<Group, Item[]>, group: Group, item: Item): void {
  const list = lists.get(group);
  if (list === undefined) lists.set(group, [item]);
  else list.push(item);
}

/** Keeps a group's place in turn; drops it when nobody is left. */
function keepOnly<Group, Item>(lists: Map<Group, Item[]>, group: Group, items: Item[], keep: (item: Item) => boolean): void {
  const kept = items.filter(keep);
  if (kept.length === 0) lists.delete(group);
  else if (kept.length < items.length) lists.set(group, kept);
}

function first<Group, Item>(lists: Map<Group, Item[]>): [Group, Item[]] {
  const entry = lists.entries().next();
  if (entry.done) throw new RangeError("Cannot choose a group: none waits");
  return entry.value;
}
