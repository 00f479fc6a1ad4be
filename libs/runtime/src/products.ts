/**
 * Matrix products and attentions inside ONNX Runtime, for the value refit: some twenty times the plain loops.
 * Sums are f32, in blocks.
 *
 * @module
 */
import type { MatMul } from "@kvault/compression";
import { buildAttendGraph, buildAttentionGraph, buildProductGraph } from "@kvault/model";
import { f32Tensor, openSession, type Session, type SessionOptions } from "./session.ts";

export interface Products extends MatMul {
  close(): Promise<void>;
}

/** Opens the sessions, one for each; the caller closes them. */
export async function openProducts(options: SessionOptions): Promise<Products> {
  const open = (left: boolean, right: boolean): Promise<Session> => openSession(buildProductGraph({ left, right }), options);
  const [plain, leftTransposed, rightTransposed] = await Promise.all([open(false, false), open(true, false), open(false, true)]);
  const attention = await openSession(buildAttentionGraph(), options);
  const attend = await openSession(buildAttendGraph(), options);
  const run = async (
    session: Session,
    [left, leftShape]: readonly [Float32Array, readonly number[]],
    [right, rightShape]: readonly [Float32Array, readonly number[]],
    shape: readonly [number, number],
  ): Promise<Float32Array> => {
    const product = new Float32Array(shape[0] * shape[1]);
    const inputs = { left: f32Tensor(left, leftShape), right: f32Tensor(right, rightShape) };
    await session.run(inputs, { product: f32Tensor(product, shape) });
    return product;
  };
  return {
    times: (a, b, M, N, D) => run(plain, [a, [M, N]], [b, [N, D]], [M, D]),
    transposedTimes: (a, b, M, N, D) => run(leftTransposed, [a, [M, N]], [b, [M, D]], [N, D]),
    timesTransposed: (a, b, M, N, D) => run(rightTransposed, [a, [M, D]], [b, [N, D]], [M, N]),
    async attention(query, key, M, N, D) {
      const product = new Float32Array(M * N);
      const inputs = { query: f32Tensor(scaled(query, D), [M, D]), key: f32Tensor(key, [N, D]) };
      await attention.run(inputs, { product: f32Tensor(product, [M, N]) });
      return product;
    },
    async attend(query, key, value, M, N, D) {
      const product = new Float32Array(M * D);
      const inputs = { query: f32Tensor(scaled(query, D), [M, D]), key: f32Tensor(key, [N, D]), value: f32Tensor(value, [N, D]) };
      await attend.run(inputs, { product: f32Tensor(product, [M, D]) });
      return product;
    },
    async close() {
      for (const session of [plain, leftTransposed, rightTransposed, attention, attend]) await session.close();
    },
  };
}

function scaled(query_MD: Float32Array, D: number): Float32Array {
  const scale = 1 / Math.sqrt(D);
  return query_MD.map((x) => x * scale);
}
