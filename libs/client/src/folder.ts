/**
 * A folder of text, such as a code base, as one text: every file under a line with its path.
 *
 *     === src/main.ts ===
 *     …
 *
 * `.gitignore` and `.kvaultignore` files hold where they lie, as git reads them: also those above the
 * folder, up to the repository that it is in. Left out besides:
 * `.git`, links (they may lead out, or round), what is no UTF-8 text, and files over a limit. Paths
 * ascend, so that the same files are the same text, and so the same context.
 *
 * @module
 */
import type { Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { invalidArgument, throwIfAborted } from "@kvault/core";
import ignore, { type Ignore } from "ignore";

const IGNORE_FILES = [".gitignore", ".kvaultignore"] as const;
/** Longest file that is read, and all of them together, bytes. */
const MAX_FILE_BYTES = 1 * 2 ** 20;
const MAX_TOTAL_BYTES = 64 * 2 ** 20;
/** Most files, and deepest folder: more is a folder that was not meant. */
const MAX_FILES = 50_000;
const MAX_DEPTH = 64;

export interface FolderSettings {
  /** More patterns, as in a `.gitignore` at the root. */
  readonly ignore?: readonly string[];
  /** Larger files are left out; 1 MiB. */
  readonly maxFileBytes?: number;
  readonly signal?: AbortSignal;
}

export interface FolderText {
  readonly text: string;
  /** What is in it, in its order. Paths have `/` and begin at the folder. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** What is not, but for what was ignored. */
  readonly skipped: readonly { readonly path: string; readonly reason: "too large" | "not text" | "link" }[];
}

/** Rules of one folder's ignore files; they hold for what is below it. */
interface Rules {
  /** A path, as it is from that folder. */
  pathFrom(path: string): string;
  readonly rules: Ignore;
}

/** Reads a folder. INVALID_ARGUMENT naming it when it cannot be read, is too large or holds no text. */
export async function readFolder(folder: string, settings: FolderSettings = {}): Promise<FolderText> {
  const { maxFileBytes = MAX_FILE_BYTES, signal } = settings;
  const pieces: string[] = [];
  const files: { path: string; bytes: number }[] = [];
  const skipped: { path: string; reason: "too large" | "not text" | "link" }[] = [];
  let totalBytes = 0;

  const addFile = async (path: string): Promise<void> => {
    const { size } = await stat(join(folder, path));
    if (size > maxFileBytes) return void skipped.push({ path, reason: "too large" });
    const text = textOf(await readFile(join(folder, path)));
    if (text === undefined) return void skipped.push({ path, reason: "not text" });
    totalBytes += size;
    if (files.length === MAX_FILES) throw refused(folder, `over ${MAX_FILES} files`);
    if (totalBytes > MAX_TOTAL_BYTES) throw refused(folder, `over ${MAX_TOTAL_BYTES} bytes of text`);
    files.push({ path, bytes: size });
    pieces.push(headed(path, text));
  };
  const walk = async (base: string, inherited: readonly Rules[], depth: number): Promise<void> => {
    throwIfAborted(signal);
    if (depth > MAX_DEPTH) throw refused(folder, `over ${MAX_DEPTH} folders deep`);
    const entries = await readdir(join(folder, base), { withFileTypes: true });
    const own = await rulesIn(join(folder, base), entries);
    const rules =
      own === undefined ? inherited : [...inherited, { rules: own, pathFrom: (path: string) => path.slice(base.length) }];
    for (const entry of entries.sort(byName)) {
      const path = `${base}${entry.name}`;
      if (entry.name === ".git" || isIgnored(entry.isDirectory() ? `${path}/` : path, rules)) continue;
      if (entry.isSymbolicLink()) skipped.push({ path, reason: "link" });
      else if (entry.isDirectory()) await walk(`${path}/`, rules, depth + 1);
      else if (entry.isFile()) await addFile(path);
    }
  };
  try {
    const given = { rules: ignore().add([...(settings.ignore ?? [])]), pathFrom: (path: string) => path };
    await walk("", [...(await rulesAbove(resolve(folder))), given], 0);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    throw /^E[A-Z]+$/.test(code) ? refused(folder, (error as Error).message) : error;
  }
  if (files.length === 0) throw refused(folder, "no text in it that is not ignored");
  return { text: pieces.join("\n"), files, skipped };
}

/** `text` under a line that says where it is from. */
export function headed(path: string, text: string): string {
  return `=== ${path} ===\n${text.endsWith("\n") ? text : `${text}\n`}`;
}

async function rulesIn(folder: string, entries: readonly Dirent[]): Promise<Ignore | undefined> {
  const names = IGNORE_FILES.filter((name) => entries.some((entry) => entry.name === name && entry.isFile()));
  if (names.length === 0) return undefined;
  const rules = ignore();
  for (const name of names) rules.add(await readFile(join(folder, name), "utf8"));
  return rules;
}

/** Of the folders above `folder`, outermost first, when one of them is a repository; none when it is one itself. */
async function rulesAbove(folder: string): Promise<Rules[]> {
  const found: Rules[] = [];
  for (let at = folder; ; at = dirname(at)) {
    const entries = await readdir(at, { withFileTypes: true }).catch((error: unknown) => {
      if (at === folder) throw error;
      return [];
    });
    const rules = at === folder ? undefined : await rulesIn(at, entries);
    const prefix = relative(at, folder).split(sep).join("/");
    if (rules !== undefined) found.unshift({ rules, pathFrom: (path) => `${prefix}/${path}` });
    if (entries.some(({ name }) => name === ".git")) return found;
    if (dirname(at) === at) return [];
  }
}

/** The rules nearest to a path say last, as in git. */
function isIgnored(path: string, all: readonly Rules[]): boolean {
  let isOut = false;
  for (const { pathFrom, rules } of all) {
    const { ignored, unignored } = rules.test(pathFrom(path));
    isOut = ignored || (isOut && !unignored);
  }
  return isOut;
}

/** UTF-8 without NUL, or undefined. */
function textOf(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function byName(a: Dirent, b: Dirent): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function refused(folder: string, found: string): Error {
  return invalidArgument("folder", `Cannot make a text of "${folder}": ${found}`);
}
