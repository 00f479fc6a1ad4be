/**
 * The manifest: the one object that makes a context exist, and everything known about it.
 *
 * `manifest.json` is JSON with sorted keys, so equal manifests are equal bytes. It is written
 * last and read with suspicion: every count has a limit, every sum must agree with what it
 * sums, the digest must follow from the identity and the id from the digest, and `checksum`
 * (in the file only) is the SHA-256 of the file without it.
 *
 * @module
 */
import type { KvShape } from "@kvault/core";
import { KvaultError, sha256Hex } from "@kvault/core";
import { z } from "zod";
import type { ContextIdentity } from "./identity.ts";
import { contextDigest, contextIdOf, RECORD_FORMAT_VERSION } from "./identity.ts";

export const MANIFEST_SCHEMA = "kvault.context/1";

/** Far above any model or request we know; what is larger is damage or an attack. */
export const MANIFEST_LIMITS = {
  layers: 1024,
  heads: 1024,
  headDim: 8192,
  tokens: 16_777_216,
  partsPerLayer: 4096,
  partBytes: 67_108_864,
  nameChars: 256,
  specChars: 4096,
  labels: 64,
  labelKeyChars: 64,
  labelValueChars: 256,
  manifestBytes: 33_554_432,
} as const;

/** How parts are sealed (encryption/sealed-part.ts). */
export const ENCRYPTION = "aes-256-gcm/1";

const TENANT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

const LIMITS = MANIFEST_LIMITS;
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "not 64 lower-case hex digits");
const count = (max: number, min = 0): z.ZodInt => z.int().min(min).max(max);
const total = z.int().min(0);
const seconds = z.number().min(0);
const timeMs = z.int().min(0);
const name = z.string().max(LIMITS.nameChars);
const spec = z.string().min(1).max(LIMITS.specChars);

const partRef = z.strictObject({ sha256, bytes: count(LIMITS.partBytes, 1) });

const manifestSchema = z.strictObject({
  schema: z.literal(MANIFEST_SCHEMA),
  contextId: z.string(),
  digest: sha256,
  identity: z.strictObject({
    weightsSha256: sha256,
    tokenizerSha256: sha256,
    templateSha256: sha256,
    rope: name,
    contentSha256: sha256,
    spec,
    profiles: z
      .string()
      .regex(/^[a-z-]+=[0-9a-f]{64}(,[a-z-]+=[0-9a-f]{64})*$/, "not a list of profiles")
      .max(LIMITS.specChars)
      .optional(),
    formatVersion: z.int().min(1),
    tenantSalt: name,
  }),
  model: z.strictObject({
    name,
    numLayers: count(LIMITS.layers, 1),
    numKvHeads: count(LIMITS.heads, 1),
    headDim: count(LIMITS.headDim, 1),
  }),
  prefixTokens: count(LIMITS.tokens),
  contextTokens: count(LIMITS.tokens, 1),
  nextPosition: count(2 * LIMITS.tokens),
  codec: spec,
  layers: z
    .array(
      z.strictObject({
        parts: z.array(partRef).min(1).max(LIMITS.partsPerLayer),
        headLengths: z.array(count(2 * LIMITS.tokens)).max(LIMITS.heads),
        windowTokens: count(2 * LIMITS.tokens, 1).optional(),
      }),
    )
    .max(LIMITS.layers),
  report: z.strictObject({
    spec,
    keepRatio: z.number().gt(0).max(1),
    keptRatio: z.number().min(0).max(1),
    keptPairs: total,
    totalPairs: total,
    rawBytesF16: total,
    storedBytes: total,
    queryAgnostic: z.boolean(),
    resumedTokens: count(2 * LIMITS.tokens, 1).optional(),
    seconds: z.strictObject({
      queue: seconds,
      load: seconds,
      prefill: seconds,
      score: seconds,
      compress: seconds,
      publish: seconds,
    }),
  }),
  tenant: z.string().regex(TENANT, "not a tenant id").optional(),
  encryption: z.literal(ENCRYPTION).optional(),
  displayName: name,
  labels: z
    .record(z.string().min(1).max(LIMITS.labelKeyChars), z.string().max(LIMITS.labelValueChars))
    .refine((labels) => Object.keys(labels).length <= LIMITS.labels, `over ${LIMITS.labels} labels`),
  createTimeMs: timeMs,
  expireTimeMs: timeMs,
});

/** One blob of a layer: rows that continue those of the part before it. */
export interface PartRef {
  readonly sha256: string;
  readonly bytes: number;
}

export interface LayerManifest {
  /** In row order; their rows joined are the layer. */
  readonly parts: readonly PartRef[];
  /** Kept pairs of each KV head, template prefix included. */
  readonly headLengths: readonly number[];
  /** Set where the layer sees a sliding window: every head holds all of the latest positions, this many at most. */
  readonly windowTokens?: number | undefined;
}

