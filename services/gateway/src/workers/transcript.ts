/**
 * What was sent of one answer: enough for another worker to go on with it, and to tell its times
 * as the caller saw them.
 *
 * @module
 */
import type { Answer, ExecuteRequestSchema, MessageInitShape, TextDelta } from "@kvault/rpc";

type Execution = MessageInitShape<typeof ExecuteRequestSchema>;

export class Transcript {
  readonly #startMs: number;
  readonly #tokenIds: number[] = [];
  #textUnits = 0;
  #firstMs = 0;
  #lastMs = 0;
  #moves = 0;
  /** Another worker was asked to go on and has not shown anything yet. */
  #moving = false;

  constructor(nowMs: number) {
    this.#startMs = nowMs;
  }

  /** Tokens sent. */
  get length(): number {
    return this.#tokenIds.length;
  }

  add({ text, tokenIds }: TextDelta, nowMs: number): void {
    this.#moved();
    if (this.#firstMs === 0) this.#firstMs = nowMs;
    this.#lastMs = nowMs;
    this.#textUnits += text.length;
    for (const id of tokenIds) this.#tokenIds.push(id);
  }

  /** The request for the rest; `request` itself while nothing was sent. */
  rest(request: Execution): Execution {
    if (this.#tokenIds.length === 0) return request;
    this.#moving = true;
    return { ...request, resume: { tokenIds: this.#tokenIds, textUnits: this.#textUnits } } as Execution;
  }

  /** The answer's own times are those of its last worker alone: these are the caller's. */
  complete(answer: Answer, nowMs: number): Answer {
    this.#moved();
    if (this.#moves === 0) return answer;
    answer.moves = this.#moves;
    if (answer.timings !== undefined) {
      answer.timings.ttftMs = this.#firstMs - this.#startMs;
      answer.timings.tpotMs = this.length > 1 ? (this.#lastMs - this.#firstMs) / (this.length - 1) : 0;
      answer.timings.totalMs = nowMs - this.#startMs;
    }
    return answer;
  }

  #moved(): void {
    if (this.#moving) this.#moves++;
    this.#moving = false;
  }
}
