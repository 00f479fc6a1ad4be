/**
 * What a codec may find in a part: exactly the tensors it would have written.
 *
 * @module
 */
import { DTYPE_BYTES, type Dtype, elementCount, KvaultError, type NamedTensor } from "@kvault/core";
import type { Codec, RaggedLayout } from "../types.ts";

/** Name → dtype and shape of every tensor a codec writes. */
export type TensorPlan = Readonly<Record<string, { readonly dtype: Dtype; readonly shape: readonly number[] }>>;

/** A codec whose tensors follow from the layout alone. */
export interface PlannedCodec extends Codec {
  planOf(layout: RaggedLayout): TensorPlan;
}

/** Bytes of the planned tensors' data. */
export function planBytes(plan: TensorPlan): number {
  let bytes = 0;
  for (const { dtype, shape } of Object.values(plan)) bytes += DTYPE_BYTES[dtype] * elementCount(shape);
  return bytes;
}

/** Throws CACHE_CORRUPT unless `tensors` are the planned ones, none missing and none besides. */
export function expectTensors(tensors: ReadonlyMap<string, NamedTensor>, plan: TensorPlan): void {
  for (const name of tensors.keys()) {
    if (!Object.hasOwn(plan, name)) throw corrupt(`tensor "${name}" does not belong there`, name);
  }
  for (const [name, expected] of Object.entries(plan)) {
    const found = tensors.get(name);
    if (found === undefined) throw corrupt(`tensor "${name}" is missing`, name);
    const wanted = describe(expected);
    if (describe(found) !== wanted) throw corrupt(`tensor "${name}" is ${describe(found)}, expected ${wanted}`, name);
  }
}

function describe({ dtype, shape }: { readonly dtype: Dtype; readonly shape: readonly number[] }): string {
  return `${dtype} [${shape.join(", ")}]`;
}

function corrupt(what: string, tensor: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot decode part: ${what}`, { details: { tensor } });
}
