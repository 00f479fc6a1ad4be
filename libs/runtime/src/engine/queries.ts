/**
 * A query from its receipt to its answer: model and context made ready, the question checked
 * against what is left of the model's length, then a sequence in the run loop.
 *
 * An inline text is read for this query alone, in chunks that take turns with other queries;
 * it is never stored and goes when the answer is over.
 *
 * An answer that another engine began is resumed: question and tokens given are read as one, and
 * it goes on as if it had never stopped.
 *
 * @module
 */
import { invalidArgument, KvaultError } from "@kvault/core";
import { inSpan, pastSpan } from "@kvault/telemetry";
import type { AnswerEnd, RunLoop } from "../batching/run-loop.ts";
import type { ModelRunner, ResidentContext } from "../model-runner.ts";
import { fullLayer } from "../resident-context.ts";
import { checkSampling } from "../sampling/sampler.ts";
import { createAnswer } from "../text/answer.ts";
import { checkStopStrings } from "../text/stop-strings.ts";
import type { ResidentContexts } from "./contexts.ts";
import type { ModelCache } from "./models.ts";
import { readContext } from "./read-context.ts";
import type { MakeResident } from "./stored-context.ts";
import type { CacheInfo, Content, LoadRequest, QueryAnswer, QueryDelta, QueryRequest } from "./types.ts";

/** Above any answer we know; a request for more is a mistake. */
const MAX_NEW_TOKENS = 131_072;

export interface QueryDeps {
  readonly models: ModelCache;
  readonly contexts: ResidentContexts;
  readonly loop: RunLoop;
  readonly makeResident: MakeResident;
  /** The loop's clock. */
  readonly nowMs: () => number;
}

export interface QueryCall {
  readonly signal: AbortSignal;
  readonly onDelta: (delta: QueryDelta) => void;
  /** When the query was received, on the same clock; before it reached this process. */
  readonly receivedMs: number;
}

/** A context ready to be asked. */
interface AskedContext {
  readonly resident: ResidentContext;
  readonly contextTokens: number;
  readonly cache: CacheInfo;
  release(): void;
}

export async function answerQuery(deps: QueryDeps, request: QueryRequest, call: QueryCall): Promise<QueryAnswer> {
  checkRequest(request);
  const { models, contexts, loop, nowMs } = deps;
  const { signal, receivedMs } = call;
  const startMs = nowMs();
  const lease = await models.acquire(request.model, { signal });
  let asked: AskedContext | undefined;
  try {
    const { runner } = lease;
    const { source, model, sampling, stop, resume } = request;
    const questionIds = readQuestion(runner, request);
    checkTokens(resume?.tokenIds ?? [], runner.config.vocabSize);
    asked =
      source.type === "stored"
        ? await inSpan("load", { attributes: { "kvault.context.id": source.contextId } }, () =>
            askStored(contexts, { contextId: source.contextId, digest: source.digest, model }, signal, request.loadTimeoutMs),
          )
        : await askInline(deps, runner, source.content, signal);
    await runner.prepareSteps();
    const { resident, contextTokens, cache } = asked;
    const loadMs = nowMs() - startMs;
    const room = runner.config.maxTokens - resident.nextPosition - questionIds.length;
    if (room < 1) throw questionTooLong(questionIds.length, resident.nextPosition, runner.config.maxTokens);
    const maxTokens = Math.min(request.maxTokens, room);
    const answer = createAnswer({ tokens: runner.tokens, sampling, stop, maxTokens, ...(resume && { resume }) });
    const end =
      answer.finishReason === undefined
        ? await loop.answer({
            runner,
            context: resident,
            questionIds: [...questionIds, ...(resume?.tokenIds ?? [])],
            answer,
            signal,
            onStep: ({ text, tokenIds }) => call.onDelta({ type: "delta", text, tokenIds }),
          })
        : endedBefore(answer.finishReason, nowMs());
    const { text, newTokens } = answer;
    tellRuns(end, receivedMs, nowMs(), newTokens);
    // Every run after the first token drew one more, the token that ended the answer included.
    const drawn = newTokens - (resume?.tokenIds.length ?? 0);
    const gaps = end.finishReason === "end" ? drawn : drawn - 1;
    return {
      type: "answer",
      text,
      finishReason: end.finishReason,
      usage: { contextTokens, keptPairs: resident.keptPairs, questionTokens: questionIds.length, newTokens },
      timings: {
        queueMs: Math.max(0, end.firstRunMs - receivedMs - loadMs),
        loadMs,
        ttftMs: end.firstTokenMs - receivedMs,
        tpotMs: gaps > 0 ? (end.lastTokenMs - end.firstTokenMs) / gaps : 0,
        totalMs: nowMs() - receivedMs,
      },
      cache,
      seed: sampling.seed,
    };
  } finally {
    asked?.release();
    lease.release();
  }
}

