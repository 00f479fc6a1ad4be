/**
 * A registry of the workers in this process.
 *
 * @module
 */
import { Beating } from "./beating.ts";
import {
  compareWorkers,
  completeRegistryOptions,
  mayReplace,
  type Registration,
  type RegistryOptions,
  type WorkerInfo,
  type WorkerLoad,
  type WorkerRegistry,
} from "./worker-registry.ts";

export class MemoryRegistry implements WorkerRegistry {
  readonly #options: Required<RegistryOptions>;
  readonly #workers = new Map<string, { readonly info: WorkerInfo; readonly endMs: number }>();
  readonly #registrations = new Set<Registration>();

  constructor(options: RegistryOptions = {}) {
    this.#options = completeRegistryOptions(options);
  }

  async register(worker: Omit<WorkerInfo, keyof WorkerLoad>, load: () => WorkerLoad): Promise<Registration> {
    const key = `${worker.role} ${worker.address}`;
    const send = async (): Promise<void> => {
      const info = { ...worker, ...load() };
      const found = this.#workers.get(key);
      if (found !== undefined && !mayReplace(found.info, info)) return;
      this.#workers.set(key, { info, endMs: performance.now() + this.#options.leaseMs });
    };
    const signOff = async (): Promise<void> => {
      if (this.#workers.get(key)?.info.incarnation === worker.incarnation) this.#workers.delete(key);
    };
    const registration = new Beating(this.#options.beatMs, send, signOff);
    this.#registrations.add(registration);
    await registration.beat();
    return registration;
  }

  async list(): Promise<readonly WorkerInfo[]> {
    const nowMs = performance.now();
    for (const [key, { endMs }] of this.#workers) if (endMs <= nowMs) this.#workers.delete(key);
    return [...this.#workers.values()].map(({ info }) => info).sort(compareWorkers);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#registrations].map((registration) => registration.close()));
  }
}
