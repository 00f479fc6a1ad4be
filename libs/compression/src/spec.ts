/**
 * Spec strings: a compression method as one line of text.
 *
 *   kvzip(chunk=2000,form=paper)|global|top-k(keep=0.3)|f16
 *
 *   spec  = part { "|" part }                      one for each of STAGES, in order; refit may be left out
 *   part  = name [ "(" [ arg { "," arg } ] ")" ]
 *   arg   = name "=" ( number | word )              spaces may stand between any two tokens
 *
 * Reading fills in every default, printing writes every parameter in the order its schema
 * declares, so equal methods have equal text: the text is part of a context's identity. What
 * cannot be read is refused by name and place, never repaired.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { closest, distance } from "fastest-levenshtein";
import { ALLOCATORS, CODECS, REFITS, SCORERS, SELECTORS } from "./registry.ts";
import type { PartFactory } from "./types.ts";

export type SpecValue = number | string | boolean;

/** One part: its registered name and every parameter, defaults included. */
export interface PartSpec {
  readonly name: string;
  readonly params: Readonly<Record<string, SpecValue>>;
}

/** A whole method, every part and parameter spelled out. */
export interface CompressionSpec {
  readonly scorer: PartSpec;
  readonly allocator: PartSpec;
  readonly selector: PartSpec;
  /** Left out by most methods: values are stored as they are. */
  readonly refit?: PartSpec;
  readonly codec: PartSpec;
}

/** Role of each part, in the order of the text. A new stage of the pipeline is one more row. */
const STAGES: readonly { readonly role: keyof CompressionSpec; readonly table: PartTable; readonly isOptional?: true }[] = [
  { role: "scorer", table: SCORERS },
  { role: "allocator", table: ALLOCATORS },
  { role: "selector", table: SELECTORS },
  { role: "refit", table: REFITS, isOptional: true },
  { role: "codec", table: CODECS },
];

const REQUIRED = STAGES.filter(({ isOptional }) => !isOptional);

type PartTable = ReadonlyMap<string, PartFactory<unknown>>;

/** Longer texts are refused before they are read: four parts with their parameters take a tenth of it. */
export const MAX_SPEC_CHARS = 2048;

/** Text → spec with every default filled in. Throws SPEC_INVALID or METHOD_NOT_FOUND naming the token and its place. */
export function parseSpec(text: string): CompressionSpec {
  const parts = readParts(text);
  const stages = [STAGES, REQUIRED].find(({ length }) => length === parts.length);
  if (stages === undefined) {
    const shape = REQUIRED.map(({ role }) => role).join("|");
    const example = [parts[0].name, "global", "top-k(keep=0.3)", "f16"].join("|");
    throw invalid(text, `${parts.length} of ${REQUIRED.length} parts, expected ${shape} as in ${example}`, text.length);
  }
  const spec: Partial<Record<keyof CompressionSpec, PartSpec>> = {};
  for (const [i, { role, table }] of stages.entries()) spec[role] = checkPart(text, parts[i], role, table);
  return spec as CompressionSpec;
}

/** The canonical text of `spec`: `parseSpec(printSpec(spec))` equals `spec`. */
export function printSpec(spec: CompressionSpec): string {
  const parts = STAGES.map(({ role }) => spec[role]).filter((part) => part !== undefined);
  return parts.map(printPart).join("|");
}

/** Text of one part alone, e.g. the codec a manifest names → that part. */
export function parsePart(text: string, role: keyof CompressionSpec): PartSpec {
  const parts = readParts(text);
  if (parts.length !== 1) throw invalid(text, `${parts.length} parts, expected one ${role}`, text.indexOf("|"));
  const table: PartTable = STAGES.find((stage) => stage.role === role)!.table;
  return checkPart(text, parts[0], role, table);
}

/** `name(param=value,…)`, or the bare name of a part without parameters. */
export function printPart({ name, params }: PartSpec): string {
  const args = Object.entries(params).map(([param, value]) => `${param}=${value}`);
  return args.length === 0 ? name : `${name}(${args.join(",")})`;
}

/** ` (did you mean "x"?)` when a known name is a slip of the finger away, else nothing. */
export function didYouMean(found: string, known: readonly string[]): string {
  if (known.length === 0) return "";
  const nearest = closest(found, known);
  return distance(found, nearest) <= Math.max(1, Math.floor(nearest.length / 3)) ? ` (did you mean "${nearest}"?)` : "";
}

