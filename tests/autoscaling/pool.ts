/**
 * A pool as a Deployment keeps it: so many processes, each with an address of its own. The newest go
 * first, told by SIGTERM.
 *
 * @module
 */
import { join } from "node:path";
import type { ServicePlan } from "../chaos/service-main.ts";
import { ServiceProcess } from "../chaos/service-process.ts";

export class Pool {
  /** Most that were asked for at a time. */
  peak = 0;
  readonly #plans: readonly ServicePlan[];
  readonly #logFolder: string;
  readonly #started: ServiceProcess[] = [];
  /** Oldest first. */
  readonly #running: { readonly service: ServiceProcess; readonly plan: ServicePlan }[] = [];
  /** Plans of processes that are there, also of those that are stopping. */
  readonly #taken = new Set<ServicePlan>();
  readonly #stops: Promise<boolean>[] = [];

  /** `plans`: one for every replica that there may be. */
  constructor(plans: readonly ServicePlan[], logFolder: string) {
    this.#plans = plans;
    this.#logFolder = logFolder;
  }

  /** Those that were not told to stop. */
  get replicas(): number {
    return this.#running.length;
  }

  /** Starts what is missing, tells what is too much to stop; waits for neither. */
  async scaleTo(replicas: number): Promise<void> {
    this.peak = Math.max(this.peak, replicas);
    while (this.#running.length < replicas) await this.#start();
    for (const { service, plan } of this.#running.splice(replicas))
      this.#stops.push(service.stop().finally(() => this.#taken.delete(plan)));
  }

  /** Resolves when all that run take work. */
  async ready(): Promise<void> {
    await Promise.all(this.#running.map(({ service }) => service.ready()));
  }

  /** Processes that ended without being told to. */
  get selfExits(): number {
    return this.#started.reduce((sum, { selfExits }) => sum + selfExits, 0);
  }

  /** Stops all; for every process that ever was told to stop, whether it did so by itself and in its time. */
  async stop(): Promise<readonly boolean[]> {
    await this.scaleTo(0);
    return Promise.all(this.#stops);
  }

  async #start(): Promise<void> {
    const plan = this.#plans.find((each) => !this.#taken.has(each));
    if (plan === undefined) throw new Error(`all ${this.#plans.length} places are taken`);
    this.#taken.add(plan);
    const service = await ServiceProcess.start(plan, join(this.#logFolder, `${plan.name.replace(" ", "-")}.log`));
    this.#started.push(service);
    this.#running.push({ service, plan });
  }
}
