/**
 * Messages whose one long field is exactly as long as it is told to be, for every field of a
 * request that can be long: found by walking the descriptor, so that a new field is tried too.
 *
 * @module
 */
import { create, type DescField, type DescMessage, type DescMethod, type MessageInitShape, ScalarType } from "@bufbuild/protobuf";
import type { FieldLimit } from "../interceptors/field-limits.ts";

/** One way in which one field can be long. */
export interface LongField {
  /** `package.Message.field`, as limits are declared. */
  readonly name: string;
  /** As an error names it: `limits.stop[0]`. */
  readonly path: string;
  readonly what: "text" | "bytes" | "items" | "key";
  /** Which member of its {@link FieldLimit} bounds it. */
  limitOf(limit: FieldLimit): number | undefined;
  /** A request in which it has `size` code units, bytes or items, and all else is empty. */
  message(size: number): object;
}

/** Deep enough for every request; also what ends a recursive message. */
const MAX_DEPTH = 6;

export function longFields({ input }: DescMethod): LongField[] {
  const found: LongField[] = [];
  const visit = (schema: DescMessage, prefix: string, wrap: (inner: object) => object, depth: number): void => {
    if (depth > MAX_DEPTH) return;
    for (const field of schema.fields) {
      const name = `${schema.typeName}.${field.name}`;
      const path = `${prefix}${field.name}`;
      const put = (value: unknown): object => wrap(inMessage(field, value));
      const add = (
        at: string,
        what: LongField["what"],
        limitOf: LongField["limitOf"],
        value: (size: number) => unknown,
      ): void => {
        const message = (size: number): object => create(input, put(value(size)) as MessageInitShape<DescMessage>);
        found.push({ name, path: at, what, limitOf, message });
      };
      const text = (limit: FieldLimit): number | undefined => limit.maxChars ?? limit.maxBytes;
      if (field.fieldKind === "scalar" && field.scalar === ScalarType.STRING) add(path, "text", text, (size) => "x".repeat(size));
      if (field.fieldKind === "scalar" && field.scalar === ScalarType.BYTES) {
        add(
          path,
          "bytes",
          ({ maxBytes }) => maxBytes,
          (size) => new Uint8Array(size),
        );
      }
      if (field.fieldKind === "message") visit(field.message, `${path}.`, put, depth + 1);
      if (field.fieldKind === "list") {
        const item = field.listKind === "message" ? {} : field.scalar === ScalarType.STRING ? "x" : 0;
        add(
          path,
          "items",
          ({ maxItems }) => maxItems,
          (size) => Array(size).fill(item),
        );
        if (field.listKind === "scalar" && field.scalar === ScalarType.STRING)
          add(`${path}[0]`, "text", text, (size) => ["x".repeat(size)]);
        if (field.listKind === "message") visit(field.message, `${path}[0].`, (inner) => put([inner]), depth + 1);
      }
      if (field.fieldKind === "map") {
        const items = (size: number): object => Object.fromEntries(Array.from({ length: size }, (_, i) => [`k${i}`, "x"]));
        add(path, "items", ({ maxItems }) => maxItems, items);
        add(
          path,
          "key",
          ({ maxKeyChars }) => maxKeyChars,
          (size) => ({ ["k".repeat(size)]: "x" }),
        );
        if (field.mapKind === "scalar" && field.scalar === ScalarType.STRING)
          add(path, "text", text, (size) => ({ k: "x".repeat(size) }));
      }
    }
  };
  visit(input, "", (inner) => inner, 0);
  return found;
}

function inMessage(field: DescField, value: unknown): object {
  return field.oneof === undefined || field.proto.proto3Optional
    ? { [field.localName]: value }
    : { [field.oneof.localName]: { case: field.localName, value } };
}
