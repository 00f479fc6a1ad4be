/**
 * Ridge regression on standardised features from summed normal equations.
 *
 *   minimise ‖Y − Z·W − 1·c‖² + λ·n·‖(W, c)‖²,  Z = (X − μ)/σ
 *
 * The sums are of the raw features; standardisation is done on them, then folded back so that
 * the result applies to raw features: y = x·weight + bias. Solved by Cholesky in f64; cost
 * M³/3 per layer.
 *
 * @module
 */

/** Sums over rows x [M], y [K]. */
export interface NormalSums {
  count: number;
  /** `[M, M]` Σ x·xᵀ. */
  readonly gram: Float64Array;
  /** `[M, K]` Σ x·yᵀ. */
  readonly cross: Float64Array;
  readonly featureSum: Float64Array;
  readonly targetSum: Float64Array;
}

export function emptySums(numFeatures: number, numTargets: number): NormalSums {
  return {
    count: 0,
    gram: new Float64Array(numFeatures * numFeatures),
    cross: new Float64Array(numFeatures * numTargets),
    featureSum: new Float64Array(numFeatures),
    targetSum: new Float64Array(numTargets),
  };
}

/** Weight `[M, K]` and bias `[K]`; `lambda` is per row, e.g. 1e-3. RangeError with fewer than two rows. */
export function solveRidge(sums: NormalSums, lambda: number): { weight: Float64Array; bias: Float64Array } {
  const { count, gram, cross, featureSum, targetSum } = sums;
  if (count < 2) throw new RangeError(`Cannot fit: ${count} rows`);
  const M = featureSum.length;
  const K = targetSum.length;
  const mean = featureSum.map((sum) => sum / count);
  const deviation = mean.map((mu, i) => Math.sqrt(Math.max(0, gram[i * M + i] / count - mu * mu)) + 1e-5);
  // Standardised columns sum to zero, so the constant decouples: c = Σy / (n + λn).
  const constant = targetSum.map((sum) => sum / (count + lambda * count));
  const normal = new Float64Array(M * M);
  for (let i = 0; i < M; i++) {
    for (let j = 0; j <= i; j++) {
      normal[i * M + j] = (gram[i * M + j] - count * mean[i] * mean[j]) / (deviation[i] * deviation[j]);
    }
    normal[i * M + i] += lambda * count;
  }
  const right = new Float64Array(M * K);
  for (let i = 0; i < M; i++) {
    for (let k = 0; k < K; k++) right[i * K + k] = (cross[i * K + k] - mean[i] * targetSum[k]) / deviation[i];
  }
  solveCholesky(normal, right, M, K);
  const weight = new Float64Array(M * K);
  const bias = constant.slice();
  for (let i = 0; i < M; i++) {
    for (let k = 0; k < K; k++) {
      const value = right[i * K + k] / deviation[i];
      weight[i * K + k] = value;
      bias[k] -= value * mean[i];
    }
  }
  return { weight, bias };
}

/** Replaces `right [M, K]` by A⁻¹·right; `a [M, M]` holds A's lower triangle and is overwritten. */
function solveCholesky(a: Float64Array, right: Float64Array, M: number, K: number): void {
  for (let i = 0; i < M; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * M + j];
      for (let p = 0; p < j; p++) sum -= a[i * M + p] * a[j * M + p];
      if (i !== j) a[i * M + j] = sum / a[j * M + j];
      else if (sum > 0) a[i * M + i] = Math.sqrt(sum);
      else throw new RangeError(`Cannot fit: normal equations are not positive definite at feature ${i}`);
    }
  }
  for (let k = 0; k < K; k++) {
    for (let i = 0; i < M; i++) {
      let sum = right[i * K + k];
      for (let p = 0; p < i; p++) sum -= a[i * M + p] * right[p * K + k];
      right[i * K + k] = sum / a[i * M + i];
    }
    for (let i = M - 1; i >= 0; i--) {
      let sum = right[i * K + k];
      for (let p = i + 1; p < M; p++) sum -= a[p * M + i] * right[p * K + k];
      right[i * K + k] = sum / a[i * M + i];
    }
  }
}
