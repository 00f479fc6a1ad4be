/**
 * Any message of a type, from its descriptor: hostile texts, extreme numbers, absent and unknown
 * members, oneofs of every case.
 *
 * @module
 */
import { create, type DescField, type DescMessage, type MessageInitShape, ScalarType } from "@bufbuild/protobuf";

/** Uniform in [0, 1); a seeded one gives the same messages again. */
export type Random = () => number;

const MAX_DEPTH = 5;
const HOSTILE = [
  "",
  " ",
  "\0",
  "x",
  "../../etc/passwd",
  "contexts/",
  "operations/",
  `contexts/c${"0".repeat(32)}`,
  `operations/c${"0".repeat(32)}`,
  "models/qwen2.5-coder-0.5b",
  "qwen2.5-coder-0.5b",
  "kvzip",
  "kvzip(chunk=2000)|global|top-k(keep=0.3)|f16",
  "l2norm|uniform|top-k(keep=1e309)|int8",
  "((((((((((",
  "*",
  "labels",
  "display_name",
  "expire_time",
  "__proto__",
  "constructor",
  "💥".repeat(9),
  "\u202e\ufeff",
  "eyJjcmVhdGVUaW1lTXMiOjAsImlkIjoiIn0",
  "W10",
  "%00%ff",
  "{}",
  "x".repeat(300),
  "y".repeat(70_000),
];
const NUMBERS = [0, 1, -1, 0.5, 2, 1e-300, 1e308, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0];

export function randomMessage<T extends DescMessage>(schema: T, random: Random): MessageInitShape<T> {
  return create(schema, randomInit(schema, random, 0) as MessageInitShape<T>) as MessageInitShape<T>;
}

function randomInit(schema: DescMessage, random: Random, depth: number): Record<string, unknown> {
  const init: Record<string, unknown> = {};
  for (const member of schema.members) {
    if (random() < 0.25) continue;
    if (member.kind === "oneof") {
      const field = pick(member.fields, random);
      init[member.localName] = { case: field.localName, value: fieldValue(field, random, depth) };
    } else {
      init[member.localName] = fieldValue(member, random, depth);
    }
  }
  return init;
}

function fieldValue(field: DescField, random: Random, depth: number): unknown {
  const one = (): unknown => {
    if (
      field.fieldKind === "message" ||
      ((field.fieldKind === "list" || field.fieldKind === "map") && field.message !== undefined)
    ) {
      return depth >= MAX_DEPTH ? {} : randomInit(field.message as DescMessage, random, depth + 1);
    }
    if (field.enum !== undefined) return Math.floor(random() * (field.enum.values.length + 2)) - 1;
    return scalarOf(field.scalar as ScalarType, random);
  };
  const size = random() < 0.1 ? Math.floor(random() * 70) : Math.floor(random() * 3);
  if (field.fieldKind === "list") return Array.from({ length: size }, one);
  if (field.fieldKind === "map") return Object.fromEntries(Array.from({ length: size }, () => [pick(HOSTILE, random), one()]));
  return one();
}

function scalarOf(scalar: ScalarType, random: Random): unknown {
  const whole = (min: number, max: number): number => (random() < 0.3 ? pick([min, max, 0], random) : Math.floor(random() * 100));
  switch (scalar) {
    case ScalarType.STRING:
      return pick(HOSTILE, random);
    case ScalarType.BYTES:
      return Uint8Array.from({ length: Math.floor(random() * 64) }, () => Math.floor(random() * 256));
    case ScalarType.BOOL:
      return random() < 0.5;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return pick(NUMBERS, random);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return pick([0n, 1n, 2n ** 53n, 2n ** 64n - 1n], random);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return pick([0n, 1n, -1n, 60n, 2n ** 63n - 1n, -(2n ** 63n)], random);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return whole(0, 2 ** 32 - 1);
    default:
      return whole(-(2 ** 31), 2 ** 31 - 1);
  }
}

function pick<T>(values: readonly T[], random: Random): T {
  return values[Math.floor(random() * values.length)] as T;
}