/** The answer's runs as spans: up to its first token, then all its steps as one. */
function tellRuns(
  { firstTokenMs, firstRunMs, lastTokenMs }: AnswerEnd,
  receivedMs: number,
  nowMs: number,
  newTokens: number,
): void {
  const atMs = (ms: number): number => Date.now() - (nowMs - ms);
  const queueMs = firstRunMs - receivedMs;
  pastSpan("first token", atMs(firstRunMs), atMs(firstTokenMs), { "kvault.wait_ms": queueMs });
  pastSpan("steps", atMs(firstTokenMs), atMs(lastTokenMs), { "gen_ai.usage.output_tokens": newTokens });
}

/** An answer of which only the end was missing. */
function endedBefore(finishReason: AnswerEnd["finishReason"], atMs: number): AnswerEnd {
  return { finishReason, firstRunMs: atMs, firstTokenMs: atMs, lastTokenMs: atMs };
}

/** Refuses what can be refused without a model. */
function checkRequest({ source, question, sampling, stop, maxTokens, resume }: QueryRequest): void {
  const isInContent = source.type === "inline" && "messages" in source.content && question === "";
  if (question.trim() === "" && !isInContent) throw invalidArgument("question", "Cannot answer a question of no text");
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 1 || maxTokens > MAX_NEW_TOKENS) {
    throw invalidArgument("limits.max_tokens", `Cannot generate ${maxTokens} tokens: 1 to ${MAX_NEW_TOKENS} are allowed`);
  }
  checkSampling(sampling);
  checkStopStrings(stop);
  if (resume === undefined) return;
  const { tokenIds, textUnits } = resume;
  if (tokenIds.length === 0 || tokenIds.length > maxTokens) {
    throw invalidArgument("resume", `Cannot go on after ${tokenIds.length} tokens: 1 to ${maxTokens} are allowed`);
  }
  if (!tokenIds.every((id) => Number.isSafeInteger(id) && id >= 0) || !Number.isSafeInteger(textUnits) || textUnits < 0) {
    throw invalidArgument("resume", "Cannot go on: token ids and text length must be whole numbers");
  }
}

/** A token the model does not have would be read from beyond its table. */
function checkTokens(tokenIds: readonly number[], vocabSize: number): void {
  const foreign = tokenIds.find((id) => id >= vocabSize);
  if (foreign === undefined) return;
  throw invalidArgument("resume", `Cannot go on after token ${foreign}: the model has ${vocabSize}`);
}

/** A conversation sent along may already end with the question: only the postfix follows it then. */
function readQuestion({ prompts }: ModelRunner, { question, turns }: QueryRequest): readonly number[] {
  return Array.from(question === "" ? prompts.postfixIds : prompts.question(question, turns));
}

async function askStored(
  contexts: ResidentContexts,
  request: LoadRequest,
  signal: AbortSignal,
  timeoutMs: number | undefined,
): Promise<AskedContext> {
  const patience = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
  const either = patience === undefined ? signal : AbortSignal.any([signal, patience]);
  try {
    const { context, cache, release } = await contexts.acquire(request, either);
    return { resident: context.resident, contextTokens: context.contextTokens, cache, release };
  } catch (error) {
    if (patience?.aborted !== true || signal.aborted) throw error;
    const { contextId } = request;
    throw new KvaultError("STORE_UNAVAILABLE", `Cannot load context "${contextId}": not done in ${timeoutMs} ms`, {
      details: { contextId, timeoutMs: timeoutMs ?? 0 },
      cause: error,
    });
  }
}

async function askInline(deps: QueryDeps, runner: ModelRunner, content: Content, signal: AbortSignal): Promise<AskedContext> {
  const prompt = readContext(runner, content);
  const prefilled = await deps.loop.longWork((options) => runner.prefill(prompt, options), { signal });
  try {
    const resident = deps.makeResident(prefilled.seqLen, denseLayers(prefilled, runner.config.numLayers));
    return {
      resident,
      contextTokens: prompt.contextIds.length,
      cache: { tier: "none", reason: "INLINE", bytesLoaded: 0 },
      release: () => undefined,
    };
  } finally {
    prefilled.release();
  }
}

function* denseLayers(prefilled: Awaited<ReturnType<ModelRunner["prefill"]>>, numLayers: number) {
  for (let layer = 0; layer < numLayers; layer++) yield fullLayer(prefilled.layer(layer));
}

function questionTooLong(questionTokens: number, position: number, maxTokens: number): KvaultError {
  return new KvaultError(
    "TOKEN_LIMIT",
    `Cannot read question of ${questionTokens} tokens: the context ends at ${position} of the model's ${maxTokens}`,
    { details: { field: "question", questionTokens, contextEnd: position, maxTokens } },
  );
}