/** Seconds of a build, phase by phase. */
export interface BuildSeconds {
  readonly queue: number;
  readonly load: number;
  readonly prefill: number;
  readonly score: number;
  readonly compress: number;
  readonly publish: number;
}

export interface ContextReport {
  /** Same as the identity's. */
  readonly spec: string;
  /**
   * Fraction of context pairs kept that was asked for, and what it came to; the prefix counts in
   * neither, nor do windowed layers, which evict nothing.
   */
  readonly keepRatio: number;
  readonly keptRatio: number;
  /** Pairs over all layers and KV heads, prefix included; of a windowed layer those of its window. */
  readonly keptPairs: number;
  readonly totalPairs: number;
  /** Bytes of the full cache at 16 bits, and of the stored parts. */
  readonly rawBytesF16: number;
  readonly storedBytes: number;
  /** True when no query was looked at. */
  readonly queryAgnostic: boolean;
  /** Tokens that another builder had read before it died, and that were not read again. */
  readonly resumedTokens?: number | undefined;
  readonly seconds: BuildSeconds;
}

export interface ContextManifest {
  readonly schema: typeof MANIFEST_SCHEMA;
  readonly contextId: string;
  readonly digest: string;
  readonly identity: ContextIdentity;
  /** `name` is the catalogue's; the sizes are the cache's. */
  readonly model: KvShape & { readonly name: string };
  /** Template tokens before the context. */
  readonly prefixTokens: number;
  readonly contextTokens: number;
  /** Position of the first token after the context: its original length, not the kept count. */
  readonly nextPosition: number;
  /** Codec stage of the spec, e.g. `f16`. */
  readonly codec: string;
  readonly layers: readonly LayerManifest[];
  readonly report: ContextReport;
  /** Owner; absent where there is one tenant. */
  readonly tenant?: string | undefined;
  /** Set when the parts are sealed with the owner's key; their digests are of the sealed bytes. */
  readonly encryption?: typeof ENCRYPTION | undefined;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createTimeMs: number;
  /** 0: never. */
  readonly expireTimeMs: number;
}

/** What a builder knows; the rest of a manifest follows from it. */
export type ManifestInput = Omit<ContextManifest, "schema" | "contextId" | "digest" | "nextPosition" | "report"> & {
  readonly report: Pick<ContextReport, "keepRatio" | "queryAgnostic" | "resumedTokens" | "seconds">;
};

/** The whole manifest: id, digest, position and every total are computed here and nowhere else. */
export function createManifest(input: ManifestInput): ContextManifest {
  const digest = contextDigest(input.identity);
  return {
    ...input,
    schema: MANIFEST_SCHEMA,
    contextId: contextIdOf(digest),
    digest,
    nextPosition: input.prefixTokens + input.contextTokens,
    report: { ...input.report, spec: input.identity.spec, ...totalsOf(input) },
  };
}

type Totals = Pick<ContextReport, "keptRatio" | "keptPairs" | "totalPairs" | "rawBytesF16" | "storedBytes">;

/** Every figure of the report that the rest of the manifest determines. */
function totalsOf(input: Pick<ManifestInput, "model" | "prefixTokens" | "contextTokens" | "layers">): Totals {
  const { model, prefixTokens, contextTokens, layers } = input;
  const nextPosition = prefixTokens + contextTokens;
  const evictable = layers.filter(({ windowTokens }) => windowTokens === undefined);
  const rows = (model.numLayers - (layers.length - evictable.length)) * model.numKvHeads;
  const pairsOf = (some: readonly LayerManifest[]): number => sum(some.map((layer) => sum(layer.headLengths)));
  const windowed = layers.map((layer) => Math.min(nextPosition, layer.windowTokens ?? 0));
  const keptPairs = pairsOf(layers);
  const totalPairs = rows * nextPosition + sum(windowed) * model.numKvHeads;
  const keptOfContext = Math.max(0, pairsOf(evictable) - rows * prefixTokens);
  return {
    keptRatio: rows === 0 ? 1 : keptOfContext / (rows * contextTokens),
    keptPairs,
    totalPairs,
    rawBytesF16: totalPairs * model.headDim * 2 * 2, // keys and values, 2 bytes each
    // A part that several layers name is stored once.
    storedBytes: sum([...partSizes(layers).values()]),
  };
}

/** Manifest → bytes, the same for equal manifests. RangeError naming the field when it contradicts itself. */
export function encodeManifest(manifest: ContextManifest): Uint8Array {
  const problem = findProblem(manifest);
  if (problem !== undefined) throw new RangeError(`Cannot encode manifest: ${problem.field}: ${problem.found}`);
  return Buffer.from(canonicalJson({ ...manifest, checksum: sha256Hex(canonicalJson(manifest)) }), "utf8");
}

