/**
 * A limit for every field of a request that can be long, checked before a handler sees it.
 *
 * The limits are declared field by field. A server whose requests have a text, a list or a map
 * without one does not start: a new field cannot be forgotten.
 *
 * @module
 */
import type { DescField, DescMessage, DescMethod } from "@bufbuild/protobuf";
import { type MessageShape, ScalarType } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { invalidArgument } from "@kvault/core";
import type { Interceptor, ServiceImplementation } from "../call.ts";
import { UNIMPLEMENTED } from "../call.ts";

/** What a field may hold at most; the members that its type needs must be there. */
export interface FieldLimit {
  /** Of a text: UTF-16 code units. */
  readonly maxChars?: number;
  /** Of a text in UTF-8, or of bytes. */
  readonly maxBytes?: number;
  /** Of a list or a map. */
  readonly maxItems?: number;
  /** Of a map's keys. */
  readonly maxKeyChars?: number;
}

/** `package.Message.field` → limit. */
export type FieldLimits = Readonly<Record<string, FieldLimit>>;

/** Deepest nesting of messages; ours stop at four. */
const MAX_DEPTH = 16;

/** INVALID_ARGUMENT naming the first field that is over its limit. */
export function fieldLimits(limits: FieldLimits): Interceptor {
  return (next, { input }) =>
    async function* (requests, call) {
      yield* next(checked(requests, input, limits), call);
    };
}

async function* checked(requests: AsyncIterable<unknown>, input: DescMessage, limits: FieldLimits): AsyncGenerator<unknown> {
  for await (const request of requests) {
    checkMessage(input, request as MessageShape<DescMessage>, limits, "");
    yield request;
  }
}

/** Fields of requests that these services handle and that `limits` leaves open, as `package.Message.field`. */
export function fieldsWithoutLimit(services: readonly ServiceImplementation[], limits: FieldLimits): string[] {
  const open = new Set<string>();
  for (const { name, field } of limitedFields(handledMethods(services))) {
    if (!isLimited(field, limits[name])) open.add(name);
  }
  return [...open];
}

/** Methods with a handler. */
export function handledMethods(services: readonly ServiceImplementation[]): DescMethod[] {
  return services.flatMap(({ descriptor, handlers }) =>
    descriptor.methods.filter((method) => handlers[method.localName] !== UNIMPLEMENTED),
  );
}

interface LimitedField {
  /** `package.Message.field`. */
  readonly name: string;
  readonly field: DescField;
}

/** Every text, bytes, list and map that requests of these methods may hold, at any depth. */
function* limitedFields(methods: readonly DescMethod[]): Generator<LimitedField> {
  const seen = new Set<string>();
  const visit = function* (message: DescMessage): Generator<LimitedField> {
    if (seen.has(message.typeName)) return;
    seen.add(message.typeName);
    for (const field of message.fields) {
      if (needsLimit(field)) yield { name: `${message.typeName}.${field.name}`, field };
      const nested =
        field.fieldKind === "message" || field.fieldKind === "list" || field.fieldKind === "map" ? field.message : undefined;
      if (nested !== undefined) yield* visit(nested);
    }
  };
  for (const { input } of methods) yield* visit(input);
}

function needsLimit(field: DescField): boolean {
  return field.fieldKind === "list" || field.fieldKind === "map" || isLong(field);
}

/** Whether one value of the field is a text or bytes. */
function isLong(field: DescField): boolean {
  return (
    field.fieldKind !== "enum" &&
    field.fieldKind !== "message" &&
    (field.scalar === ScalarType.STRING || field.scalar === ScalarType.BYTES)
  );
}

function isLimited(field: DescField, limit: FieldLimit | undefined): boolean {
  if (limit === undefined) return false;
  const { maxChars, maxBytes, maxItems, maxKeyChars } = limit;
  if ((field.fieldKind === "list" || field.fieldKind === "map") && maxItems === undefined) return false;
  if (field.fieldKind === "map" && maxKeyChars === undefined) return false;
  return !isLong(field) || maxChars !== undefined || maxBytes !== undefined;
}

function checkMessage(
  schema: DescMessage,
  message: MessageShape<DescMessage>,
  limits: FieldLimits,
  prefix: string,
  depth = 0,
): void {
  if (depth > MAX_DEPTH) throw invalidArgument(prefix, `Cannot read ${prefix}: nested over ${MAX_DEPTH} deep`);
  const reflected = reflect(schema, message, false);
  for (const field of schema.fields) {
    if (!reflected.isSet(field)) continue;
    const path = `${prefix}${field.name}`;
    const limit = limits[`${schema.typeName}.${field.name}`] ?? {};
    if (field.fieldKind === "scalar") {
      checkValue(reflected.get(field), limit, path);
    } else if (field.fieldKind === "message") {
      checkMessage(field.message, reflected.get(field).message as MessageShape<DescMessage>, limits, `${path}.`, depth + 1);
    } else if (field.fieldKind === "list") {
      const list = reflected.get(field);
      checkItems(list.size, limit, path);
      let i = 0;
      for (const item of list) {
        if (field.listKind === "message") {
          const { message: each } = item as { message: MessageShape<DescMessage> };
          checkMessage(field.message, each, limits, `${path}[${i}].`, depth + 1);
        } else {
          checkValue(item, limit, `${path}[${i}]`);
        }
        i++;
      }
    } else if (field.fieldKind === "map") {
      const map = reflected.get(field);
      checkItems(map.size, limit, path);
      for (const [key, value] of map) {
        if (String(key).length > (limit.maxKeyChars ?? Number.POSITIVE_INFINITY))
          tooLong(path, "a key", String(key).length, limit.maxKeyChars, "characters");
        checkValue(value, limit, path);
      }
    }
  }
}

function checkItems(size: number, { maxItems }: FieldLimit, path: string): void {
  if (maxItems !== undefined && size > maxItems) tooLong(path, "a list", size, maxItems, "items");
}

function checkValue(value: unknown, { maxChars, maxBytes }: FieldLimit, path: string): void {
  if (value instanceof Uint8Array) {
    if (maxBytes !== undefined && value.byteLength > maxBytes) tooLong(path, "bytes", value.byteLength, maxBytes, "bytes");
  } else if (typeof value === "string") {
    if (maxChars !== undefined && value.length > maxChars) tooLong(path, "a text", value.length, maxChars, "characters");
    // A text has at least a byte for every code unit: most need not be encoded to be counted.
    if (maxBytes !== undefined && value.length * 3 > maxBytes) {
      const bytes = Buffer.byteLength(value);
      if (bytes > maxBytes) tooLong(path, "a text", bytes, maxBytes, "bytes");
    }
  }
}

function tooLong(path: string, what: string, found: number, limit: number | undefined, unit: string): never {
  throw invalidArgument(path, `Cannot take ${path}: ${what} of ${found} ${unit}, at most ${limit}`, { found, limit: limit ?? 0 });
}