interface RawArg {
  readonly name: string;
  readonly value: SpecValue;
  readonly text: string;
  readonly at: number;
}

interface RawPart {
  readonly name: string;
  readonly at: number;
  readonly args: readonly RawArg[];
}

const NAME = /[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*/y;
const NUMBER = /[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![a-z0-9_])/iy;

function readParts(text: string): RawPart[] {
  if (text.length > MAX_SPEC_CHARS) {
    throw invalid(text.slice(0, 40), `${text.length} characters, limit ${MAX_SPEC_CHARS}`, MAX_SPEC_CHARS);
  }
  const cursor = new Cursor(text);
  const parts = [readPart(cursor)];
  while (cursor.take("|")) parts.push(readPart(cursor));
  if (!cursor.done()) throw cursor.unexpected(`"|" or the end`);
  return parts;
}

function readPart(cursor: Cursor): RawPart {
  const at = cursor.skip();
  const name = cursor.match(NAME);
  if (name === undefined) throw cursor.unexpected("a name");
  const args: RawArg[] = [];
  if (cursor.take("(") && !cursor.take(")")) {
    do args.push(readArg(cursor));
    while (cursor.take(","));
    if (!cursor.take(")")) throw cursor.unexpected(`"," or ")"`);
  }
  return { name, at, args };
}

function readArg(cursor: Cursor): RawArg {
  const at = cursor.skip();
  const name = cursor.match(NAME);
  if (name === undefined) throw cursor.unexpected("a parameter name");
  if (!cursor.take("=")) throw cursor.unexpected(`"=" after "${name}"`);
  const number = cursor.match(NUMBER);
  if (number !== undefined) return { name, value: Number(number), text: `${name}=${number}`, at };
  const word = cursor.match(NAME);
  if (word === undefined) throw cursor.unexpected(`a number or a word for "${name}"`);
  const value = word === "true" ? true : word === "false" ? false : word;
  return { name, value, text: `${name}=${word}`, at };
}

/** Where reading stands in a text. */
class Cursor {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Past spaces; returns the place. */
  skip(): number {
    while (this.#text[this.#at] === " ") this.#at++;
    return this.#at;
  }

  take(symbol: string): boolean {
    if (this.#text[this.skip()] !== symbol) return false;
    this.#at++;
    return true;
  }

  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.skip();
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  done(): boolean {
    return this.skip() === this.#text.length;
  }

  unexpected(expected: string): KvaultError {
    const at = this.skip();
    const found = at === this.#text.length ? "the end" : `"${this.#text[at]}"`;
    return invalid(this.#text, `${found}, expected ${expected}`, at);
  }
}

function checkPart(text: string, part: RawPart, role: keyof CompressionSpec, table: PartTable): PartSpec {
  const factory = table.get(part.name);
  if (factory === undefined) {
    const known = [...table.keys()];
    throw new KvaultError(
      "METHOD_NOT_FOUND",
      `Cannot find ${role} "${part.name}" at character ${part.at + 1} of "${text}"${didYouMean(part.name, known)}: known are ${known.join(", ")}`,
      { details: { spec: text, role, name: part.name, position: part.at + 1 } },
    );
  }
  const given: Record<string, SpecValue> = {};
  const knownParams = Object.keys(factory.params.shape);
  for (const arg of part.args) {
    if (!knownParams.includes(arg.name)) {
      const known = knownParams.length === 0 ? "none" : knownParams.join(", ");
      const hint = didYouMean(arg.name, knownParams);
      throw invalid(text, `parameter "${arg.name}" of ${role} "${part.name}"${hint}, known are ${known}`, arg.at);
    }
    if (Object.hasOwn(given, arg.name)) throw invalid(text, `parameter "${arg.name}" for the second time`, arg.at);
    given[arg.name] = arg.value;
  }
  const checked = factory.params.safeParse(given);
  if (!checked.success) {
    const issue = checked.error.issues[0];
    const arg = part.args.find(({ name }) => name === issue.path[0]);
    throw invalid(text, `${arg?.text ?? part.name} (${issue.message})`, arg?.at ?? part.at);
  }
  const filled = checked.data as Readonly<Record<string, SpecValue>>;
  return { name: part.name, params: Object.fromEntries(knownParams.map((param) => [param, filled[param]])) };
}

function invalid(spec: string, found: string, at: number): KvaultError {
  return new KvaultError("SPEC_INVALID", `Cannot read spec "${spec}" at character ${at + 1}: found ${found}`, {
    details: { spec, position: at + 1 },
  });
}
