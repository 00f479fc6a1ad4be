/**
 * The contract of leases: of many who want to do one thing, one may, for as long as it shows that
 * it is alive.
 *
 * A lease has a **fencing token**, greater than every earlier one of its name. A holder that slept
 * past its lease may still believe in it, so it must {@link Lease.check} before it makes anything
 * visible; what it changes must refuse an older token or be a conditional create.
 *
 * A **read lease** has many holders. Who wants to take away what they read waits until
 * {@link Leases.readers} is 0, or until the leases of the dead ran out.
 *
 * @module
 */

export interface Lease {
  readonly name: string;
  /** Greater than the token of every earlier lease of this name. */
  readonly token: number;
  /** Aborts (ENGINE_DIED, retryable) when the lease was lost: renewal failed for its whole length, or somebody else has it. */
  readonly lost: AbortSignal;
  /** Rejects with ENGINE_DIED when somebody else may hold the lease by now, UNREACHABLE when nobody can tell. */
  check(): Promise<void>;
  /** Lets go, so that the next one need not wait. Idempotent; never rejects. */
  release(): Promise<void>;
}

export interface Leases {
  /** The lease, renewed until it is released; undefined while somebody else holds it. */
  acquire(name: string, options: { readonly ttlMs: number }): Promise<Lease | undefined>;
  /** Holds a read lease for at most `ttlMs`; the function it returns lets go. */
  read(name: string, options: { readonly ttlMs: number }): Promise<() => Promise<void>>;
  /** Read leases of `name` that have not run out. */
  readers(name: string): Promise<number>;
  /** Lets go of everything. Idempotent. */
  close(): Promise<void>;
}

/** Renewals within one length of a lease. */
export const RENEWALS_PER_LEASE = 3;
