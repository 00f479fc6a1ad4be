/**
 * Questions that follow each other: each is asked with all turns before it.
 *
 * @module
 */
import type { Answer, AnswerPiece } from "./answer.ts";
import { type AnswerStream, answerStream } from "./query.ts";
import type { QuestionSettings } from "./question.ts";
import type { ChatMessage } from "./text-source.ts";

export interface Conversation {
  /** So far: questions and answers in turn. */
  readonly turns: readonly ChatMessage[];
  /** One question at a time. A question and its answer become turns once the answer is complete. */
  ask(question: string, settings?: Omit<QuestionSettings, "turns">): AnswerStream;
}

export function createConversation(
  ask: (question: string, settings: QuestionSettings) => AnswerStream,
  { turns: before = [], ...defaults }: QuestionSettings = {},
): Conversation {
  const turns: ChatMessage[] = [...before];
  let isAsking = false;
  async function* pieces(question: string, settings: QuestionSettings): AsyncGenerator<AnswerPiece, Answer> {
    if (isAsking) throw new TypeError("Cannot ask: the answer before is not read to its end");
    isAsking = true;
    try {
      const answer = yield* ask(question, { ...settings, turns: [...turns] });
      turns.push({ role: "user", content: question }, { role: "assistant", content: answer.text });
      return answer;
    } finally {
      isAsking = false;
    }
  }
  return {
    get turns() {
      return [...turns];
    },
    ask: (question, settings = {}) => answerStream(() => pieces(question, { ...defaults, ...settings })),
  };
}
