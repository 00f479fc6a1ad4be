/**
 * Callers that ask one question after the other, and know every right answer.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isKvaultError } from "@kvault/core";
import type { Api } from "../e2e/support/api.ts";

/** A stored text: what every answer on it begins with; the question follows. */
export interface Asked {
  readonly name: string;
  readonly prefix: string;
}

const QUERY_MS = 60_000;
/** What a caller waits that was told that there is no place. */
const RETRY_MS = 200;

export class Crowd {
  /** Answers that were right, whole and in pieces. */
  answers = 0;
  /** Answers that went on at another worker. */
  moves = 0;
  /** Calls that were refused before their answer began, for want of a place. */
  refused = 0;
  /** Everything else: lost streams, wrong answers. */
  readonly failures: string[] = [];
  readonly #apis: readonly Api[];
  #asked = 0;

  constructor(apis: readonly Api[]) {
    this.#apis = apis;
  }

  /** `callers` of them ask about `contexts` in turn until `signal`; resolves when the last answer is there. */
  async ask(callers: number, contexts: readonly Asked[], questionChars: number, signal: AbortSignal): Promise<void> {
    const call = async (): Promise<void> => {
      while (!signal.aborted) await this.askOnce(contexts[this.#asked % contexts.length] as Asked, questionChars, signal);
    };
    await Promise.all(Array.from({ length: callers }, call));
  }

  /** One question, again while there is no place for it (until `signal`). */
  async askOnce(context: Asked, questionChars: number, signal?: AbortSignal): Promise<void> {
    const number = this.#asked++;
    const question = `What of ${number}? `.padEnd(questionChars, `${number} `);
    while (!(await this.#tryOnce(context, question, number)) && signal?.aborted !== true) await sleep(RETRY_MS);
  }

  /** False: it was refused. */
  async #tryOnce({ name, prefix }: Asked, question: string, number: number): Promise<boolean> {
    const { inference } = this.#apis[number % this.#apis.length] as Api;
    let streamed = "";
    try {
      const request = { source: { case: "context" as const, value: name }, question, limits: { maxTokens: 2 * question.length } };
      for await (const { event } of inference.query(request, { deadlineMs: Date.now() + QUERY_MS })) {
        if (event.case === "delta") streamed += event.value.text;
        if (event.case !== "answer") continue;
        const { text, moves } = event.value;
        if (text === `${prefix}${question}` && text === streamed) this.answers++;
        else this.failures.push(`wrong: ${JSON.stringify({ name, question, text, streamed })}`);
        this.moves += moves;
        return true;
      }
      this.failures.push(`ended without an answer after ${JSON.stringify(streamed)}`);
    } catch (error) {
      if (streamed === "" && isKvaultError(error) && error.code === "NO_CAPACITY") {
        this.refused++;
        return false;
      }
      this.failures.push(`lost after ${JSON.stringify(streamed)}: ${error}`);
    }
    return true;
  }
}
