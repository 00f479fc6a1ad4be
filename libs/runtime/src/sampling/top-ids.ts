/**
 * The `count` largest of many values, without sorting them all: a min-heap of the best so
 * far, whose root turns almost every value away with one comparison. O(V + n log n) for
 * values in random order.
 *
 * @module
 */

/** Ids of the `count` largest of `value_V`, largest first; of equal values the lower id. */
export function topIds(value_V: Float32Array, count: number): Uint32Array {
  const V = value_V.length;
  const size = Math.min(count, V);
  const heap = new Uint32Array(size);
  for (let id = 0; id < size; id++) heap[id] = id;
  for (let root = (size >> 1) - 1; root >= 0; root--) siftDown(value_V, heap, root, size);
  for (let id = size; id < V; id++) {
    // Later ids lose ties, so only a larger value replaces the root.
    if (value_V[id] > value_V[heap[0]]) {
      heap[0] = id;
      siftDown(value_V, heap, 0, size);
    }
  }
  for (let end = size - 1; end > 0; end--) {
    const worst = heap[0];
    heap[0] = heap[end];
    heap[end] = worst;
    siftDown(value_V, heap, 0, end);
  }
  return heap;
}

/** True when `a` ranks below `b`. */
function ranksBelow(value_V: Float32Array, a: number, b: number): boolean {
  return value_V[a] < value_V[b] || (value_V[a] === value_V[b] && a > b);
}

function siftDown(value_V: Float32Array, heap: Uint32Array, start: number, size: number): void {
  let parent = start;
  for (;;) {
    let child = 2 * parent + 1;
    if (child >= size) return;
    if (child + 1 < size && ranksBelow(value_V, heap[child + 1], heap[child])) child++;
    if (!ranksBelow(value_V, heap[child], heap[parent])) return;
    const moved = heap[parent];
    heap[parent] = heap[child];
    heap[child] = moved;
    parent = child;
  }
}
