/**
 * Answers under way, for the gauges that pools are scaled by: how many, on which contexts, how many
 * tokens so far.
 *
 * @module
 */

export interface InFlightQuery {
  /** Queries on the same context, this one included, when it began. */
  readonly together: number;
  /** More tokens were generated. */
  add(tokens: number): void;
  end(): void;
}

export class InFlight {
  readonly #byContext = new Map<string, number>();
  #running = 0;
  #tokens = 0;
  #waiting = 0;

  get running(): number {
    return this.#running;
  }

  /** Those without a token. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Generated so far; a query counts one from its start, so that queries that wait count too. */
  get tokens(): number {
    return this.#tokens + this.#running;
  }

  /** `context` names what it is asked on; "" for a text of its own. */
  begin(context: string): InFlightQuery {
    const together = context === "" ? 1 : (this.#byContext.get(context) ?? 0) + 1;
    if (context !== "") this.#byContext.set(context, together);
    this.#running++;
    this.#waiting++;
    let tokens = 0;
    let over = false;
    return {
      together,
      add: (more) => {
        if (over || more <= 0) return;
        if (tokens === 0) this.#waiting--;
        tokens += more;
        this.#tokens += more;
      },
      end: () => {
        if (over) return;
        over = true;
        if (tokens === 0) this.#waiting--;
        this.#tokens -= tokens;
        this.#running--;
        const left = (this.#byContext.get(context) ?? 1) - 1;
        if (left > 0) this.#byContext.set(context, left);
        else this.#byContext.delete(context);
      },
    };
  }
}
