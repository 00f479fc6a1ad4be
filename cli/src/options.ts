/**
 * Command-line options that several commands share, and the checks of their values.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { type Command, InvalidArgumentError, Option } from "commander";
import { configurable } from "./config-file.ts";
import { DEFAULT_ADDRESS, defaultCacheDir, defaultThreads, type Environment } from "./settings.ts";

const DEFAULT_MODEL = "qwen2.5-coder-0.5b";

export const addressOption = (what = "gateway to talk to (or unix:/path)"): Option =>
  configurable(new Option("--address <host:port>", what).env("KVAULT_ADDRESS").default(DEFAULT_ADDRESS));

export const modelOption = (): Option =>
  configurable(new Option("-m, --model <name>", "model, see `kvault model list`").default(DEFAULT_MODEL));

export const methodOption = (): Option =>
  configurable(
    new Option(
      "--method <spec>",
      "preset or spec, see `kvault methods` (default: kvault for models evaluated with it, kvzip for others)",
    ),
  );

export const keepOption = (): Option =>
  configurable(new Option("--keep <ratio>", "fraction of the KV pairs that is KEPT, above 0 and at most 1").argParser(keepRatio));

export const maxTokensOption = (): Option =>
  configurable(new Option("--max-tokens <n>", "longest answer, tokens").default(64).argParser(positiveInteger));

const threadsOption = (): Option =>
  configurable(new Option("--threads <n>", "threads of each engine").env("KVAULT_THREADS").argParser(positiveInteger));

export const offlineOption = (): Option => configurable(new Option("--offline", "never download (env: KVAULT_OFFLINE=true)"));

export const dataDirOption = (): Option =>
  configurable(new Option("--data-dir <path>", "where records are kept (default: ~/.local/share/kvault)").env("KVAULT_DATA_DIR"));

export const cacheDirOption = (): Option =>
  configurable(new Option("--cache-dir <path>", "where models are kept (default: ~/.cache/kvault)").env("KVAULT_CACHE_DIR"));

/** How a command reaches its gateway. */
export interface ConnectionFlags {
  readonly address: string;
  readonly tokenFile?: string;
  readonly tlsCaFile?: string;
}

/** Adds `--address`, `--token-file` and `--tls-ca-file`. */
export function withConnectionFlags(command: Command): Command {
  return command
    .addOption(addressOption())
    .addOption(configurable(new Option("--token-file <path>", "file that holds the API token").env("KVAULT_TOKEN_FILE")))
    .addOption(
      configurable(new Option("--tls-ca-file <path>", "PEM authorities of the server; turns TLS on").env("KVAULT_TLS_CA_FILE")),
    );
}

/** Options of every command that runs a model here. */
export interface EngineFlags {
  readonly threads?: number;
  readonly offline?: boolean;
  readonly cacheDir?: string;
}

/** The same, complete. */
export interface EngineSettings {
  readonly threads: number;
  readonly offline: boolean;
  readonly cacheDir: string;
}

/** Adds `--threads`, `--offline` and `--cache-dir`. */
export function withEngineFlags(command: Command): Command {
  return command.addOption(threadsOption()).addOption(offlineOption()).addOption(cacheDirOption());
}

export function engineSettings(flags: EngineFlags, env: Environment): EngineSettings {
  return {
    threads: flags.threads ?? defaultThreads(),
    offline: flags.offline ?? env["KVAULT_OFFLINE"] === "true",
    cacheDir: flags.cacheDir ?? defaultCacheDir(env),
  };
}

/** What a text is read from. */
export interface TextFlags {
  readonly file?: readonly string[];
  readonly ignore?: readonly string[];
}

/** Adds `--file` and `--ignore`. */
export function withTextFlags(command: Command, { required = false }: { readonly required?: boolean } = {}): Command {
  const flags = ["-f, --file <source>", "UTF-8 file, folder, http(s) page, or - for stdin; may be repeated"] as const;
  return (required ? command.requiredOption(...flags, collect) : command.option(...flags, collect)).option(
    "--ignore <pattern>",
    "leave these out of folders, as in a .gitignore; may be repeated",
    collect,
  );
}

/** Gathers a repeatable option. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** `KEY=VALUE` → one more label. */
export function collectLabel(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const equals = text.indexOf("=");
  if (equals < 1) throw new InvalidArgumentError("Write it as KEY=VALUE.");
  return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) };
}

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("Must be a whole number above 0.");
  return value;
}

/** `90s`, `15m`, `12h`, `30d` → seconds. */
export function duration(text: string): number {
  const match = /^(\d+)([smhd])$/.exec(text);
  const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[match?.[2] as "s" | "m" | "h" | "d"];
  if (match === null || unit === undefined) throw new InvalidArgumentError("Write it as 90s, 15m, 12h or 30d.");
  return Number(match[1]) * unit;
}

/** Typed as the server types it, before any work is done. */
function keepRatio(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value > 0 && value <= 1)) {
    throw invalidArgument("keep_ratio", `Cannot keep a fraction of ${text}: must be above 0 and at most 1`, { found: text });
  }
  return value;
}
