"""Reads a KVault record without KVault: a manifest and safetensors files, nothing else.

    python load_record.py STORE/v1/contexts/CONTEXT_ID

prints how many key-value pairs each layer and KV head kept. `to_transformers` puts the
record into a Hugging Face cache, so that a stock model answers from it (see `answer_ids`).

Layout: `manifest.json` names, per layer, the files under `parts/` by SHA-256. A file holds
rows of the layer's flat data: `k` and `v` [n, D] float16, `pos` [n] the positions the tokens
had in the original context, `offsets` [K + 1] where the rows of each KV head start in this
file. Files of a layer follow each other row by row. Keys keep the rotation of their original
position, so the next token's position is `nextPosition`, not the number of pairs kept.

Plain Python is enough; `safetensors` with numpy is used when installed, and `to_transformers`
needs torch and transformers. Reads records of the f16 and f32 codecs.
"""

import hashlib
import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

FORMATS = {"F16": "e", "F32": "f", "U32": "I"}


@dataclass
class Layer:
    """Kept pairs of one layer: a list of rows for each KV head."""

    keys: list  # [n_h] rows of D numbers, post-RoPE
    values: list  # [n_h] rows of D numbers
    positions: list  # [n_h] original positions, ascending


def parse_safetensors(data):
    """Name -> list, of rows where the tensor has two dimensions."""
    (header_bytes,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        code = FORMATS[entry["dtype"]]
        flat = struct.unpack(f"<{(end - begin) // struct.calcsize(code)}{code}", data[begin:end])
        rows, width = entry["shape"] if len(entry["shape"]) == 2 else (0, 0)
        tensors[name] = [flat[row * width : (row + 1) * width] for row in range(rows)] if width else list(flat)
    return tensors


def read_tensors(data):
    try:
        from safetensors.numpy import load
    except ImportError:
        return parse_safetensors(data)
    return load(data)


def read_part(folder, ref):
    """The tensors of one part; ValueError unless its bytes are those the manifest names."""
    data = (folder / "parts" / f"{ref['sha256']}.safetensors").read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != ref["sha256"] or len(data) != ref["bytes"]:
        raise ValueError(f"Cannot read part {ref['sha256']}: {len(data)} bytes hash to {found}")
    return read_tensors(data)


def read_layer(folder, entry):
    """One layer of the manifest -> its rows, by head."""
    heads = range(len(entry["headLengths"]))
    layer = Layer([[] for _ in heads], [[] for _ in heads], [[] for _ in heads])
    for part in (read_part(folder, ref) for ref in entry["parts"]):
        for head in heads:
            rows = slice(int(part["offsets"][head]), int(part["offsets"][head + 1]))
            layer.keys[head].extend(part["k"][rows])
            layer.values[head].extend(part["v"][rows])
            layer.positions[head].extend(int(position) for position in part["pos"][rows])
    found = [len(positions) for positions in layer.positions]
    if found != entry["headLengths"]:
        raise ValueError(f"Cannot read layer: heads have {found} pairs, the manifest says {entry['headLengths']}")
    return layer


def read_record(folder):
    """Record folder -> (manifest, layers)."""
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["schema"] != "kvault.context/1":
        raise ValueError(f"Cannot read record: schema {manifest['schema']!r}")
    if manifest["codec"] not in ("f16", "f32"):
        raise ValueError(f"Cannot read record: codec {manifest['codec']!r} (build it with f16 or f32)")
    return manifest, [read_layer(folder, entry) for entry in manifest["layers"]]


def to_transformers(model, manifest, layers):
    """A `DynamicCache` holding the record, for a model with the same weights.

    Heads kept different numbers of pairs and a cache is a rectangle [1, K, N, D], so short
    heads are padded and the padding is masked. The mask differs per layer and head, which no
    argument of `forward` can say: it goes in as an attention function, switched on for `model`.
    """
    import numpy
    import torch
    from transformers import AttentionInterface, DynamicCache

    longest = max(len(positions) for layer in layers for positions in layer.positions)
    num_kv_heads, head_dim = manifest["model"]["numKvHeads"], manifest["model"]["headDim"]
    cache = DynamicCache()
    kept = []  # per layer [K, N], True where a pair is
    for index, layer in enumerate(layers):
        key, value = torch.zeros(2, 1, num_kv_heads, longest, head_dim)
        is_kept = torch.zeros(num_kv_heads, longest, dtype=torch.bool)
        for head, length in enumerate(map(len, layer.positions)):
            if length > 0:
                key[0, head, :length] = torch.from_numpy(numpy.array(layer.keys[head], numpy.float32))
                value[0, head, :length] = torch.from_numpy(numpy.array(layer.values[head], numpy.float32))
            is_kept[head, :length] = True
        cache.update(key.to(model.device, model.dtype), value.to(model.device, model.dtype), index)
        kept.append(is_kept.to(model.device))

    def ragged_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
        """query [1, H, T, D], key and value [1, K, N + new, D] -> [1, T, H, D]."""
        num_new, groups = query.shape[2], query.shape[1] // key.shape[1]
        suffix = key.shape[2] - longest  # tokens after the context, this call's T included
        causal = torch.ones(num_new, suffix, dtype=torch.bool, device=key.device).tril(suffix - num_new)
        past = kept[module.layer_idx][:, None, :].expand(-1, num_new, -1)
        mask = torch.cat([past, causal.expand(key.shape[1], -1, -1)], dim=-1)
        key, value, mask = (tensor.repeat_interleave(groups, -3) for tensor in (key, value, mask))
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask[None], scale=scaling)
        return out.transpose(1, 2).contiguous(), None

    AttentionInterface.register("kvault_ragged", ragged_attention)
    model.set_attn_implementation("kvault_ragged")
    return cache


def answer_ids(model, manifest, layers, question_ids, max_tokens, end_ids=()):
    """Greedy continuation of the context by `question_ids` (question and template postfix, no prefix)."""
    import torch

    cache = to_transformers(model, manifest, layers)
    position, tokens, answer = manifest["nextPosition"], list(question_ids), []
    while len(answer) < max_tokens:
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([tokens], device=model.device),
                position_ids=torch.arange(position, position + len(tokens), device=model.device)[None],
                past_key_values=cache,
                use_cache=True,
            ).logits
        position += len(tokens)
        tokens = [int(logits[0, -1].argmax())]
        if tokens[0] in end_ids:
            break
        answer += tokens
    return answer


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python load_record.py STORE/v1/contexts/CONTEXT_ID")
    manifest, layers = read_record(sys.argv[1])
    report = manifest["report"]
    print(f"{manifest['contextId']}: {manifest['model']['name']}, {report['spec']}")
    print(f"{manifest['prefixTokens']} + {manifest['contextTokens']} tokens, next position {manifest['nextPosition']}")
    for index, layer in enumerate(layers):
        print(f"layer {index:3}: " + " ".join(f"{len(positions):6}" for positions in layer.positions))
    kept = sum(len(positions) for layer in layers for positions in layer.positions)
    print(f"kept {kept} of {report['totalPairs']} pairs, all parts verified")


if __name__ == "__main__":
    main()
