/**
 * The one loop that runs graphs in an engine: asks the {@link Batcher} who is next, runs them,
 * hands out logits, gives way to the event loop, until nothing waits.
 *
 * Sequences join with {@link RunLoop.answer} and leave when their answer is over, when their
 * signal aborts, or when their run fails; the others never notice. Work in long runs of its
 * own (prefill, the repeat pass) takes turns with them through {@link RunLoop.longWork}.
 *
 * A sequence is taken out of its batch only between runs: a run under way reads the batch.
 *
 * @module
 */
import { abortError, KvaultError, throwIfAborted } from "@kvault/core";
import { yieldToEventLoop } from "../event-loop.ts";
import type { ModelRunner, ResidentContext, RunOptions, StepBatch, StepSequence } from "../model-runner.ts";
import type { Answer, AnswerStep } from "../text/answer.ts";
import { BATCHER_LIMITS, Batcher, type BatcherLimits, type ReadPart, type Run } from "./batcher.ts";

export interface AnswerRequest {
  readonly runner: Pick<ModelRunner, "openStepBatch">;
  readonly context: ResidentContext;
  /** What is read before the first draw, resumed tokens included; at least one. */
  readonly questionIds: readonly number[];
  readonly answer: Answer;
  /** Every step that has text or tokens to show. */
  readonly onStep: (step: AnswerStep) => void;
  readonly signal: AbortSignal;
}

/** When what happened, on the loop's clock. */
interface AnswerTimes {
  readonly firstRunMs: number;
  readonly firstTokenMs: number;
  readonly lastTokenMs: number;
}

export interface AnswerEnd extends AnswerTimes {
  readonly finishReason: NonNullable<AnswerStep["finishReason"]>;
}

/** The run options of work that takes turns. */
export type TurnOptions = Required<Pick<RunOptions, "signal" | "betweenRuns" | "onProgress">>;

interface Group {
  readonly context: ResidentContext;
  readonly batch: StepBatch;
  readonly members: Set<Sequence>;
}

interface Sequence {
  readonly kind: "sequence";
  readonly group: Group;
  readonly inBatch: StepSequence;
  readonly request: AnswerRequest;
  /** Question tokens read so far. */
  read: number;
  /** What the next decode run feeds. */
  nextToken: number;
  firstRunMs: number;
  firstTokenMs: number;
  readonly resolve: (end: AnswerEnd) => void;
  readonly reject: (error: unknown) => void;
}

/** How long an idle loop waits for company: little beside any run, enough for requests that left a client together. */
const GATHER_MS = 8;

/** A place in the queue for long runs; `perform` lets the owner make one. */
interface Turn {
  readonly kind: "turn";
  perform: () => Promise<void>;
}

type Member = Sequence | Turn;

export class RunLoop {
  readonly #batcher: Batcher<Group, Member>;
  readonly #nowMs: () => number;
  readonly #groups = new Map<ResidentContext, Group>();
  #pumping = false;
  /** Sequences of the run under way, and those of them that left meanwhile. */
  #inRun: ReadonlySet<Member> = new Set();
  readonly #leftInRun = new Set<Sequence>();

  constructor(nowMs: () => number = () => performance.now(), limits: BatcherLimits = BATCHER_LIMITS) {
    this.#nowMs = nowMs;
    this.#batcher = new Batcher(limits);
  }

  /** Sequences that have no answer yet. */
  get size(): number {
    let size = 0;
    for (const group of this.#groups.values()) size += group.members.size;
    return size;
  }

  /** Reads the question on `context`, then decodes until the answer is over. */
  async answer(request: AnswerRequest): Promise<AnswerEnd> {
    const { signal, questionIds } = request;
    throwIfAborted(signal);
    if (questionIds.length === 0) throw new RangeError("Cannot answer a question of no tokens");
    const group = this.#groupOf(request);
    return new Promise<AnswerEnd>((resolve, reject) => {
      const onAbort = (): void => this.#fail(sequence, abortError(signal));
      const settled = (): void => signal.removeEventListener("abort", onAbort);
      const sequence: Sequence = {
        kind: "sequence",
        group,
        inBatch: group.batch.add(),
        request,
        read: 0,
        nextToken: -1,
        firstRunMs: Number.NaN,
        firstTokenMs: Number.NaN,
        resolve: (end) => {
          settled();
          resolve(end);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      group.members.add(sequence);
      this.#batcher.join(group, sequence, questionIds.length);
      this.#wake();
    });
  }

  /**
   * Runs `work`, whose runs take turns with everybody else's: it passes the options it is given
   * on to every prefill and repeat pass it makes.
   */
  async longWork<T>(work: (options: TurnOptions) => Promise<T>, options: Pick<RunOptions, "signal" | "onProgress">): Promise<T> {
    const { signal = new AbortController().signal, onProgress } = options;
    let endRun: (() => void) | undefined;
    const finishRun = (): void => {
      endRun?.();
      endRun = undefined;
    };
    const awaitTurn = async (): Promise<void> => {
      finishRun();
      throwIfAborted(signal);
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void => {
          this.#batcher.leave(turn);
          reject(abortError(signal));
        };
        const turn: Turn = {
          kind: "turn",
          perform: () => {
            signal.removeEventListener("abort", onAbort);
            const ended = new Promise<void>((end) => {
              endRun = end;
            });
            resolve();
            return ended;
          },
        };
        signal.addEventListener("abort", onAbort, { once: true });
        this.#batcher.joinPrefill(turn);
        this.#wake();
      });
    };
    let over = false;
    try {
      await awaitTurn();
      return await work({
        signal,
        onProgress: (done, total) => {
          over = done >= total;
          onProgress?.(done, total);
        },
        // After the last run there is nothing to wait for.
        betweenRuns: () => {
          if (!over) return awaitTurn();
          finishRun();
          return yieldToEventLoop();
        },
      });
    } finally {
      finishRun();
    }
  }

  /** Fails everything that waits. */
  close(error: KvaultError = new KvaultError("CLOSED", "Cannot finish the answer: the engine was closed")): void {
    for (const group of [...this.#groups.values()]) {
      for (const sequence of [...group.members]) this.#fail(sequence, error);
    }
  }

  #groupOf({ runner, context }: AnswerRequest): Group {
    let group = this.#groups.get(context);
    if (group === undefined) {
      group = { context, batch: runner.openStepBatch(context), members: new Set() };
      this.#groups.set(context, group);
    }
    return group;
  }

  #wake(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    // Whoever joins in this moment takes part in the first run: questions sent at the same time are read together.
    setTimeout(() => void this.#pump(), GATHER_MS);
  }

  async #pump(): Promise<void> {
    for (let run = this.#batcher.next(); run !== undefined; run = this.#batcher.next()) {
      const startMs = this.#nowMs();
      await this.#perform(run, startMs);
      this.#batcher.ran(run, this.#nowMs() - startMs);
      await yieldToEventLoop();
    }
    this.#pumping = false;
  }

