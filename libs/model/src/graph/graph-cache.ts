/**
 * The cache of generated graphs: one folder per weight source and builder version, holding the
 * external weights once and one small ONNX file per graph kind.
 *
 * The folder appears by rename when it is complete; two processes building at once waste
 * work, never correctness. Graph files carry their digest in their name, so one that was
 * built by other code is never taken for today's; building them takes milliseconds.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KvaultError, sha256Hex, throwIfAborted } from "@kvault/core";
import { dequantise } from "../dequant/registry.ts";
import { loadFamily, type ModelFamily, type WeightPlan } from "../families/family.ts";
import type { WeightSource } from "../formats/weight-source.ts";
import { matMulNBitsForm, toMatMulNBits } from "../quant/matmul-nbits.ts";
import { halfSplitRowOrder, reorderRows } from "../quant/row-order.ts";
import { globalLayers, ropeFrequencies } from "../rope.ts";
import type { ModelConfig } from "../types.ts";
import { rotationTables } from "./decoder.ts";
import type { Activations } from "./graph-builder.ts";
import { OBSERVERS, type ObserverName } from "./observers/registry.ts";
import { buildPrefillGraph } from "./prefill-graph.ts";
import { buildStepGraph } from "./step-graph.ts";
import { type WeightsIndex, WeightsWriter } from "./weights-file.ts";

/** Raise when weights change form; old folders are then ignored. */
const WEIGHTS_VERSION = 1;

const WEIGHTS_FILE = "weights.bin";
const INDEX_FILE = "weights.json";
/** Source bytes of a matrix converted at once. */
const SLAB_BYTES = 32 * 1024 * 1024;
const STALE_MS = 24 * 60 * 60 * 1000;

