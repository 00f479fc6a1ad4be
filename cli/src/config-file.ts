/**
 * Defaults of options, kept in a file: a flag goes before a variable, a variable before the file.
 *
 *     # ~/.config/kvault/config.yaml; another one: KVAULT_CONFIG_FILE
 *     address: kvault.example.org:7717
 *     token-file: ~/.config/kvault/token
 *     model: qwen2.5-coder-0.5b
 *
 * Keys are options' names. Which ones there are follows from the program: every option that was
 * made {@link configurable}. A file with anything wrong in it is refused, all its problems at once:
 * a misspelt key would otherwise be a default that nobody gets.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "@kvault/core";
import type { Command, Option } from "commander";
import type { Environment } from "./settings.ts";

const CONFIGURABLE = new WeakSet<Option>();
/** Values that name a file or a folder: `~` is the user's own. */
const PATH = /-(?:file|dir)$/;
/** Of options whose variable commander does not read. */
const VARIABLES: Readonly<Record<string, string>> = { offline: "KVAULT_OFFLINE" };

/** Marks an option that the file may set. */
export function configurable(option: Option): Option {
  CONFIGURABLE.add(option);
  return option;
}

/** Where it is looked for; undefined where there is no home. */
function configPath(env: Environment): string | undefined {
  if (env["KVAULT_CONFIG_FILE"] !== undefined) return env["KVAULT_CONFIG_FILE"];
  const base = env["XDG_CONFIG_HOME"] ?? (env["HOME"] === undefined ? undefined : join(env["HOME"], ".config"));
  return base === undefined ? undefined : join(base, "kvault", "config.yaml");
}

/** Gives options of `command` that neither a flag nor a variable set what the file says. INVALID_ARGUMENT naming keys and file. */
export async function applyConfigFile(program: Command, command: Command, env: Environment): Promise<void> {
  const path = configPath(env);
  const values = path === undefined ? undefined : await readConfig(path, env["KVAULT_CONFIG_FILE"] !== undefined);
  if (path === undefined || values === undefined) return;
  const known = configurableKeys(program);
  const problems: { readonly key: string; readonly problem: string }[] = [];
  for (const [key, value] of Object.entries(values)) {
    const problem = known.has(key)
      ? setOption(command, key, value, env)
      : `${key} is unknown, known are ${[...known].sort().join(" ")}`;
    if (problem !== undefined) problems.push({ key, problem });
  }
  const [first] = problems;
  if (first === undefined) return;
  throw invalidArgument(first.key, `Cannot use "${path}": ${problems.map(({ problem }) => problem).join("; ")}`, { file: path });
}

const keyOf = (option: Option): string => option.long?.replace(/^--/, "") ?? "";

/** Of every command. */
function configurableKeys(command: Command): Set<string> {
  const own = command.options.filter((option) => CONFIGURABLE.has(option)).map(keyOf);
  return new Set([...own, ...command.commands.flatMap((child) => [...configurableKeys(child)])]);
}

async function readConfig(path: string, mustExist: boolean): Promise<Readonly<Record<string, unknown>> | undefined> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" && !mustExist) return undefined;
    throw invalidArgument("KVAULT_CONFIG_FILE", `Cannot read "${path}": ${message}`, { file: path });
  }
  // Read by those who have a file, not by every start.
  const { parse } = await import("yaml");
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw invalidArgument("KVAULT_CONFIG_FILE", `Cannot read "${path}": ${(error as Error).message.split("\n")[0]}`, {
      file: path,
    });
  }
  if (value === null || value === undefined) return undefined;
  if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  throw invalidArgument("KVAULT_CONFIG_FILE", `Cannot read "${path}": expected lines of "option: value"`, { file: path });
}

/** What is wrong with the value, or undefined. */
function setOption(command: Command, key: string, value: unknown, env: Environment): string | undefined {
  const option = command.options.find((each) => CONFIGURABLE.has(each) && keyOf(each) === key);
  if (option === undefined) return undefined;
  const isSwitch = !option.required && !option.optional;
  if (isSwitch && typeof value !== "boolean") return `${key} must be true or false, found ${shown(value)}`;
  if (!isSwitch && typeof value !== "string" && typeof value !== "number")
    return `${key} must be one value, found ${shown(value)}`;
  const source = command.getOptionValueSource(option.attributeName());
  const variable = option.envVar ?? VARIABLES[key];
  if (source === "cli" || (variable !== undefined && env[variable] !== undefined)) return undefined;
  try {
    const read = isSwitch ? value : parsed(option, PATH.test(key) ? fromHome(String(value), env) : String(value));
    command.setOptionValueWithSource(option.attributeName(), read, "config");
  } catch (error) {
    return `${key}: ${(error as Error).message}`;
  }
  return undefined;
}

function parsed(option: Option, text: string): unknown {
  return option.parseArg === undefined ? text : option.parseArg(text, undefined as never);
}

function fromHome(path: string, env: Environment): string {
  return path.startsWith("~/") ? join(env["HOME"] ?? "", path.slice(2)) : path;
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? String(value);
}
