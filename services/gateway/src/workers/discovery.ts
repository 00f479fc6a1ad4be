/**
 * Which workers there are: those that the configuration names, and those that the registry knows.
 *
 * The registry says who is there; how each one is doing its own Status says. While the registry
 * does not answer, the workers it named last stay: a worker that is gone is found out by its
 * beats, and one that is new can wait.
 *
 * In Kubernetes a registered decode worker also has to be ready there, when that is known. If none
 * of them is, all are tried: a cluster that loses its probes at once should not lose its answers.
 *
 * @module
 */
import type { WorkerRegistry, WorkerRole } from "@kvault/cluster";

const LOOK_MS = 1_000;

export interface DiscoveryOptions {
  readonly registry: WorkerRegistry;
  /** Workers that the configuration names. */
  readonly named: Readonly<Record<WorkerRole, readonly string[]>>;
  readonly pools: Readonly<Record<WorkerRole, { setAddresses(addresses: readonly string[]): Promise<void> }>>;
  /** `host:port` of the decode workers that are ready in Kubernetes; undefined when that is not known. */
  readonly readyDecode?: () => ReadonlySet<string> | undefined;
  /** Told of a look that failed. */
  readonly onError: (error: unknown) => void;
}

export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.look(), LOOK_MS);
    this.#timer.unref();
  }

  /** Brings the pools up to date. Never rejects; joins a look under way. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Resolves when no look is under way. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { registry, named, pools, readyDecode, onError } = this.#options;
    try {
      const workers = await registry.list();
      const registered = (role: WorkerRole): readonly string[] =>
        workers.filter((worker) => worker.role === role).map(({ address }) => address);
      await Promise.all([
        pools.prefill.setAddresses([...named.prefill, ...registered("prefill")]),
        pools.decode.setAddresses([...named.decode, ...readyOnes(registered("decode"), readyDecode?.())]),
      ]);
    } catch (error) {
      onError(error);
    }
  }
}

function readyOnes(registered: readonly string[], ready: ReadonlySet<string> | undefined): readonly string[] {
  const both = registered.filter((address) => ready?.has(address) === true);
  return both.length > 0 ? both : registered;
}