export interface GraphCacheOptions {
  readonly cacheDir: string;
  readonly weightsSha256: string;
  readonly activations: Activations;
  readonly signal?: AbortSignal;
  /** Weights converted so far. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** The graphs of one model; each is written when it is first asked for. */
export interface GraphSet {
  /** Path of the prefill graph with these observers. */
  prefill(observers: readonly ObserverName[]): Promise<string>;
  /** Path of the step graph, or of the one for contexts in clusters. */
  step(options?: { readonly recalls?: boolean }): Promise<string>;
}

/** Prepares the weights of `source` for its graphs. The first call on a machine converts them (seconds). */
export async function openGraphs(source: WeightSource, config: ModelConfig, options: GraphCacheOptions): Promise<GraphSet> {
  const family = await loadFamily(config.architecture);
  const root = join(options.cacheDir, "graphs");
  const folder = join(root, `${options.weightsSha256.slice(0, 32)}-v${WEIGHTS_VERSION}`);
  if (!(await exists(join(folder, INDEX_FILE)))) await buildFolder(source, config, family, root, folder, options);
  const weights = JSON.parse(await readFile(join(folder, INDEX_FILE), "utf8")) as WeightsIndex;
  await checkWeightsSize(folder, weights);
  const graphOptions = { weights, weightsFileName: WEIGHTS_FILE, activations: options.activations };
  const write = async (kind: string, bytes: Uint8Array): Promise<string> => {
    const path = join(folder, `${kind}.${options.activations}.${sha256Hex(bytes).slice(0, 12)}.onnx`);
    if (!(await exists(path))) await writeAtomically(path, bytes);
    return path;
  };
  return {
    prefill(names) {
      const observers = names.map((name) => OBSERVERS[name]);
      const bytes = buildPrefillGraph(family, config, { ...graphOptions, observers });
      return write(["prefill", ...names].join("+"), bytes);
    },
    step: ({ recalls = false } = {}) =>
      write(recalls ? "step+recall" : "step", buildStepGraph(family, config, { ...graphOptions, recalls })),
  };
}

async function buildFolder(
  source: WeightSource,
  config: ModelConfig,
  family: ModelFamily,
  root: string,
  folder: string,
  options: GraphCacheOptions,
): Promise<void> {
  await mkdir(root, { recursive: true });
  await sweepStale(root);
  const building = `${folder}.building-${process.pid}-${randomBytes(4).toString("hex")}`;
  await mkdir(building);
  try {
    const index = await writeWeights(join(building, WEIGHTS_FILE), source, config, family, options);
    await writeFile(join(building, INDEX_FILE), JSON.stringify(index));
    await rename(building, folder).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error; // somebody else was first
    });
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

async function writeWeights(
  path: string,
  source: WeightSource,
  config: ModelConfig,
  family: ModelFamily,
  options: GraphCacheOptions,
): Promise<WeightsIndex> {
  const plans = family.weights(config).filter((plan) => !plan.optional || source.tensors.has(plan.name));
  const file = await open(path, "w");
  try {
    const writer = new WeightsWriter(file);
    await writeRotations(writer, config);
    for (const [done, plan] of plans.entries()) {
      throwIfAborted(options.signal);
      options.onProgress?.(done, plans.length);
      await writeWeight(writer, source, plan);
    }
    options.onProgress?.(plans.length, plans.length);
    await file.sync();
    return writer.index;
  } finally {
    await file.close();
  }
}

async function writeWeight(writer: WeightsWriter, source: WeightSource, plan: WeightPlan): Promise<void> {
  const tensor = source.tensors.get(plan.name);
  if (tensor === undefined) {
    throw new KvaultError("MODEL_CORRUPT", `Cannot use model: "${source.path}" has no tensor "${plan.name}"`, {
      details: { tensor: plan.name },
    });
  }
  const { type, shape, byteLength } = tensor;
  if (plan.form === "vector") {
    await writer.writeTensor(plan.name, shape, dequantise(type, await source.readTensor(plan.name)));
    return;
  }
  const [columns, rows] = shape as [number, number];
  const headDim = source.interleavedRows ? plan.interleavedHeadDim : undefined;
  // slabs of whole heads, so that rows can be put in order within each
  const unit = headDim ?? 1;
  const slabRows = Math.max(unit, Math.floor(SLAB_BYTES / (byteLength / rows) / unit) * unit);
  const matrix = writer.openMatrix(plan.name, matMulNBitsForm(type), rows, columns);
  for (let first = 0; first < rows; first += slabRows) {
    const count = Math.min(slabRows, rows - first);
    const bytes = await source.readTensor(plan.name, { first, count });
    const ordered = headDim === undefined ? bytes : reorderRows(bytes, halfSplitRowOrder(count / headDim, headDim));
    await matrix.writeRows(toMatMulNBits(type, ordered, columns, count));
  }
}

/** cos and sin of position · frequency, `[maxTokens, D/2]`, angles in f64; one pair of tables per kind of layer. */
async function writeRotations(writer: WeightsWriter, config: ModelConfig): Promise<void> {
  const written = new Set<string>();
  const { maxTokens, headDim } = config;
  for (const layer of [...globalLayers(config).slice(0, 1), ...Array.from({ length: config.numLayers }, (_, l) => l)]) {
    const tables = rotationTables(config, layer);
    if (written.has(tables.cos)) continue;
    written.add(tables.cos);
    const half = headDim / 2;
    const cos = new Float32Array(maxTokens * half);
    const sin = new Float32Array(maxTokens * half);
    for (const [i, frequency] of ropeFrequencies(config, layer).entries()) {
      for (let position = 0; position < maxTokens; position++) {
        cos[position * half + i] = Math.cos(position * frequency);
        sin[position * half + i] = Math.sin(position * frequency);
      }
    }
    await writer.writeTensor(tables.cos, [maxTokens, half], cos);
    await writer.writeTensor(tables.sin, [maxTokens, half], sin);
  }
}

async function checkWeightsSize(folder: string, weights: WeightsIndex): Promise<void> {
  const expected = Math.max(...Object.values(weights.tensors).map((tensor) => tensor.byteOffset + tensor.byteLength));
  const { size } = await stat(join(folder, WEIGHTS_FILE));
  if (size !== expected) {
    throw new KvaultError(
      "MODEL_CORRUPT",
      `Cannot use generated weights: ${size} bytes where ${expected} were written; delete "${folder}"`,
    );
  }
}

async function writeAtomically(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}-${randomBytes(4).toString("hex")}`;
  await writeFile(temporary, bytes);
  await rename(temporary, path);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
}

/** Removes folders that a killed process left half built. */
async function sweepStale(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    if (!name.includes(".building-")) continue;
    const path = join(root, name);
    const info = await stat(path).catch(() => undefined);
    if (info !== undefined && Date.now() - info.mtimeMs > STALE_MS) await rm(path, { recursive: true, force: true });
  }
}
