/**
 * Times KVault's CUDA runtime on the shapes of Llama-3.1-8B (llama_8b.py): the decode step on one shared ragged
 * context, prefill, and loading a stored context. One JSON object a line; tools/device/run stages what it needs.
 *
 *   node bench/gpu/run.mjs ADDON LIBONNXRUNTIME FOLDER [step16|step4|prefill|load]...
 */
import { createRequire } from "node:module";

const [addonPath, library, folder, ...wanted] = process.argv.slice(2);
const { CudaRuntime } = createRequire(import.meta.url)(addonPath);
const runtime = CudaRuntime.open({ library });
const say = (line) => console.log(JSON.stringify(line));
/** What is going on, and since when, on stderr: loading 5 GB of weights takes a while. */
const tell = (what) => console.error(`${process.uptime().toFixed(1)}s ${what}`);
say({ bench: "device", ...runtime.describe() });

const [LAYERS, HIDDEN, HEADS, KV, D, VOCAB, TILE, FFN] = [32, 4096, 32, 8, 128, 128256, 64, 14336];
const CONTEXT = 131072;
const KEEP = 0.3;

/** Random numbers that are the same every time. */
let seed = 1;
function random() {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return (seed + 0.5) / 2 ** 32;
}
const exponential = () => -Math.log(random());

/** Kept rows of each head of a layer: shares drawn from Dirichlet(3). */
function headLengths() {
  const shares = Array.from({ length: KV }, () => exponential() + exponential() + exponential());
  const total = shares.reduce((a, b) => a + b);
  return shares.map((share) => Math.min(CONTEXT, Math.max(TILE, Math.floor((share / total) * KV * KEEP * CONTEXT))));
}

/** Cuts heads evenly, at multiples of the tile, into at most `slots` items: as the runtime's planner does. */
function planLayer(lengths, slots, startRow, startGroup, rows) {
  let [firstRow, firstGroup] = [startRow, startGroup];
  const tiles = lengths.map((length) => Math.ceil(length / TILE));
  let chunk = 1;
  const parts = () => tiles.map((count) => Math.ceil(count / chunk));
  while (parts().reduce((a, b) => a + b) > slots) chunk++;
  const items = [];
  const range = [];
  for (const [head, count] of parts().entries()) {
    range.push(items.length / 8);
    for (let i = 0; i < count; i++) {
      const from = Math.floor((tiles[head] * i) / count) * TILE;
      const to = Math.min(lengths[head], Math.floor((tiles[head] * (i + 1)) / count) * TILE);
      items.push(head, firstRow + from, to - from, 0, rows, firstGroup + from / TILE, 0, 0);
    }
    range.push(items.length / 8);
    firstRow += lengths[head];
    firstGroup += tiles[head];
  }
  return { items, range, firstRow, firstGroup };
}

const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const seconds = async (act) => {
  const from = process.hrtime.bigint();
  await act();
  return Number(process.hrtime.bigint() - from) / 1e9;
};
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

const NOISE = new Uint32Array(1 << 22);
for (let i = 0; i < NOISE.length; i++) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  NOISE[i] = seed ^ (seed >>> 15);
}
/** A buffer of random codes, or of halves with exponents set by `or` after `and`. */
async function noise(bytes, and = 0xffffffff, or = 0) {
  const buffer = runtime.allocate(bytes);
  const block = bytesOf(NOISE.map((x) => (x & and) | or));
  for (let at = 0; at < bytes; at += block.length) await buffer.upload(block.subarray(0, Math.min(block.length, bytes - at)), at);
  return buffer;
}
const HALVES = [0x83ff83ff, 0x34003400];
const SCALES = [0x03ff03ff, 0x20002000];

async function residentContext(bits) {
  const lengths = Array.from({ length: LAYERS }, headLengths);
  const rows = lengths.flat().reduce((a, b) => a + b);
  const groups = lengths.flat().reduce((a, n) => a + Math.ceil(n / TILE), 0);
  const data = bits === 16 ? HALVES : [];
  const [keyScales, valueScales] = bits === 16 ? [16, 16] : [groups * D * 2, rows * 2 * 2];
  const sizes = {
    key: (rows * D * bits) / 8,
    value: (rows * D * bits) / 8,
    keyScale: keyScales,
    keyZero: keyScales,
    valueScale: valueScales,
    valueZero: valueScales,
  };
  const buffers = {};
  for (const [name, bytes] of Object.entries(sizes))
    buffers[name] = await noise(bytes, ...(name === "key" || name === "value" ? data : SCALES));
  return { lengths, sizes, buffers, rows, bytes: Object.values(sizes).reduce((a, b) => a + b) };
}

