/**
 * A {@link ModelRunner} over ONNX Runtime: opens the weight file, prepares the graphs and
 * loads a session for each kind when it is first needed (every session holds its own packed
 * copy of the weights, so a decode worker never loads the prefill graphs).
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import {
  checkIdentity,
  type ContextPrompt,
  type GraphKind,
  identityOf,
  loadTokenizer,
  type ModelConfig,
  type ModelIdentity,
  openGguf,
  parseConfig,
  prepareGraphs,
  type PromptBuilder,
  type TokenDecoder,
} from "@kvault/model";
import type { RepeatPass } from "@kvault/compression";
import type { ModelRunner, PrefilledContext, ResidentContext, RunOptions, StepBatch } from "./model-runner.ts";
import { appendTokens, PREFILL_CHUNK_TOKENS } from "./prefill.ts";
import { runRepeatPass } from "./repeat-pass.ts";
import { ContextTensors } from "./resident-context.ts";
import { f32Tensor, openSession, type Session } from "./session.ts";
import { SharedContextBatch } from "./step-batch.ts";
import { TokenCache } from "./token-cache.ts";

export interface ModelRunnerOptions {
  /** GGUF file, already verified. */
  readonly modelPath: string;
  readonly weightsSha256: string;
  /** Generated graphs live here. */
  readonly cacheDir: string;
  readonly numThreads: number;
  readonly activations: "int8" | "f32";
}
