/**
 * The environment variables of every service, read from the schema in its `config.ts`: name, doc
 * comment, default.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Variables that several services have. */
const SHARED = join("libs", "service", "src", "variables.ts");

export interface Variable {
  readonly name: string;
  /** Text of the doc comment above it. */
  readonly summary: string;
  /** As written; undefined when the variable is required. */
  readonly fallback: string | undefined;
}

const SERVICES = ["gateway", "prefill-worker", "decode-worker"] as const;

/** Variables of one service's `config.ts`, in its order. */
export function variablesOf(source: string): Variable[] {
  const found: Variable[] = [];
  for (const match of source.matchAll(
    /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(KVAULT_[A-Z_]+):([\s\S]*?)(?=,\n\s*(?:\/\*\*|\}|KVAULT_))/g,
  )) {
    const [, comment = "", name = "", schema = ""] = match;
    const summary = comment
      .replace(/^\s*\*\s?/gm, " ")
      .replace(/\s+/g, " ")
      .trim();
    const fallback = /\.default\(([^()]*(?:\([^()]*\))?[^()]*)\)/.exec(schema)?.[1];
    found.push({ name, summary, fallback: fallback ?? (schema.includes(".optional()") ? "" : undefined) });
  }
  const named = new Set(source.match(/^ {2}KVAULT_[A-Z_]+(?=:)/gm)?.map((name) => name.trim()));
  const missing = [...named].filter((name) => !found.some((variable) => variable.name === name));
  if (missing.length > 0) throw new Error(`Cannot document ${missing.join(", ")}: no doc comment above it`);
  return found;
}

/** `source` with every `...name,` in it replaced by the fields of that object in `shared`. */
export function withShared(source: string, shared: string): string {
  return source.replace(/^ {2}\.\.\.(\w+Variables),$/gm, (spread, name: string) => {
    const fields = new RegExp(`^export const ${name}\\b[^=]*= \\{\\n([\\s\\S]*?)\\n\\};`, "m").exec(shared)?.[1];
    if (fields === undefined) throw new Error(`Cannot document ${spread.trim()}: no such object in ${SHARED}`);
    return withShared(fields, shared);
  });
}

/** A section for every service. */
export function configReference(): string {
  return SERVICES.map((service) => {
    const path = join("services", service, "src", "config.ts");
    const variables = existsSync(path) ? variablesOf(withShared(readFileSync(path, "utf8"), readFileSync(SHARED, "utf8"))) : [];
    const rows = variables.map(
      ({ name, summary, fallback }) =>
        `| \`${name}\` | ${fallback === undefined ? "required" : shown(fallback)} | ${summary.replaceAll("|", "\\|")} |`,
    );
    return `## ${service}\n\n| variable | default | what it is |\n| --- | --- | --- |\n${rows.join("\n")}`;
  }).join("\n\n");
}

/** `10_000` → `10000`, `512 * 2 ** 20` stays an expression a person reads. */
function shown(fallback: string): string {
  const text = fallback.replaceAll("_", "").replaceAll('"', "").trim();
  return text === "" ? "" : `\`${text}\``;
}