/**
 * Bytes → manifest. CACHE_CORRUPT naming the field that is damaged, missing, unknown or at odds
 * with another; INCOMPATIBLE_FORMAT for another schema or record format version.
 */
export function parseManifest(bytes: Uint8Array): ContextManifest {
  const { checksum, ...rest } = parseObject(bytes);
  if (typeof rest["schema"] === "string") refuseOtherVersion("schema", rest["schema"], MANIFEST_SCHEMA);
  const problem = findProblem(rest);
  if (problem !== undefined) throw corrupt(problem.field, problem.found);
  const expected = sha256Hex(canonicalJson(rest));
  if (checksum !== expected) throw corrupt("checksum", `found ${String(checksum)}, expected ${expected}`);
  const manifest = rest as unknown as ContextManifest;
  refuseOtherVersion("formatVersion", manifest.identity.formatVersion, RECORD_FORMAT_VERSION);
  return manifest;
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.byteLength > LIMITS.manifestBytes) throw corrupt("bytes", `${bytes.byteLength}, limit ${LIMITS.manifestBytes}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw corrupt("manifest", cause instanceof Error ? cause.message : String(cause));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw corrupt("manifest", "not a JSON object");
  return value as Record<string, unknown>;
}

/** Bytes of every part by its digest; of one that is named with several sizes the first. */
function partSizes(layers: readonly LayerManifest[]): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  for (const { sha256, bytes } of layers.flatMap(({ parts }) => parts)) if (!sizes.has(sha256)) sizes.set(sha256, bytes);
  return sizes;
}

interface Problem {
  readonly field: string;
  readonly found: string;
}

function findProblem(value: unknown): Problem | undefined {
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return findContradiction(parsed.data);
  const issue = parsed.error.issues[0] as z.core.$ZodIssue;
  return { field: issue.path.join(".") || "manifest", found: issue.message };
}

function findContradiction(manifest: ContextManifest): Problem | undefined {
  const { model, layers, report, prefixTokens, contextTokens } = manifest;
  const totals = totalsOf(manifest);
  const equal: [field: string, found: unknown, expected: unknown][] = [
    ["digest", manifest.digest, contextDigest(manifest.identity)],
    ["contextId", manifest.contextId, contextIdOf(manifest.digest)],
    ["nextPosition", manifest.nextPosition, prefixTokens + contextTokens],
    ["layers.length", layers.length, model.numLayers],
    ["report.spec", report.spec, manifest.identity.spec],
    ...layers.map((layer, l): [string, unknown, unknown] => [
      `layers.${l}.headLengths.length`,
      layer.headLengths.length,
      model.numKvHeads,
    ]),
    ...(Object.keys(totals) as (keyof Totals)[]).map((field): [string, unknown, unknown] => [
      `report.${field}`,
      report[field],
      totals[field],
    ]),
  ];
  for (const [field, found, expected] of equal) {
    if (found !== expected) return { field, found: `found ${String(found)}, expected ${String(expected)}` };
  }
  const sizes = partSizes(layers);
  for (const [l, layer] of layers.entries()) {
    const { headLengths, windowTokens } = layer;
    const p = layer.parts.findIndex(({ sha256, bytes }) => sizes.get(sha256) !== bytes);
    if (p >= 0) {
      const { sha256, bytes } = layer.parts[p] as PartRef;
      return { field: `layers.${l}.parts.${p}.bytes`, found: `found ${bytes}, expected ${sizes.get(sha256)} as before` };
    }
    const most = Math.min(manifest.nextPosition, windowTokens ?? manifest.nextPosition);
    const h = headLengths.findIndex((length) => length > most || (windowTokens !== undefined && length < most));
    if (h >= 0) return { field: `layers.${l}.headLengths.${h}`, found: `found ${headLengths[h]} of ${most}` };
  }
  return undefined;
}

function refuseOtherVersion(field: string, found: string | number, expected: string | number): void {
  if (found === expected) return;
  const shown = String(found).slice(0, 80);
  throw new KvaultError("INCOMPATIBLE_FORMAT", `Cannot read manifest: ${field} is "${shown}", this version reads "${expected}"`, {
    details: { field, expected, found: shown },
  });
}

function corrupt(field: string, found: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot read manifest: ${field}: ${found}`, { details: { field, found } });
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** JSON with the keys of every object in order. */
function canonicalJson(value: object): string {
  const sortKeys = (_key: string, at: unknown): unknown =>
    typeof at !== "object" || at === null || Array.isArray(at)
      ? at
      : Object.fromEntries(Object.entries(at).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify(value, sortKeys)}\n`;
}
