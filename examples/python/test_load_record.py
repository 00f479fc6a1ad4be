"""`answer_ids` against a model that saw the whole context: python -m unittest (needs torch, transformers).

A tiny random llama reads a context; its cache becomes a record, whole or with pairs evicted.
Whole, the answer must be the model's own. Evicted, it must be that of the full cache with the
same pairs masked out by hand.
"""

import hashlib
import json
import struct
import tempfile
import unittest
from pathlib import Path

from load_record import answer_ids, parse_safetensors, read_record

try:
    import torch
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
except ImportError:
    torch = None

CONTEXT, QUESTION, NEW = 40, 5, 12


def encode_safetensors(tensors):
    """Name -> (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def f32_part(keys, values, positions, lengths):
    offsets = [sum(lengths[:head]) for head in range(len(lengths) + 1)]
    return encode_safetensors({
        "k": ("F32", list(keys.shape), keys.numpy().tobytes()),
        "v": ("F32", list(values.shape), values.numpy().tobytes()),
        "pos": ("U32", [len(positions)], struct.pack(f"<{len(positions)}I", *positions)),
        "offsets": ("U32", [len(offsets)], struct.pack(f"<{len(offsets)}I", *offsets)),
    })


def write_record(folder, cache, kept, num_parts):
    """`kept` [layer][head] -> positions; each layer is cut into `num_parts` runs of rows."""
    (folder / "parts").mkdir(parents=True)
    layers = []
    for layer, heads in zip(cache.layers, kept):
        keys = torch.cat([layer.keys[0, head, rows] for head, rows in enumerate(heads)])
        values = torch.cat([layer.values[0, head, rows] for head, rows in enumerate(heads)])
        owner = [head for head, rows in enumerate(heads) for _ in rows]
        positions = [position for rows in heads for position in rows]
        parts = []
        for part in range(num_parts):
            rows = slice(len(owner) * part // num_parts, len(owner) * (part + 1) // num_parts)
            lengths = [owner[rows].count(head) for head in range(len(heads))]
            data = f32_part(keys[rows], values[rows], positions[rows], lengths)
            parts.append({"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
            (folder / "parts" / f"{parts[-1]['sha256']}.safetensors").write_bytes(data)
        layers.append({"parts": parts, "headLengths": [len(rows) for rows in heads]})
    manifest = {
        "schema": "kvault.context/1",
        "codec": "f32",
        "nextPosition": CONTEXT,
        "model": {"numKvHeads": len(kept[0]), "headDim": keys.shape[1]},
        "layers": layers,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


@unittest.skipIf(torch is None, "torch and transformers are not installed")
class AnswerIds(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(7)
        config = LlamaConfig(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
                             num_attention_heads=4, num_key_value_heads=2, initializer_range=0.5)
        self.model = LlamaForCausalLM(config).eval()
        self.context = torch.randint(0, 97, (1, CONTEXT))
        self.question = torch.randint(0, 97, (QUESTION,)).tolist()

    def record(self, kept, num_parts):
        with tempfile.TemporaryDirectory() as folder:
            cache = DynamicCache()
            with torch.no_grad():
                self.model(input_ids=self.context, past_key_values=cache, use_cache=True)
            write_record(Path(folder) / "record", cache, kept, num_parts)
            return read_record(Path(folder) / "record")

    def test_a_whole_record_answers_as_the_model_does(self):
        prompt = torch.cat([self.context, torch.tensor([self.question])], dim=1)
        own = self.model.generate(prompt, max_new_tokens=NEW, do_sample=False, eos_token_id=None)[0, prompt.shape[1]:].tolist()
        whole = [[list(range(CONTEXT))] * 2] * 3
        self.assertEqual(answer_ids(self.model, *self.record(whole, 1), self.question, NEW), own)

    def test_an_evicted_record_answers_as_the_masked_cache_does(self):
        generator = torch.Generator().manual_seed(3)
        kept = [[torch.nonzero(torch.rand(CONTEXT, generator=generator) < keep).flatten().tolist() for keep in (0.2, 0.7)]
                for _ in range(3)]
        kept[1][0] = []  # a head may keep nothing
        expected = self.masked_answer(kept)
        self.assertEqual(answer_ids(self.model, *self.record(kept, 3), self.question, NEW), expected)
        self.assertNotEqual(expected, self.masked_answer([[list(range(CONTEXT))] * 2] * 3))

    def masked_answer(self, kept):
        """Reads the whole text again for each token; evicted pairs are masked for all after the context."""
        from transformers import AttentionInterface

        def masked(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
            length = query.shape[2]
            mask = torch.ones(2, length, length, dtype=torch.bool).tril()
            for head, rows in enumerate(kept[module.layer_idx]):
                evicted = [position for position in range(CONTEXT) if position not in rows]
                mask[head, CONTEXT:, evicted] = False
            key, value, mask = (tensor.repeat_interleave(2, -3) for tensor in (key, value, mask))
            out = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask[None], scale=scaling)
            return out.transpose(1, 2).contiguous(), None

        AttentionInterface.register("masked_by_hand", masked)
        self.model.set_attn_implementation("masked_by_hand")
        tokens = self.context[0].tolist() + self.question
        for _ in range(NEW):
            with torch.no_grad():
                logits = self.model(input_ids=torch.tensor([tokens]), use_cache=False).logits
            tokens.append(int(logits[0, -1].argmax()))
        return tokens[CONTEXT + QUESTION:]


class ParseSafetensors(unittest.TestCase):
    def test_gives_rows_and_lists(self):
        data = encode_safetensors({
            "k": ("F16", [2, 3], struct.pack("<6e", 1, 2, 3, 4, 5, 6)),
            "pos": ("U32", [2], struct.pack("<2I", 7, 9)),
        })
        self.assertEqual(parse_safetensors(data), {"k": [(1, 2, 3), (4, 5, 6)], "pos": [7, 9]})


if __name__ == "__main__":
    unittest.main()