async function benchStep(bits) {
  const context = await residentContext(bits);
  tell(`context of ${bits} bits resident`);
  const cudaGraph = true;
  {
    const session = await runtime.loadSession(`${folder}/step${bits}.onnx`, { cudaGraph });
    tell("step graph loaded");
    for (const [id, B] of [16, 64, 1].entries()) {
      const T = 1;
      const rows = B * T * (HEADS / KV);
      const slots = runtime.slots(D, bits, bits, bits === 4, rows);
      const plans = [];
      let [firstRow, firstGroup] = [0, 0];
      for (const lengths of context.lengths) {
        const plan = planLayer(lengths, slots, firstRow, firstGroup, rows);
        ({ firstRow, firstGroup } = plan);
        plans.push(plan);
      }
      const I = Math.max(...plans.map(({ items }) => items.length / 8));
      const items = new Int32Array(LAYERS * I * 8);
      const range = new Int32Array(LAYERS * B * KV * 2);
      for (const [layer, plan] of plans.entries()) {
        items.set(plan.items, layer * I * 8);
        for (let b = 0; b < B; b++) range.set(plan.range, (layer * B + b) * KV * 2);
      }
      const capacity = 256;
      const suffixBytes = LAYERS * B * KV * capacity * D * 2;
      const int32 = (values) => bytesOf(Int32Array.from(values));
      const small = {
        ids: ["i64", [B, T], bytesOf(BigInt64Array.from({ length: B }, (_, b) => BigInt(b * 37 + 5)))],
        position: ["i32", [B, T], int32(new Array(B).fill(CONTEXT + 128))],
        slot: ["i32", [B], int32(Array.from({ length: B }, (_, b) => b))],
        length: ["i32", [B], int32(new Array(B).fill(128))],
        items: ["i32", [LAYERS, I, 8], bytesOf(items)],
        range: ["i32", [LAYERS, B, KV, 2], bytesOf(range)],
      };
      const binding = session.bind();
      const buffers = [];
      for (const [name, [kind, dims, data]] of Object.entries(small)) {
        const buffer = runtime.allocate(data.length);
        await buffer.upload(data);
        binding.input(name, kind, dims, buffer);
        small[name].push(buffer);
        buffers.push(buffer);
      }
      for (const [name, buffer] of Object.entries(context.buffers)) binding.input(name, "u8", [context.sizes[name]], buffer);
      for (const name of ["suffixKey", "suffixValue"]) {
        const buffer = await noise(suffixBytes, ...HALVES);
        binding.input(name, "f16", [LAYERS, B, KV, capacity, D], buffer);
        buffers.push(buffer);
      }
      const logits = runtime.allocate(B * VOCAB * 2);
      buffers.push(logits);
      binding.output("logits", "f16", [B, T, VOCAB], logits);
      const capture = cudaGraph ? id + 1 : undefined;
      const firstSeconds = await seconds(() => binding.run(capture, 3));
      tell(`${B} queries: first runs took ${firstSeconds.toFixed(2)} s`);
      const times = [];
      for (let i = 0; i < 7; i++) times.push((await seconds(() => binding.run(capture, 10))) / 10);
      const serving = [];
      for (let i = 0; i < 20; i++) {
        serving.push(
          await seconds(async () => {
            for (const name of ["ids", "position", "length"]) await small[name][3].upload(small[name][2]);
            await binding.run(capture);
          }),
        );
      }
      const out = new Uint16Array((await logits.download()).buffer);
      const finite = out.every((x) => (x & 0x7c00) !== 0x7c00);
      const ms = median(times) * 1e3;
      say({
        bench: "step",
        kvBits: bits,
        cudaGraph,
        queries: B,
        contextTokens: CONTEXT,
        keep: KEEP,
        suffix: 128,
        items: I,
        ms,
        tokensPerSecond: (B / ms) * 1e3,
        msWithInputs: median(serving) * 1e3,
        firstSeconds,
        contextGB: context.bytes / 1e9,
        finite,
        distinct: new Set(out.subarray(0, 4096)).size,
      });
      binding.close();
      for (const buffer of buffers) buffer.free();
    }
    session.close();
  }
  for (const buffer of Object.values(context.buffers)) buffer.free();
}