  async #perform(run: Run<Group, Member>, startMs: number): Promise<void> {
    if (run.kind === "prefill") {
      await (run.member as Turn).perform();
      return;
    }
    const parts: readonly ReadPart<Member>[] =
      run.kind === "read" ? run.parts : run.members.map((member) => ({ member, tokens: 1 }));
    const members = parts.map(({ member }) => member as Sequence);
    const inputs = members.map((sequence, i) => ({
      sequence: sequence.inBatch,
      ids: idsFor(sequence, run.kind, parts[i].tokens),
    }));
    this.#inRun = new Set(members);
    let logits: readonly Float32Array[];
    try {
      logits = await run.group.batch.run(inputs);
    } catch (error) {
      // What the failed run did to the batch is unknown: nobody goes on with it.
      this.#inRun = new Set();
      this.#failGroup(run.group, error);
      return;
    }
    const endMs = this.#nowMs();
    for (const [i, sequence] of members.entries()) {
      if (Number.isNaN(sequence.firstRunMs)) sequence.firstRunMs = startMs;
      if (this.#leftInRun.has(sequence)) continue;
      if (run.kind === "read") sequence.read += parts[i].tokens;
      if (sequence.read === sequence.request.questionIds.length) this.#step(sequence, logits[i], endMs);
    }
    this.#inRun = new Set();
    for (const sequence of this.#leftInRun) this.#takeOut(sequence);
    this.#leftInRun.clear();
  }

  #step(sequence: Sequence, logits_V: Float32Array, nowMs: number): void {
    const { answer, onStep } = sequence.request;
    if (Number.isNaN(sequence.firstTokenMs)) sequence.firstTokenMs = nowMs;
    try {
      const step = answer.step(logits_V);
      if (step.text !== "" || step.tokenIds.length > 0) onStep(step);
      sequence.nextToken = step.nextToken;
      if (step.finishReason === undefined) return;
      const { firstRunMs, firstTokenMs } = sequence;
      this.#leave(sequence);
      sequence.resolve({ finishReason: step.finishReason, firstRunMs, firstTokenMs, lastTokenMs: nowMs });
    } catch (error) {
      this.#fail(sequence, error);
    }
  }

  #fail(sequence: Sequence, error: unknown): void {
    this.#leave(sequence);
    sequence.reject(error);
  }

  #failGroup(group: Group, error: unknown): void {
    this.#groups.delete(group.context);
    for (const sequence of group.members) {
      this.#batcher.leave(sequence);
      sequence.reject(error);
    }
    group.members.clear();
    this.#leftInRun.clear();
    group.batch.close();
  }

  #leave(sequence: Sequence): void {
    if (!sequence.group.members.delete(sequence)) return;
    this.#batcher.leave(sequence);
    if (this.#inRun.has(sequence)) this.#leftInRun.add(sequence);
    else this.#takeOut(sequence);
  }

  #takeOut({ group, inBatch }: Sequence): void {
    group.batch.remove(inBatch);
    if (group.batch.size > 0) return;
    if (this.#groups.get(group.context) === group) this.#groups.delete(group.context);
    group.batch.close();
  }
}

function idsFor(sequence: Sequence, kind: "read" | "decode", tokens: number): readonly number[] {
  if (kind === "decode") return [sequence.nextToken];
  return sequence.request.questionIds.slice(sequence.read, sequence.read + tokens);
}
