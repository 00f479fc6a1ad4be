/**
 * What `--file` names, as one text: files, folders, web pages, stdin.
 *
 * One file, page or stdin is its text alone; several of them, and folders, have a line with its path
 * over every file.
 *
 * @module
 */
import { readFileSync, statSync } from "node:fs";
import { headed, readFolder } from "@kvault/client";
import { invalidArgument } from "@kvault/core";
import { readUrl } from "./read-url.ts";

/** Largest text of one source, bytes. */
const MAX_TEXT_BYTES = 64 * 2 ** 20;

export interface Sources {
  readonly text: string;
  /** What was read, for people. */
  readonly described: string;
  readonly numFiles: number;
  /** Files of folders that are no text, too large, or links. */
  readonly skipped: readonly string[];
}

export interface ReadSettings {
  /** Patterns, as in a `.gitignore` at the root of every folder. */
  readonly ignore?: readonly string[];
  readonly signal: AbortSignal;
}

/** INVALID_ARGUMENT naming what is missing, empty, too large or no UTF-8. */
export async function readSources(names: readonly string[], { ignore, signal }: ReadSettings): Promise<Sources> {
  if (new Set(names).size < names.length) throw invalidArgument("file", "Cannot read a source twice: name each once");
  const texts: { readonly name: string; readonly text: string }[] = [];
  const skipped: string[] = [];
  let numFiles = 0;
  let hasFolder = false;
  for (const name of names) {
    if (isFolder(name)) {
      hasFolder = true;
      const found = await readFolder(name, { signal, ...(ignore === undefined ? {} : { ignore }) });
      texts.push({ name: "", text: found.text });
      skipped.push(...found.skipped.map(({ path, reason }) => `${path}: ${reason}`));
      numFiles += found.files.length;
      continue;
    }
    texts.push({ name: name === "-" ? "stdin" : name, text: isUrl(name) ? await readUrl(name, signal) : readTextFile(name) });
    numFiles += 1;
  }
  const isBare = texts.length === 1 && !hasFolder;
  const text = texts
    .map((each) => (isBare || each.name === "" ? each.text : headed(each.name, each.text)))
    .join(isBare ? "" : "\n");
  return { text, described: numFiles === 1 ? (names[0] ?? "") : `${numFiles} files`, numFiles, skipped };
}

function isUrl(name: string): boolean {
  return /^https?:\/\//i.test(name);
}

function isFolder(name: string): boolean {
  return name !== "-" && !isUrl(name) && (statSync(name, { throwIfNoEntry: false })?.isDirectory() ?? false);
}

function readTextFile(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path === "-" ? 0 : path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "unreadable";
    throw invalidArgument("file", `Cannot read "${path}": ${reason}`);
  }
  if (bytes.byteLength > MAX_TEXT_BYTES) {
    throw invalidArgument("file", `Cannot read "${path}": ${bytes.byteLength} bytes, at most ${MAX_TEXT_BYTES}`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalidArgument("file", `Cannot read "${path}": not UTF-8 text`);
  }
  if (text.trim() === "") throw invalidArgument("file", `Cannot make a context of "${path}": it is empty`);
  return text;
}
