"""A gRPC client that knows nothing of KVault but an address.

Services, methods and messages come from server reflection; no code is generated.

    pip install -r requirements.txt
    python grpc_client.py 127.0.0.1:7717 MODEL TEXT_FILE QUESTION
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

address, model, text_file, question = sys.argv[1:]
channel = grpc.insecure_channel(address)
database = ProtoReflectionDescriptorDatabase(channel)
pool = descriptor_pool.DescriptorPool(database)


def message(type_name, **fields):
    """A message of the named type."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(type_name))(**fields)


def call(method, request):
    """Calls `package.Service/Method`; a stream of replies comes as an iterator."""
    service, name = method.split("/")
    descriptor = pool.FindServiceByName(service).methods_by_name[name]
    reply = message_factory.GetMessageClass(descriptor.output_type)
    kind = channel.unary_stream if descriptor.server_streaming else channel.unary_unary
    stub = kind(f"/{method}", type(request).SerializeToString, reply.FromString)
    return stub(request, timeout=600)


print("services")
for name in sorted(database.get_services()):
    print("  " + name)

with open(text_file, encoding="utf-8") as file:
    text = file.read()
operation = call(
    "kvault.v1.Contexts/CreateContext",
    message(
        "kvault.v1.CreateContextRequest",
        model=model,
        content=message("kvault.v1.ContextContent", text=text),
        compression=message("kvault.v1.Compression", spec="kvzip", keep_ratio=0.3),
    ),
)
metadata = message("kvault.v1.CreateContextMetadata")
operation.metadata.Unpack(metadata)
print(f"create   {metadata.context}")

for change in call("kvault.v1.Contexts/WatchContext", message("kvault.v1.WatchContextRequest", name=metadata.context)):
    context = change.context
states = context.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number
print(f"state    {states[context.state].name}")
if context.error.code:
    sys.exit(context.error.message)
report = context.report
print(f"kept     {report.kept_pairs} of {report.total_pairs} pairs over {report.context_tokens} tokens")

print(f"question {question}")
pieces = []
for reply in call("kvault.v1.Inference/Query", message("kvault.v1.QueryRequest", context=metadata.context, question=question)):
    if reply.WhichOneof("event") == "delta":
        pieces.append(reply.delta.text)
    else:
        answer = reply.answer
assert "".join(pieces) == answer.text, "the pieces are the answer"
print(f"answer   {answer.text.strip()}")
