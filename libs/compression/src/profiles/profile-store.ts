/**
 * Where profiles are: `<folder>/<model>/<name>.safetensors`, in the cache folder for those that
 * were made here, beside this package for those that came with it. One made here is preferred.
 *
 * Files are small and read when asked for; what was read is kept until the file changes, so
 * that a new calibration counts at once, in every process.
 *
 * @module
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KvaultError } from "@kvault/core";
import { type ModelProfile, PROFILE_NAMES, type ProfileName } from "../types.ts";
import { decodeProfile, MAX_PROFILE_BYTES, type StoredProfile } from "./profile-file.ts";

/** Profiles that came with KVault. */
const BUILT_IN = fileURLToPath(new URL("../../profiles", import.meta.url));

/** A model as profiles know it. */
export interface ProfiledModel {
  readonly name: string;
  readonly weightsSha256: string;
}

export interface ProfileStore {
  /**
   * The profile of `model`, or undefined where there is none. INCOMPATIBLE_MODEL when the one that
   * is there was made of other weights, MODEL_CORRUPT when it is damaged.
   */
  find(model: ProfiledModel, name: ProfileName): StoredProfile | undefined;
  /** Names of the models that have a profile `name`, whatever their weights. */
  modelsWith(name: ProfileName): readonly string[];
}

/** Where `kvault calibrate` writes, under a cache folder. */
export function profileFolder(cacheDir: string): string {
  return join(cacheDir, "profiles");
}

/** Path of a profile below a folder of profiles. */
export function profilePath(folder: string, model: string, name: ProfileName): string {
  return join(folder, model, `${name}.safetensors`);
}

/** Those of `cacheDir`, where there is one, and those that came with the package. Nothing is read yet. */
export function openProfiles(cacheDir?: string): ProfileStore {
  return profilesIn(cacheDir === undefined ? [BUILT_IN] : [profileFolder(cacheDir), BUILT_IN]);
}

/** Profiles of several folders, earlier ones preferred. */
export function profilesIn(folders: readonly string[]): ProfileStore {
  const read = new Map<string, { readonly version: string; readonly profile: StoredProfile }>();
  const readAt = (path: string, name: ProfileName): StoredProfile | undefined => {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined || !found.isFile()) return undefined;
    const version = `${found.ino} ${found.size} ${found.mtimeMs}`;
    const known = read.get(path);
    if (known?.version === version) return known.profile;
    if (found.size > MAX_PROFILE_BYTES) {
      throw new KvaultError("MODEL_CORRUPT", `Cannot read profile "${path}": ${found.size} bytes, limit ${MAX_PROFILE_BYTES}`);
    }
    const profile = decodeProfile(readFileSync(path), name, path);
    read.set(path, { version, profile });
    return profile;
  };
  return {
    find(model, name) {
      if (!/^[\w.-]+$/.test(model.name) || model.name.startsWith(".")) return undefined;
      for (const folder of folders) {
        const path = profilePath(folder, model.name, name);
        const profile = readAt(path, name);
        if (profile === undefined) continue;
        if (profile.weightsSha256 === model.weightsSha256) return profile;
        throw new KvaultError(
          "INCOMPATIBLE_MODEL",
          `Cannot use profile "${path}": it was made of weights "${profile.weightsSha256}", found "${model.weightsSha256}"; ${howToMake(model.name, name)}`,
          { details: { field: "profile", expected: profile.weightsSha256, found: model.weightsSha256 } },
        );
      }
      return undefined;
    },
    modelsWith(name) {
      const models = folders.flatMap((folder) =>
        modelFolders(folder).filter((model) => isFile(profilePath(folder, model, name))),
      );
      return [...new Set(models)].sort();
    },
  };
}

/** What a plan rests on, found. */
export interface FoundProfiles {
  readonly profile: ModelProfile;
  /** `name=digest`, comma-separated, by name: part of a context's identity. Empty where nothing is needed. */
  readonly digests: string;
}

/** Finds all of `names`. PROFILE_NOT_FOUND for the first that is missing, with the command that makes it. */
export function findProfiles(store: ProfileStore, model: ProfiledModel, names: Iterable<ProfileName>): FoundProfiles {
  const profile: { [Name in ProfileName]?: Float32Array } = {};
  const digests: string[] = [];
  for (const name of [...names].sort()) {
    const found = store.find(model, name);
    if (found === undefined) throw profileNotFound(model.name, name);
    profile[name] = found.values;
    digests.push(`${name}=${found.digest}`);
  }
  return { profile, digests: digests.join(",") };
}

/**
 * Models on which the evaluation (docs/kvault-method.md) found our own preset at least as good as
 * KVzip: a name is added here with its results, and the default follows.
 */
const EVALUATED: ReadonlySet<string> = new Set();

/** What a request that names no method gets: our own preset where the model is evaluated and calibrated for it, else KVzip. */
export function defaultMethod(store: ProfileStore, model: ProfiledModel, evaluated: ReadonlySet<string> = EVALUATED): string {
  return evaluated.has(model.name) && store.find(model, "surrogate") !== undefined ? "kvault" : "kvzip";
}

/** Names of the profiles that `model` has. */
export function profilesOf(store: ProfileStore, model: ProfiledModel): readonly ProfileName[] {
  return PROFILE_NAMES.filter((name) => store.find(model, name) !== undefined);
}

function profileNotFound(model: string, name: ProfileName): KvaultError {
  return new KvaultError(
    "PROFILE_NOT_FOUND",
    `Cannot use the method with model "${model}": it rests on profile "${name}", which was not found; ${howToMake(model, name)}`,
    { details: { model, profile: name } },
  );
}

function howToMake(model: string, name: ProfileName): string {
  return `make it with: kvault calibrate --model ${model} --profile ${name}`;
}

function modelFolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
