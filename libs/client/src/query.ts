/**
 * One question, its answer as a stream that survives the gateway it came through.
 *
 * Before the first piece a failed try is simply made again. After it, the question is asked again
 * with the same seed: greedy and seeded answers are the same token for token, up to near ties (two
 * almost equally likely tokens may change places between a run of one row and a run of many). So what
 * comes again is compared with what was delivered, text and token ids, and only what follows is
 * delivered. When it differs nothing that follows would belong to what was delivered: the call then
 * fails with the error that broke it, not retryable, `details.resumed = "diverged"`.
 *
 * @module
 */
import { KvaultError, toKvaultError } from "@kvault/core";
import type { QueryResponse, TextDelta } from "@kvault/rpc";
import { type Answer, type AnswerPiece, answerOf } from "./answer.ts";
import { callOptions } from "./call-settings.ts";
import { type Connection, callAgain } from "./connection.ts";
import type { Api } from "./gateways.ts";
import { type QuestionSettings, type QuestionTarget, queryRequest } from "./question.ts";
import { createTries, isTransient } from "./retry.ts";

/** Times one answer is asked for again in its middle. */
const MAX_RESUMES = 3;

/** An answer that is being made. Asked when it is first read. */
export interface AnswerStream extends AsyncIterableIterator<AnswerPiece, Answer> {
  /** Reads to the end. */
  answer(): Promise<Answer>;
}

export function query(
  connection: Connection,
  target: QuestionTarget,
  question: string,
  settings: QuestionSettings = {},
): AnswerStream {
  return answerStream(() => pieces(connection, target, question, settings));
}

/** `make()` as a stream with an `answer()`; nothing is made before it is read. */
export function answerStream(make: () => AsyncGenerator<AnswerPiece, Answer>): AnswerStream {
  const source = make();
  const stream: AnswerStream = {
    next: () => source.next(),
    // A loop that is left ends the call; nobody asks for the answer then.
    return: (value) => source.return(value as never),
    [Symbol.asyncIterator]: () => stream,
    async answer() {
      for (;;) {
        const { done, value } = await source.next();
        if (done !== true) continue;
        if (value === undefined) throw new TypeError("Cannot give the answer: it was read before");
        return value;
      }
    },
  };
  return stream;
}

async function* pieces(
  connection: Connection,
  target: QuestionTarget,
  question: string,
  settings: QuestionSettings,
): AsyncGenerator<AnswerPiece, Answer> {
  const request = queryRequest(target, question, settings);
  const options = callOptions(settings);
  const delivered = createDelivered();
  let resumes = 0;
  let broken: KvaultError | undefined;
  const canRepeat = (error: KvaultError): boolean => {
    if (!isTransient(error)) return false;
    if (delivered.isEmpty) return true;
    if (settings.resume === false || resumes >= MAX_RESUMES) return false;
    resumes += 1;
    broken = error;
    return true;
  };
  const tries = createTries(connection.retry, { ...options, canRepeat });
  const open = (api: Api): AsyncIterable<QueryResponse> => {
    delivered.begin();
    return api.inference.query(request, options);
  };
  for await (const { event } of callAgain(connection, tries, open)) {
    if (event.case === "delta") {
      const piece = delivered.rest(event.value, broken);
      if (piece === undefined) continue;
      tries.progressed();
      yield piece;
    } else if (event.case === "answer") {
      delivered.checkEnd(event.value.text, broken);
      return answerOf(event.value, resumes);
    }
  }
  throw new KvaultError("INTERNAL", "Cannot read the answer: the stream ended without one");
}

/** What the reader has, and how far the present try has repeated it. */
function createDelivered() {
  let text = "";
  const tokenIds: number[] = [];
  let seenChars = 0;
  let seenTokens = 0;
  const diverged = (broken: KvaultError | undefined): KvaultError => {
    const { code, message, details } = broken ?? toKvaultError(undefined);
    return new KvaultError(code, `Cannot go on with the answer: asked for again, it went another way. ${message}`, {
      details: { ...details, resumed: "diverged", deliveredTokens: tokenIds.length },
      retryable: false,
      cause: broken,
    });
  };
  return {
    get isEmpty() {
      return text === "" && tokenIds.length === 0;
    },
    begin() {
      seenChars = 0;
      seenTokens = 0;
    },
    /** The part of a delta that is new; undefined when none is. */
    rest(delta: TextDelta, broken: KvaultError | undefined): AnswerPiece | undefined {
      const repeatedText = delta.text.slice(0, Math.max(0, text.length - seenChars));
      const repeatedIds = delta.tokenIds.slice(0, Math.max(0, tokenIds.length - seenTokens));
      const isSame = text.startsWith(repeatedText, seenChars) && repeatedIds.every((id, i) => id === tokenIds[seenTokens + i]);
      if (!isSame) throw diverged(broken);
      seenChars += delta.text.length;
      seenTokens += delta.tokenIds.length;
      const piece = { text: delta.text.slice(repeatedText.length), tokenIds: delta.tokenIds.slice(repeatedIds.length) };
      text += piece.text;
      tokenIds.push(...piece.tokenIds);
      return piece.text === "" && piece.tokenIds.length === 0 ? undefined : piece;
    },
    /** What was delivered is all of it. */
    checkEnd(whole: string, broken: KvaultError | undefined) {
      if (broken !== undefined && whole !== text) throw diverged(broken);
    },
  };
}
