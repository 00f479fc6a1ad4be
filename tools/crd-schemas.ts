/**
 * CustomResourceDefinitions → the JSON schemas that kubeconform reads, strict: a property that the
 * definition does not have is refused, as a server that checks strictly refuses it.
 *
 *     tsx tools/crd-schemas.ts CRD-FOLDER SCHEMA-FOLDER
 *
 * @module
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";

interface Definition {
  readonly kind?: string;
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: unknown } }[];
  };
}

/** Objects get `additionalProperties: false` unless the definition keeps what it does not know. */
export function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  const node = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]));
  const isOpen = node["x-kubernetes-preserve-unknown-fields"] === true || "additionalProperties" in node;
  if (node["x-kubernetes-int-or-string"] === true) delete node["type"];
  // A property may be called "properties"; a schema's own properties are an object beside a type.
  return node["type"] === "object" && typeof node["properties"] === "object" && !isOpen
    ? { ...node, additionalProperties: false }
    : node;
}

const [from, to] = process.argv.slice(2);
if (from !== undefined && to !== undefined) {
  for (const name of readdirSync(from)) {
    for (const document of parseAllDocuments(readFileSync(join(from, name), "utf8"))) {
      const definition = document.toJS() as Definition | null;
      if (definition?.kind !== "CustomResourceDefinition") continue;
      const { group, names, versions } = definition.spec;
      for (const version of versions) {
        const file = `${names.kind}-${group.split(".")[0]}-${version.name}.json`.toLowerCase();
        const schema = strict(version.schema.openAPIV3Schema) as { properties?: Record<string, unknown> };
        // The server knows these of every object; definitions leave them open.
        schema.properties = { ...schema.properties, metadata: { type: "object" } };
        writeFileSync(join(to, file), JSON.stringify(schema));
      }
    }
  }
}
