/**
 * grpc.health.v1 for a server: `""` and `readiness` (send me traffic), `liveness` (do not kill
 * me), and one name per service.
 *
 * @module
 */
import { HealthImplementation } from "grpc-health-check";

const LIVENESS = "liveness";
const READINESS = "readiness";

export class Health {
  readonly #implementation: HealthImplementation;
  readonly #traffic: readonly string[];

  /** Serving from the start; `services` are full proto names. */
  constructor(services: readonly string[]) {
    this.#traffic = ["", READINESS, ...services];
    this.#implementation = new HealthImplementation(
      Object.fromEntries([LIVENESS, ...this.#traffic].map((name) => [name, "SERVING"] as const)),
    );
  }

  get implementation(): HealthImplementation {
    return this.#implementation;
  }

  /** Whether to be sent traffic. Liveness is not touched: a busy or draining process is not a dead one. */
  setServing(serving: boolean): void {
    for (const name of this.#traffic) this.#implementation.setStatus(name, serving ? "SERVING" : "NOT_SERVING");
  }
}
