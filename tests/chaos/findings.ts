/**
 * What clients saw, counted; and everything that should never be seen, with examples.
 *
 * @module
 */
import { isKvaultError, type KvaultError } from "@kvault/core";

/** Each of these is a broken promise. */
const BROKEN = ["wrongAnswers", "lostContexts", "halfVisible", "stuckJobs", "untypedErrors"] as const;
export type Broken = (typeof BROKEN)[number];

const MAX_EXAMPLES = 20;

export class Findings {
  readonly broken: Record<Broken, number> = { wrongAnswers: 0, lostContexts: 0, halfVisible: 0, stuckJobs: 0, untypedErrors: 0 };
  readonly examples: string[] = [];
  /** Calls that failed, by code. */
  readonly errors: Record<string, number> = {};
  /** Calls by what they were. */
  readonly calls: Record<string, number> = {};
  answers = 0;
  builds = 0;
  /** Answers that went on at another worker. */
  moved = 0;
  damageFound = 0;

  get requests(): number {
    return Object.values(this.calls).reduce((sum, each) => sum + each, 0);
  }

  get isClean(): boolean {
    return BROKEN.every((what) => this.broken[what] === 0);
  }

  call(what: string): void {
    this.calls[what] = (this.calls[what] ?? 0) + 1;
  }

  report(what: Broken, example: string): void {
    this.broken[what]++;
    if (this.examples.length < MAX_EXAMPLES) this.examples.push(`${new Date().toISOString().slice(11)} ${what}: ${example}`);
  }

  /**
   * Counts a failed call. `expected` are codes that say what is so (a context we deleted, a call
   * that we cancelled); of the others only those are right that ask to try again, and a deadline of
   * our own that passed.
   */
  failed(what: string, error: unknown, expected: readonly string[] = []): KvaultError | undefined {
    if (!isKvaultError(error)) {
      this.report("untypedErrors", `${what}: ${error instanceof Error ? error.stack : String(error)}`);
      return undefined;
    }
    this.errors[error.code] = (this.errors[error.code] ?? 0) + 1;
    const isRight = error.retryable || error.code === "DEADLINE_EXCEEDED" || expected.includes(error.code);
    if (!isRight) this.report("untypedErrors", `${what}: ${error.code} ${error.message} ${JSON.stringify(error.details)}`);
    return error;
  }
}
