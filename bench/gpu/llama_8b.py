"""Graphs of Llama-3.1-8B's shape with random 4-bit weights: what bench/gpu/run.mjs runs. Needs numpy and onnx.

    python3 llama_8b.py FOLDER

step.onnx     B sequences × T tokens on one resident context: kvault:RaggedAttention in every layer, kvault:Int4Linear for products, logits as f16
prefill.onnx  one chunk of a context; GroupQueryAttention over preallocated caches that it appends to in place

Both share weights.bin. Weights are uniform codes whose scale keeps the activations' size.
"""
import sys
import numpy as np
from onnx import TensorProto, helper as h, save

T = TensorProto

folder = sys.argv[1]
LAYERS, HIDDEN, FFN, HEADS, KV, D, VOCAB, POSITIONS = 32, 4096, 14336, 32, 8, 128, 128256, 131072 + 4096
BLOCK = 128
rng = np.random.default_rng(0)
weights = open(f"{folder}/weights.bin", "wb")
shared = {}


def external(name, data_type, dims, data):
    at = (weights.tell() + 4095) // 4096 * 4096
    weights.seek(at)
    weights.write(data)
    tensor = TensorProto(name=name, data_type=data_type, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", str(at)), ("length", str(len(data)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    shared[name] = tensor
    return name


def matrix(name, rows, columns):
    external(name + ".q", T.UINT8, [rows, columns // BLOCK, BLOCK // 2], rng.bytes(rows * columns // 2))
    scale = np.full(rows * columns // BLOCK, .2 / np.sqrt(columns), np.float16) * rng.uniform(.8, 1.2, rows * columns // BLOCK).astype(np.float16)
    external(name + ".s", T.FLOAT16, [rows, columns // BLOCK], scale.tobytes())
    return rows, columns


ones = external("norm", T.FLOAT16, [HIDDEN], np.ones(HIDDEN, np.float16).tobytes())
external("embedding", T.FLOAT16, [VOCAB, HIDDEN], (rng.standard_normal(VOCAB * HIDDEN // 64, np.float32).astype(np.float16)).tobytes() * 64)
angles = np.arange(POSITIONS)[:, None] * 500000. ** -(np.arange(0, D, 2) / D)[None]
external("cosine", T.FLOAT, [POSITIONS, D // 2], np.cos(angles).astype(np.float32).tobytes())
external("sine", T.FLOAT, [POSITIONS, D // 2], np.sin(angles).astype(np.float32).tobytes())
external("cosine16", T.FLOAT16, [POSITIONS, D // 2], np.cos(angles).astype(np.float16).tobytes())
external("sine16", T.FLOAT16, [POSITIONS, D // 2], np.sin(angles).astype(np.float16).tobytes())
SHAPES = {"head": matrix("head", VOCAB, HIDDEN)}
for layer in range(LAYERS):
    for name, rows, columns in (("qkv", (HEADS + 2 * KV) * D, HIDDEN), ("o", HIDDEN, HEADS * D), ("gate", FFN, HIDDEN), ("up", FFN, HIDDEN), ("down", HIDDEN, FFN)):
        SHAPES[f"{name}.{layer}"] = matrix(f"{name}.{layer}", rows, columns)
weights.close()


class Graph:
    def __init__(self, few_rows):
        self.nodes, self.used, self.few_rows = [], {}, few_rows

    def node(self, op, inputs, outputs=None, domain="", **attributes):
        outputs = outputs or [f"{op}_{len(self.nodes)}"]
        for name in inputs:
            if name in shared:
                self.used[name] = shared[name]
        self.nodes.append(h.make_node(op, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def linear(self, x, name, outputs=None):
        rows, columns = SHAPES[name]
        inputs = [x, name + ".q", name + ".s"]
        if self.few_rows:
            return self.node("Int4Linear", inputs, outputs, domain="kvault")
        return self.node("MatMulNBits", inputs, outputs, domain="com.microsoft", K=columns, N=rows, bits=4, block_size=BLOCK)

    def decoder(self, attend, last):
        x = self.node("Gather", ["embedding", "ids"])
        n = self.node("SimplifiedLayerNormalization", [x, ones], epsilon=1e-5, axis=-1)
        for layer in range(LAYERS):
            o = self.linear(attend(layer, self.linear(n, f"qkv.{layer}")), f"o.{layer}")
            m, x = f"m.{layer}", f"x.{layer}"
            self.node("SkipSimplifiedLayerNormalization", [f"y.{layer - 1}" if layer else x0(self), o, ones], [m, "", "", x], domain="com.microsoft", epsilon=1e-5)
            gate = self.node("QuickGelu", [self.linear(m, f"gate.{layer}")], domain="com.microsoft", alpha=1.)
            down = self.linear(self.node("Mul", [gate, self.linear(m, f"up.{layer}")]), f"down.{layer}")
            n = f"n.{layer}"
            self.node("SkipSimplifiedLayerNormalization", [x, down, ones], [n, "", "", f"y.{layer}"], domain="com.microsoft", epsilon=1e-5)
        return self.linear(last(n), "head", ["logits"])

    def save(self, path, inputs, outputs):
        graph = h.make_graph(self.nodes, "llama", inputs, outputs, list(self.used.values()))
        save(h.make_model(graph, ir_version=10, opset_imports=[h.make_opsetid("", 21), h.make_opsetid("com.microsoft", 1), h.make_opsetid("kvault", 1)]), path)


def x0(graph):
    return graph.nodes[0].output[0]


def value(name, kind, dims):
    return h.make_tensor_value_info(name, kind, dims)


for bits in (16, 4):
    step = Graph(few_rows=True)
    attend = lambda layer, qkv: step.node(
        "RaggedAttention",
        [qkv, "position", "slot", "length", "items", "range", "cosine", "sine", "key", "value", "keyScale", "keyZero", "valueScale", "valueZero", "suffixKey", "suffixValue"],
        domain="kvault", layer=layer, num_heads=HEADS, kv_num_heads=KV, key_bits=bits, value_bits=bits, key_tokens=int(bits == 4), interleaved=0)
    step.decoder(attend, lambda n: n)
    step.save(f"{folder}/step{bits}.onnx", [
        value("ids", T.INT64, ["B", "T"]), value("position", T.INT32, ["B", "T"]), value("slot", T.INT32, ["B"]), value("length", T.INT32, ["B"]),
        value("items", T.INT32, [LAYERS, "I", 8]), value("range", T.INT32, [LAYERS, "B", KV, 2]),
        *[value(name, T.UINT8, [name + "Bytes"]) for name in ("key", "value", "keyScale", "keyZero", "valueScale", "valueZero")],
        *[value(name, T.FLOAT16, [LAYERS, "slots", KV, "capacity", D]) for name in ("suffixKey", "suffixValue")],
    ], [value("logits", T.FLOAT16, ["B", "T", VOCAB])])

prefill = Graph(few_rows=False)
outputs = []


def attend_past(layer, qkv):
    outputs.extend(value(f"{side}.{layer}", T.FLOAT16, [1, KV, "capacity", D]) for side in ("presentKey", "presentValue"))
    return prefill.node("GroupQueryAttention", [qkv, "", "", f"pastKey.{layer}", f"pastValue.{layer}", "lastIndex", "totalLength", "cosine16", "sine16"],
                        [f"attention.{layer}", f"presentKey.{layer}", f"presentValue.{layer}"], domain="com.microsoft", num_heads=HEADS, kv_num_heads=KV, do_rotary=1)


prefill.used["last"] = h.make_tensor("last", T.INT64, [1], [-1])
prefill.decoder(attend_past, lambda n: prefill.node("Gather", [n, "last"], axis=1))
prefill.save(f"{folder}/prefill.onnx", [
    value("ids", T.INT64, [1, "T"]), value("lastIndex", T.INT32, [1]), value("totalLength", T.INT32, [1]),
    *[value(f"{side}.{layer}", T.FLOAT16, [1, KV, "capacity", D]) for layer in range(LAYERS) for side in ("pastKey", "pastValue")],
], [value("logits", T.FLOAT16, [1, 1, VOCAB]), *outputs])
