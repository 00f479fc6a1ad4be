/**
 * One measurement of one model as a file: a safetensors file with a single f32 tensor named like
 * the profile, and what it was made of as metadata.
 *
 * Read with suspicion: it must say what it is, of which weights, and hold finite numbers. Its
 * digest, the SHA-256 of the file, is part of the identity of every context that rests on it.
 *
 * @module
 */
import {
  bytesOf,
  decodeSafetensors,
  encodeSafetensors,
  isKvaultError,
  KvaultError,
  type NamedTensor,
  sha256Hex,
} from "@kvault/core";
import { z } from "zod";
import { PROFILE_NAMES, type ProfileName } from "../types.ts";

const PROFILE_FORMAT = "kvault.profile/1";

/** Far above any profile: a surrogate of the largest models has 20 MB. */
export const MAX_PROFILE_BYTES: number = 256 * 2 ** 20;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const sourceSchema = z.strictObject({
  model: z.string().min(1).max(256),
  weightsSha256: sha256,
  method: z.string().min(1).max(2048),
  seed: z.int().min(0),
  texts: z.array(z.strictObject({ name: z.string().max(256), sha256, tokens: z.int().min(1) })).max(10_000),
});

/** What a profile was made of and how. */
export interface ProfileSource {
  /** Of the catalogue. */
  readonly model: string;
  readonly weightsSha256: string;
  /** The measurement and its parameters, one line. */
  readonly method: string;
  readonly seed: number;
  /** What was read, in this order. */
  readonly texts: readonly { readonly name: string; readonly sha256: string; readonly tokens: number }[];
}

export interface Profile extends ProfileSource {
  readonly name: ProfileName;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** A profile as found. */
export interface StoredProfile extends Profile {
  /** Hex SHA-256 of its file. */
  readonly digest: string;
}

/** Same profile, same bytes. */
export function encodeProfile({ name, shape, values, ...source }: Profile): Uint8Array {
  const { model, weightsSha256, method, seed, texts } = sourceSchema.parse(source);
  const tensors = new Map<string, NamedTensor>([[name, { dtype: "F32", shape, data: bytesOf(values) }]]);
  return encodeSafetensors(tensors, {
    format: PROFILE_FORMAT,
    name,
    ...{ model, weightsSha256, method, seed: String(seed), texts: JSON.stringify(texts) },
  });
}

/** The inverse. MODEL_CORRUPT for bytes that are no whole profile of that name, INCOMPATIBLE_FORMAT for another version's. */
export function decodeProfile(bytes: Uint8Array, name: ProfileName, where: string): StoredProfile {
  const { tensors, metadata } = readFile(bytes, where);
  const { format, ...given } = metadata;
  if (format !== PROFILE_FORMAT) {
    throw new KvaultError(
      "INCOMPATIBLE_FORMAT",
      `Cannot read profile "${where}": format is "${format ?? "not given"}", this version reads "${PROFILE_FORMAT}"`,
      { details: { field: "format", found: format ?? "", expected: PROFILE_FORMAT } },
    );
  }
  const source = sourceSchema.safeParse({
    ...{ model: given["model"], weightsSha256: given["weightsSha256"], method: given["method"] },
    ...{ seed: Number(given["seed"]), texts: parseJson(given["texts"]) },
  });
  if (!source.success) {
    const { path, message } = source.error.issues[0];
    throw corrupt(where, `${path.join(".")}: ${message}`);
  }
  const tensor = tensors.get(name);
  if (given["name"] !== name || tensor === undefined || tensors.size !== 1 || tensor.dtype !== "F32") {
    throw corrupt(where, `it holds "${[...tensors.keys()].join('", "')}", expected one f32 tensor "${name}"`);
  }
  const values = new Float32Array(tensor.data.byteLength / 4);
  new Uint8Array(values.buffer).set(tensor.data);
  if (!values.every(Number.isFinite)) throw corrupt(where, "a number is not finite");
  return { ...source.data, name, shape: tensor.shape, values, digest: sha256Hex(bytes) };
}

/** True for the name of a profile. */
export function isProfileName(name: string): name is ProfileName {
  return (PROFILE_NAMES as readonly string[]).includes(name);
}

function readFile(bytes: Uint8Array, where: string): ReturnType<typeof decodeSafetensors> {
  try {
    return decodeSafetensors(bytes);
  } catch (cause) {
    if (!isKvaultError(cause, "CACHE_CORRUPT")) throw cause;
    throw corrupt(where, cause.message);
  }
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

function corrupt(where: string, found: string): KvaultError {
  return new KvaultError("MODEL_CORRUPT", `Cannot read profile "${where}": ${found}`, { details: { file: where } });
}
