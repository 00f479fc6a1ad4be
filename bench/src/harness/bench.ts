/**
 * What entries share: the model on both sides, texts of a given length, records built once.
 * Everything is opened when it is first asked for and closed by {@link Bench.close}.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { mkdtemp, rename, rm, stat } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bytesOf, sha256Hex } from "@kvault/core";
import { type BlobStore, openStore } from "@kvault/kvstore";
import { type ContextPrompt, type ModelHub, openHub } from "@kvault/model";
import {
  type BuildResult,
  type Engine,
  type EngineOptions,
  openEngine,
  openModelRunner,
  type ResidentContext,
  type TrainableRunner,
} from "@kvault/runtime";
import { buildRequest } from "@kvault/runtime/testing";
import { readResident } from "../ours/resident.ts";
import { longText } from "../ours/text.ts";
import { type Llama, startLlama } from "../rival/llama.ts";

/** More than any text needs for a token. */
const CHARS_PER_TOKEN = 6;
const RESIDENT_BYTES = 4 * 2 ** 30;

export interface BenchOptions {
  readonly model: string;
  readonly threads: number;
  readonly log: (line: string) => void;
}

export class Bench {
  readonly model: string;
  readonly threads: number;
  readonly log: (line: string) => void;
  readonly cacheDir: string;
  /** Records are kept from run to run: building one takes a minute and is not what most entries measure. */
  readonly storeUrl: string;
  readonly #folder: string;
  readonly #closers: (() => Promise<unknown>)[] = [];
  readonly #opened = new Map<string, Promise<unknown>>();

  constructor({ model, threads, log }: BenchOptions) {
    this.model = model;
    this.threads = threads;
    this.log = log;
    const { KVAULT_CACHE_DIR, XDG_CACHE_HOME } = process.env;
    this.cacheDir = KVAULT_CACHE_DIR ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "kvault");
    this.#folder = fileURLToPath(new URL("../../.kvault/", import.meta.url));
    this.storeUrl = `file:${join(this.#folder, "store")}`;
    mkdirSync(join(this.#folder, "store"), { recursive: true, mode: 0o700 });
  }

  hub(): Promise<ModelHub> {
    return this.#once("hub", () => openHub({ cacheDir: this.cacheDir }));
  }

  /** The model in this process: what runs here blocks the event loop and nothing waits for that. */
  runner(model: string = this.model): Promise<TrainableRunner> {
    return this.#once(`runner ${model}`, async () => {
      const hub = await this.hub();
      const { sha256, identity } = hub.describe(model);
      const runner = await openModelRunner({
        modelPath: await hub.fetchModel(model),
        weightsSha256: sha256,
        cacheDir: this.cacheDir,
        numThreads: this.threads,
        activations: "int8",
        expectedIdentity: identity,
      });
      this.#closers.push(() => runner.close());
      return runner;
    });
  }

  llama(): Promise<Llama> {
    return this.#once("llama", async () => {
      const llama = await startLlama(await (await this.hub()).fetchModel(this.model), this.threads);
      this.#closers.push(() => llama.close());
      return llama;
    });
  }

  /** An engine process, as a worker has one, with the model open. */
  engine(): Promise<Engine> {
    return this.#once("engine", async () => {
      const engine = await this.startEngine({});
      await engine.openModel(this.model);
      return engine;
    });
  }

  async startEngine(options: Partial<EngineOptions>): Promise<Engine> {
    const engine = await openEngine({
      storeUrl: this.storeUrl,
      cacheDir: this.cacheDir,
      offline: false,
      numThreads: this.threads,
      residentBytes: RESIDENT_BYTES,
      activations: "int8",
      ...options,
    });
    this.#closers.push(() => engine.close());
    return engine;
  }

  /** A text that fills `tokens` tokens with the template's prefix, or one or two fewer. */
  async text(tokens: number): Promise<string> {
    const { prompts } = await this.runner();
    const all = longText(tokens * CHARS_PER_TOKEN);
    const lengthOf = (chars: number): number => {
      const { prefixIds, contextIds } = prompts.context({ text: all.slice(0, chars) });
      return prefixIds.length + contextIds.length;
    };
    let [low, high] = [0, all.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (lengthOf(middle) <= tokens) low = middle;
      else high = middle;
    }
    return all.slice(0, low);
  }

  async prompt(tokens: number): Promise<ContextPrompt> {
    return (await this.runner()).prompts.context({ text: await this.text(tokens) });
  }

  /** The same as plain ids, prefix first. */
  async ids(tokens: number): Promise<number[]> {
    const { prefixIds, contextIds } = await this.prompt(tokens);
    return [...prefixIds, ...contextIds];
  }

  store(): Promise<BlobStore> {
    return this.#once("store", async () => {
      const store = await openStore(this.storeUrl);
      this.#closers.push(() => store.close());
      return store;
    });
  }

  /** The record of {@link text} made with `spec`, built when it is not there. */
  record(tokens: number, spec: string): Promise<BuildResult> {
    return this.#once(`record ${tokens} ${spec}`, async () => {
      const engine = await this.engine();
      const { identity } = (await this.hub()).describe(this.model);
      const request = buildRequest(this.model, identity, await this.text(tokens), spec);
      this.log(`building ${tokens} tokens with ${spec}`);
      return engine.build(request);
    });
  }

  /** That record, decoded and resident in this process. */
  resident(tokens: number, spec: string): Promise<ResidentContext> {
    return this.#once(`resident ${tokens} ${spec}`, async () => {
      const { manifest } = await this.record(tokens, spec);
      const store = await this.store();
      return readResident(store, manifest.contextId);
    });
  }

  /** A folder of this run, removed at its end. */
  scratch(): Promise<string> {
    return this.#once("scratch", async () => {
      const folder = await mkdtemp(join(tmpdir(), "kvault-bench-"));
      this.#closers.push(() => rm(folder, { recursive: true, force: true }));
      return folder;
    });
  }

  /**
   * llama.cpp's saved state of {@link ids}, kept from run to run like the records. A context of several
   * sequences takes only a state that was saved from one of as many.
   */
  llamaState(tokens: number, sequences = 1): Promise<{ readonly path: string; readonly bytes: number }> {
    return this.#once(`state ${tokens} ${sequences}`, async () => {
      const ids = await this.ids(tokens);
      const digest = sha256Hex(bytesOf(Int32Array.from(ids))).slice(0, 16);
      const path = join(this.#folder, `llama-${digest}-${sequences}.state`);
      const kept = await stat(path).catch(() => undefined);
      if (kept !== undefined) return { path, bytes: kept.size };
      const llama = await this.llama();
      await llama.open({ sequences, contextTokens: tokens + LLAMA_SPARE_TOKENS, batchTokens: LLAMA_BATCH_TOKENS });
      await llama.prefill({ ids });
      await llama.save({ path: `${path}.new` });
      await rename(`${path}.new`, path);
      return { path, bytes: (await stat(path)).size };
    });
  }

  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) await close();
  }

  #once<T>(key: string, make: () => Promise<T>): Promise<T> {
    let made = this.#opened.get(key) as Promise<T> | undefined;
    if (made === undefined) {
      made = make();
      this.#opened.set(key, made);
    }
    return made;
  }
}

/** llama.cpp's own default; 1024 and 2048 were no faster. */
export const LLAMA_BATCH_TOKENS = 512;
/** Room behind a context for questions and answers. */
export const LLAMA_SPARE_TOKENS = 256;
