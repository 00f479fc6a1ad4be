/**
 * Typed access to a GGUF file's metadata. A missing key, or one of another type, throws
 * MODEL_CORRUPT naming the key and what was found. Arrays are decoded when first asked for:
 * opening a file with a 150 K-token vocabulary costs milliseconds, its token list some tens more.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";

export type GgufScalar = string | number | boolean;

/** A metadata value as parsed: a scalar, or an array still in the header's bytes. */
export type GgufEntry =
  | { readonly kind: "scalar"; readonly value: GgufScalar }
  | { readonly kind: "array"; readonly length: number; decode(): readonly GgufScalar[] };

export class GgufMetadata {
  readonly #entries: ReadonlyMap<string, GgufEntry>;
  readonly #file: string;

  /** `file` names the file in error messages. */
  constructor(entries: ReadonlyMap<string, GgufEntry>, file: string) {
    this.#entries = entries;
    this.#file = file;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  keys(): IterableIterator<string> {
    return this.#entries.keys();
  }

  /** The text at `key`; `fallback` when the key is absent. */
  string(key: string, fallback?: string): string {
    return this.#scalar(key, "string", fallback);
  }

  /** The number at `key`; `fallback` when the key is absent. */
  number(key: string, fallback?: number): number {
    return this.#scalar(key, "number", fallback);
  }

  boolean(key: string, fallback?: boolean): boolean {
    return this.#scalar(key, "boolean", fallback);
  }

  strings(key: string): readonly string[] {
    return this.#array(key, "string");
  }

  numbers(key: string): readonly number[] {
    return this.#array(key, "number");
  }

  /** Elements of the array at `key` without decoding them. */
  arrayLength(key: string): number {
    const entry = this.#entries.get(key);
    if (entry?.kind !== "array") throw this.#wrong(key, "an array", entry);
    return entry.length;
  }

  #scalar<T extends GgufScalar>(key: string, type: "string" | "number" | "boolean", fallback: T | undefined): T {
    const entry = this.#entries.get(key);
    if (entry === undefined && fallback !== undefined) return fallback;
    if (entry?.kind !== "scalar" || typeof entry.value !== type) throw this.#wrong(key, `a ${type}`, entry);
    return entry.value as T;
  }

  #array<T extends GgufScalar>(key: string, type: "string" | "number"): readonly T[] {
    const entry = this.#entries.get(key);
    if (entry?.kind !== "array") throw this.#wrong(key, `an array of ${type}s`, entry);
    const values = entry.decode();
    if (values.length > 0 && typeof values[0] !== type) throw this.#wrong(key, `an array of ${type}s`, entry);
    return values as readonly T[];
  }

  #wrong(key: string, wanted: string, entry: GgufEntry | undefined): KvaultError {
    const found = describe(entry);
    return new KvaultError(
      "MODEL_CORRUPT",
      `Cannot read metadata "${key}" of ${this.#file}: expected ${wanted}, found ${found}`,
      {
        details: { key, found },
      },
    );
  }
}

function describe(entry: GgufEntry | undefined): string {
  if (entry === undefined) return "nothing";
  if (entry.kind === "array") return `an array of ${entry.length}`;
  return `${typeof entry.value} ${JSON.stringify(entry.value).slice(0, 60)}`;
}