async function benchPrefill() {
  const session = await runtime.loadSession(`${folder}/prefill.onnx`, {});
  tell("prefill graph loaded");
  const [CHUNK, TOKENS] = [2048, 32768];
  const cacheBytes = KV * TOKENS * D * 2;
  const caches = Array.from({ length: LAYERS * 2 }, () => runtime.allocate(cacheBytes));
  const ids = runtime.allocate(CHUNK * 8);
  await ids.upload(bytesOf(BigInt64Array.from({ length: CHUNK }, () => BigInt(Math.floor(random() * VOCAB)))));
  const logits = runtime.allocate(VOCAB * 2);
  const binding = session.bind();
  binding.input("ids", "i64", [1, CHUNK], ids);
  binding.output("logits", "f16", [1, 1, VOCAB], logits);
  for (let layer = 0; layer < LAYERS; layer++) {
    for (const [i, side] of ["Key", "Value"].entries()) {
      binding.input(`past${side}.${layer}`, "f16", [1, KV, TOKENS, D], caches[layer * 2 + i]);
      binding.output(`present${side}.${layer}`, "f16", [1, KV, TOKENS, D], caches[layer * 2 + i]);
    }
  }
  const int32 = (value) => bytesOf(Int32Array.of(value));
  const chunk = async (past) => {
    binding.hostInput("lastIndex", "i32", [1], int32(past + CHUNK - 1));
    binding.hostInput("totalLength", "i32", [1], int32(past + CHUNK));
    return seconds(() => binding.run());
  };
  await chunk(0);
  await chunk(CHUNK);
  const times = [];
  for (let past = 0; past < TOKENS; past += CHUNK) times.push(await chunk(past));
  const out = new Uint16Array((await logits.download()).buffer);
  const weights = LAYERS * (HIDDEN * (HEADS + 2 * KV) * D + HEADS * D * HIDDEN + 3 * HIDDEN * FFN);
  const attention = (past) => 4 * LAYERS * HEADS * D * (past * CHUNK + (CHUNK * (CHUNK + 1)) / 2);
  const operations = times.map((_, i) => 2 * weights * CHUNK + attention(i * CHUNK));
  const total = times.reduce((a, b) => a + b);
  say({
    bench: "prefill",
    tokens: TOKENS,
    chunk: CHUNK,
    seconds: total,
    tokensPerSecond: TOKENS / total,
    TFLOPs: operations.reduce((a, b) => a + b) / total / 1e12,
    firstChunkTFLOPs: operations[0] / times[0] / 1e12,
    lastChunkTFLOPs: operations.at(-1) / times.at(-1) / 1e12,
    finite: out.every((x) => (x & 0x7c00) !== 0x7c00),
  });
  binding.close();
  session.close();
  for (const buffer of [...caches, ids, logits]) buffer.free();
}

/** A stored 4-bit context in the host's memory → the device: the bus' part of the time to a first token. */
async function benchLoad() {
  const rows = Math.floor(LAYERS * KV * KEEP * CONTEXT);
  const bytes = rows * D + (rows / TILE) * D * 4 + rows * 8;
  const buffer = runtime.allocate(bytes);
  const pinned = runtime.pinned(bytes);
  for (let at = 0; at < bytes; at += NOISE.byteLength)
    pinned.set(bytesOf(NOISE).subarray(0, Math.min(NOISE.byteLength, bytes - at)), at);
  const ordinary = Uint8Array.from(pinned);
  const timed = async (data) => {
    await buffer.upload(data);
    return median([
      await seconds(() => buffer.upload(data)),
      await seconds(() => buffer.upload(data)),
      await seconds(() => buffer.upload(data)),
    ]);
  };
  const [pinnedSeconds, ordinarySeconds] = [await timed(pinned), await timed(ordinary)];
  say({
    bench: "load",
    contextTokens: CONTEXT,
    keep: KEEP,
    kvBits: 4,
    GB: bytes / 1e9,
    pinnedMs: pinnedSeconds * 1e3,
    pinnedGBps: bytes / pinnedSeconds / 1e9,
    ordinaryMs: ordinarySeconds * 1e3,
    ordinaryGBps: bytes / ordinarySeconds / 1e9,
  });
  buffer.free();
}

const benches = { step16: () => benchStep(16), step4: () => benchStep(4), prefill: benchPrefill, load: benchLoad };
for (const name of wanted.length > 0 ? wanted : Object.keys(benches)) await benches[name]();
