/**
 * Which worker answers a query: rendezvous hashing with bounded load, where being resident
 * counts, and everything else is compared in seconds.
 *
 *   cost(w) = queries in flight · seconds per query                    what runs there already
 *           + (resident ? 0 : bytes ÷ load speed · (fits ? 1 : 2))     what loading takes, and
 *                                                                      reloading what it pushes out
 *
 * 1. Filter: a worker with no free place is no candidate (first filter, then compare: to choose
 *    and then find it full would refuse queries while others are free).
 * 2. Bound (consistent hashing with bounded loads, Mirrokni et al. 2018): a worker loaded
 *    {@link OVERLOAD} times the mean takes no query that another one can take. Load is the
 *    average over some seconds, as the worker itself publishes it, so all gateways see the same
 *    and a burst moves nothing. Below one query at a time nothing is overloaded.
 * 3. Among residents within the bound the cheapest. A context that is resident nowhere goes to
 *    its *home*: the first worker within the bound in rendezvous order.
 * 4. Residents keep a query as long as the home is not {@link STICK_SECONDS} quicker. When all
 *    of them are over the bound, they keep it once more, and the choice asks for a *replica* at
 *    the home: a hot context spreads before anybody waits for a load.
 *
 * Pure: the same view gives the same choice on every gateway.
 *
 * @module
 */
import { rank } from "./rendezvous.ts";

/** Load relative to the mean above which a worker is spared. A little below the 1.25 that is promised, for what is under way. */
const OVERLOAD = 1.15;
/** Queries at a time, on average, below which no worker counts as overloaded. */
const IDLE_LOAD = 1;
/** A load elsewhere must save this much before a resident is left. */
const STICK_SECONDS = 2;

/** One worker, as seen for one context. */
export interface Candidate {
  /** The same on every gateway. */
  readonly name: string;
  readonly resident: boolean;
  /** Queries now. */
  readonly inFlight: number;
  /** Most queries at the same time. */
  readonly maxInFlight: number;
  /** Queries at a time, averaged over the last seconds. */
  readonly load: number;
  readonly secondsPerQuery: number;
  readonly loadBytesPerSecond: number;
  /** Room for contexts. */
  readonly freeBytes: number;
}

export interface Choice<C extends Candidate> {
  readonly chosen: C;
  /** Where the context should be resident too. */
  readonly replicateTo: C | undefined;
}

/** `bytes`: what the context takes to load. Undefined when no candidate has a free place. */
export function chooseWorker<C extends Candidate>(
  contextId: string,
  bytes: number,
  candidates: readonly C[],
): Choice<C> | undefined {
  const ranked = rank(
    contextId,
    candidates.filter(({ inFlight, maxInFlight }) => inFlight < maxInFlight),
    ({ name }) => name,
  );
  if (ranked.length === 0) return undefined;
  const meanLoad = candidates.reduce((sum, { load }) => sum + load, 0) / candidates.length;
  const limit = Math.max(IDLE_LOAD, OVERLOAD * meanLoad);
  const within = ranked.filter(({ load }) => load < limit);
  const home = within[0] ?? cheapest(ranked, ({ load }) => load);
  const costOf = (candidate: C): number => costSeconds(candidate, bytes);

  const residents = ranked.filter(({ resident }) => resident);
  if (residents.length === 0) return { chosen: home, replicateTo: undefined };
  const spared = residents.filter(({ load }) => load < limit);
  const best = cheapest(spared.length > 0 ? spared : residents, costOf);
  if (home.resident) return { chosen: best, replicateTo: undefined };
  if (costOf(best) > costOf(home) + STICK_SECONDS) return { chosen: home, replicateTo: undefined };
  return { chosen: best, replicateTo: spared.length > 0 ? undefined : home };
}

function costSeconds({ resident, inFlight, secondsPerQuery, loadBytesPerSecond, freeBytes }: Candidate, bytes: number): number {
  const queueSeconds = inFlight * secondsPerQuery;
  if (resident) return queueSeconds;
  return queueSeconds + (bytes / loadBytesPerSecond) * (bytes <= freeBytes ? 1 : 2);
}

/** Of equal ones the first. `items` is not empty. */
function cheapest<T>(items: readonly T[], costOf: (item: T) => number): T {
  return items.reduce((best, item) => (costOf(item) < costOf(best) ? item : best));
}
