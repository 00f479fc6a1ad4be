/**
 * `kvault calibrate`: measures a model for the methods that rest on it.
 *
 * @module
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
  encodeProfile,
  isProfileName,
  openProfiles,
  PROFILE_NAMES,
  type Profile,
  type ProfileName,
  profileFolder,
  profilePath,
  profilesIn,
  resolveSpec,
} from "@kvault/compression";
import { invalidArgument, isKvaultError } from "@kvault/core";
import type { Command } from "commander";
import { fetchModel } from "../models.ts";
import { collect, type EngineFlags, engineSettings, modelOption, withEngineFlags } from "../options.ts";
import { table } from "../terminal/table.ts";
import { formatSeconds } from "../terminal/units.ts";
import { type Call, define, type Host, runs } from "./command.ts";

const SEED = 7;

interface CalibrateOptions extends EngineFlags {
  readonly model: string;
  readonly method?: readonly string[];
  readonly profile?: readonly string[];
  readonly text?: readonly string[];
  readonly outDir?: string;
  readonly list?: boolean;
  readonly force?: boolean;
}

export function addCalibrate(program: Command, host: Host): void {
  const command = define(program, {
    usage: "calibrate",
    summary: "Measure a model for the methods that rest on it",
    description: `Some methods rest on measurements of the model (profiles): our own, kvault, on a map from hidden states to
scores. This makes what a method needs, or the profiles named, from three short texts that come with
KVault or from your own. It may be killed at any time: the next run goes on where it stopped. Servers that
use the same cache folder see a new profile at once; contexts made with another profile stay what they are.`,
    examples: [
      ["kvault calibrate --model qwen2.5-coder-1.5b --method kvault", "what our own method needs"],
      ["kvault calibrate --model smollm2-135m --profile kvzip-heads --profile layer-map", "two profiles by name"],
      ["kvault calibrate --model smollm2-135m --list", "which profiles there are"],
    ],
  })
    .addOption(modelOption())
    .option("--method <spec>", "preset or spec whose profiles are made, may be repeated (default: kvault)", collect)
    .option("--profile <name>", `profile to make, may be repeated: ${PROFILE_NAMES.join(", ")}`, collect)
    .option("--text <file>", "UTF-8 text to measure on, may be repeated (default: those that come with KVault)", collect)
    .option("--out-dir <folder>", "where profiles are written, a folder for each model (default: in the cache folder)")
    .option("--force", "make profiles again that are there already")
    .option("--list", "only list the profiles of the model");
  withEngineFlags(command);
  runs<CalibrateOptions>(command, host, runCalibrate);
}

async function runCalibrate(call: Call, options: CalibrateOptions): Promise<void> {
  const { terminal, signal, env } = call;
  const { threads, offline, cacheDir } = engineSettings(options, env);
  const { model } = options;
  const { openHub } = await import("@kvault/model");
  const hub = await openHub({ cacheDir, offline });
  const { sha256 } = hub.describe(model);
  const known = { name: model, weightsSha256: sha256 };
  if (options.list === true) return listProfiles(call, known, cacheDir);
  const folder = options.outDir === undefined ? profileFolder(cacheDir) : resolve(options.outDir);
  const wanted = wantedProfiles(options);
  const there = options.force === true ? [] : wanted.filter((name) => isThere(folder, known, name));
  for (const name of there) terminal.note(`${name}: there already, --force makes it again`);
  const profiles = wanted.filter((name) => !there.includes(name));
  if (profiles.length === 0) {
    terminal.result({ model, made: [] }, () => "Nothing to do.");
    return;
  }
  const modelPath = await fetchModel(model, { cacheDir, offline, progress: terminal.progress, signal });
  const { calibrate, openModelRunner, readCalibrationTexts } = await import("@kvault/runtime");
  const texts = readCalibrationTexts(options.text);
  const runner = await openModelRunner({
    ...{ modelPath, weightsSha256: sha256, cacheDir, numThreads: threads, activations: "int8", signal },
  });
  const made: { readonly profile: ProfileName; readonly path: string }[] = [];
  const startMs = performance.now();
  try {
    const workFolder = join(cacheDir, "calibration", model);
    await calibrate(
      runner,
      { model, profiles, texts, seed: SEED, workFolder },
      {
        signal,
        onProgress: ({ profile, done, total }) => {
          const leftSeconds = done === 0 ? 0 : ((performance.now() - startMs) / 1000 / done) * (total - done);
          const left = done === 0 ? "" : `, about ${formatSeconds(leftSeconds)} left`;
          terminal.note(`${profile}: step ${done} of ${total}${left}`);
        },
        onProfile: async (profile) => {
          const path = writeProfile(folder, profile);
          made.push({ profile: profile.name, path });
        },
      },
    );
  } finally {
    await runner.close();
  }
  terminal.result({ model, made }, () => made.map(({ profile, path }) => `${profile}  ${path}`).join("\n"));
}

/** Profiles named, and those of the methods named. */
function wantedProfiles({ method, profile = [], model }: CalibrateOptions): ProfileName[] {
  const unknown = profile.find((name) => !isProfileName(name));
  if (unknown !== undefined) {
    throw invalidArgument("profile", `Cannot make profile "${unknown}": known are ${PROFILE_NAMES.join(", ")}`, {
      found: unknown,
    });
  }
  const methods = method ?? (profile.length === 0 ? ["kvault"] : []);
  const ofMethods = methods.flatMap((text) => {
    const { profiles } = resolveSpec(text);
    if (profiles.size === 0) {
      throw invalidArgument("method", `Cannot calibrate ${model} for "${text}": it rests on no measurement`, { found: text });
    }
    return [...profiles];
  });
  return [...new Set([...ofMethods, ...profile.filter(isProfileName)])];
}

function isThere(folder: string, model: { readonly name: string; readonly weightsSha256: string }, name: ProfileName): boolean {
  try {
    return profilesIn([folder]).find(model, name) !== undefined;
  } catch (error) {
    // One of other weights, or damaged: made again.
    if (isKvaultError(error, "INCOMPATIBLE_MODEL", "INCOMPATIBLE_FORMAT", "MODEL_CORRUPT")) return false;
    throw error;
  }
}

/** All or nothing: a reader never sees half a profile. */
function writeProfile(folder: string, profile: Profile): string {
  const path = profilePath(folder, profile.model, profile.name);
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.${process.pid}.part`;
  writeFileSync(partial, encodeProfile(profile));
  renameSync(partial, path);
  return path;
}

function listProfiles(
  { terminal }: Call,
  model: { readonly name: string; readonly weightsSha256: string },
  cacheDir: string,
): void {
  const store = openProfiles(cacheDir);
  const rows = PROFILE_NAMES.map((name) => {
    const found = store.find(model, name);
    return found === undefined
      ? { profile: name, made: false as const }
      : { profile: name, made: true as const, digest: found.digest, method: found.method, texts: found.texts };
  });
  terminal.result({ model: model.name, profiles: rows }, () =>
    table(
      ["profile", "made", "how"],
      rows.map((row) => [row.profile, row.made ? "yes" : "no", row.made ? row.method : ""]),
    ),
  );
}
