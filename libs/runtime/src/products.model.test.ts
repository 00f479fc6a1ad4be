import { plainMatMul } from "@kvault/compression";
import { createRng } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { openProducts } from "./products.ts";

expect.extend({ toBeAllclose });

test("products and attentions inside ONNX Runtime equal the plain loops", async () => {
  const rng = createRng(11);
  const random = (size: number): Float32Array => Float32Array.from({ length: size }, () => 4 * rng.next() - 2);
  const [M, N, D] = [37, 53, 16];
  const fast = await openProducts({ numThreads: 1 });
  const [a, b, c, d, e] = [random(M * N), random(N * D), random(M * D), random(M * D), random(N * D)];
  for (const [found, expected] of [
    [await fast.times(a, b, M, N, D), await plainMatMul.times(a, b, M, N, D)],
    [await fast.transposedTimes(a, c, M, N, D), await plainMatMul.transposedTimes(a, c, M, N, D)],
    [await fast.timesTransposed(d, b, M, N, D), await plainMatMul.timesTransposed(d, b, M, N, D)],
    [await fast.attention(d, b, M, N, D), await plainMatMul.attention(d, b, M, N, D)],
    [await fast.attend(d, b, e, M, N, D), await plainMatMul.attend(d, b, e, M, N, D)],
  ] as const) {
    expect(found).toBeAllclose(expected, { rtol: 1e-4, atol: 1e-5 });
  }
  await fast.close();
});
