/**
 * A question and how to answer it: proto → checked, defaults and the seed filled in.
 *
 * @module
 */
import { randomInt } from "node:crypto";
import { invalidArgument } from "@kvault/core";
import {
  type ChatMessage,
  ChatMessage_Role,
  type ExecuteRequestSchema,
  type Limits,
  type MessageInitShape,
  type Sampling,
  ServiceClass,
} from "@kvault/rpc";

const MAX_QUESTION_BYTES = 64 * 1024;
const MAX_NEW_TOKENS = 4_096;
const DEFAULT_NEW_TOKENS = 256;
const MAX_STOPS = 16;
const MAX_STOP_CHARS = 256;
const MAX_TEMPERATURE = 2;
/** Above, seeds would lose digits on their way to the sampler. */
const MAX_SEED = BigInt(Number.MAX_SAFE_INTEGER);

/** All earlier turns of a conversation, UTF-8. */
const MAX_TURNS_BYTES = 256 * 1024;

interface Question {
  readonly question: string;
  readonly turns?: readonly ChatMessage[] | undefined;
  readonly sampling?: Sampling | undefined;
  readonly limits?: Limits | undefined;
}

export type CheckedQuestion = Required<
  Pick<MessageInitShape<typeof ExecuteRequestSchema>, "question" | "turns" | "sampling" | "limits">
>;

interface ReadQuestionOptions {
  /** Of the field names in errors: `questions[2].` when it is one of many. */
  readonly prefix?: string;
  /** The conversation that is the context may end with the question. */
  readonly mayBeEmpty?: boolean;
}

/** INVALID_ARGUMENT naming the field. */
export function readQuestion(
  { question, turns = [], sampling, limits }: Question,
  { prefix = "", mayBeEmpty = false }: ReadQuestionOptions = {},
): CheckedQuestion {
  const refuse = (field: string, message: string): never => {
    throw invalidArgument(`${prefix}${field}`, message);
  };
  const bytes = Buffer.byteLength(question);
  if (question.trim() === "" && !(mayBeEmpty && question === "")) refuse("question", "Cannot answer: question is empty");
  if (bytes > MAX_QUESTION_BYTES) refuse("question", `Cannot answer a question of ${bytes} bytes: at most ${MAX_QUESTION_BYTES}`);
  checkTurns(turns, refuse);

  const { temperature = 0, topP = 0, topK = 0, seed = 0n } = sampling ?? {};
  if (!(temperature >= 0 && temperature <= MAX_TEMPERATURE)) {
    refuse("sampling.temperature", `Cannot sample at temperature ${temperature}: must be 0 to ${MAX_TEMPERATURE}`);
  }
  if (!(topP >= 0 && topP <= 1))
    refuse("sampling.top_p", `Cannot sample with top_p ${topP}: must be above 0 and at most 1, or 0 for off`);
  if (seed > MAX_SEED) refuse("sampling.seed", `Cannot use seed ${seed}: at most ${MAX_SEED}`);

  const { maxTokens = 0, stop = [] } = limits ?? {};
  if (maxTokens > MAX_NEW_TOKENS) refuse("limits.max_tokens", `Cannot generate ${maxTokens} tokens: at most ${MAX_NEW_TOKENS}`);
  if (stop.length > MAX_STOPS) refuse("limits.stop", `Cannot stop at ${stop.length} strings: at most ${MAX_STOPS}`);
  for (const [i, text] of stop.entries()) {
    if (text === "" || text.length > MAX_STOP_CHARS) {
      refuse(`limits.stop[${i}]`, `Cannot stop at a string of ${text.length} characters: must be 1 to ${MAX_STOP_CHARS}`);
    }
  }
  return {
    question,
    turns: [...turns],
    // Drawn here, not by the worker: a second try on another worker draws the same tokens.
    sampling: { temperature, topP, topK, seed: seed === 0n ? BigInt(randomInt(1, 2 ** 32)) : seed },
    limits: { maxTokens: maxTokens === 0 ? DEFAULT_NEW_TOKENS : maxTokens, stop },
  };
}

/** Question and answer take turns, ending with an answer. */
function checkTurns(turns: readonly ChatMessage[], refuse: (field: string, message: string) => never): void {
  if (turns.length % 2 !== 0) refuse("turns", `Cannot answer after ${turns.length} turns: every question needs its answer`);
  let bytes = 0;
  for (const [i, { role, content }] of turns.entries()) {
    const expected = i % 2 === 0 ? ChatMessage_Role.USER : ChatMessage_Role.ASSISTANT;
    if (role !== expected)
      refuse(
        `turns[${i}].role`,
        `Cannot answer: turn ${i} has role ${ChatMessage_Role[role]}, expected ${ChatMessage_Role[expected]}`,
      );
    bytes += Buffer.byteLength(content);
  }
  if (bytes > MAX_TURNS_BYTES) refuse("turns", `Cannot answer after turns of ${bytes} bytes: at most ${MAX_TURNS_BYTES}`);
}

/** `given`, or `otherwise` when there is none. INVALID_ARGUMENT on a class we do not know. */
export function readServiceClass(given: ServiceClass, otherwise: ServiceClass): ServiceClass {
  if (given === ServiceClass.UNSPECIFIED) return otherwise;
  if (ServiceClass[given] !== undefined) return given;
  throw invalidArgument("service_class", `Cannot serve class ${given}: unknown`);
}
