"""A context and a conversation about it, with generated stubs.

    pip install -r requirements.txt
    ./generate.sh generated
    PYTHONPATH=generated python ask.py 127.0.0.1:7717 MODEL TEXT_FILE QUESTION [QUESTION ...]
"""

import sys

import grpc
from google.rpc import error_details_pb2, status_pb2
from kvault.v1 import common_pb2, contexts_pb2, contexts_pb2_grpc, inference_pb2, inference_pb2_grpc

TIMEOUT_SECONDS = 600


def reason(error):
    """The code of a KVault error, from its google.rpc.ErrorInfo; the gRPC status when it has none."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    for detail in status_pb2.Status.FromString(packed).details if packed else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return error.code().name


def create(contexts, model, text):
    """Makes a context, or finds the one that the same request made; returns it when it can be asked."""
    operation = contexts.CreateContext(
        contexts_pb2.CreateContextRequest(
            model=model,
            content=common_pb2.ContextContent(text=text),
            compression=common_pb2.Compression(keep_ratio=0.5),
        ),
        timeout=60,
    )
    metadata = contexts_pb2.CreateContextMetadata()
    operation.metadata.Unpack(metadata)
    watch = contexts.WatchContext(contexts_pb2.WatchContextRequest(name=metadata.context), timeout=TIMEOUT_SECONDS)
    for change in watch:
        context = change.context
    if context.state != contexts_pb2.Context.STATE_ACTIVE:
        sys.exit(f"{context.name} is {contexts_pb2.Context.State.Name(context.state)}: {context.error.message}")
    return context


def main(address, model, text_file, *questions):
    with open(text_file, encoding="utf-8") as file:
        text = file.read()
    with grpc.insecure_channel(address) as channel:
        context = create(contexts_pb2_grpc.ContextsStub(channel), model, text)
        print(f"{context.name}: {context.report.kept_pairs} of {context.report.total_pairs} pairs kept")
        inference = inference_pb2_grpc.InferenceStub(channel)
        turns = []
        for question in questions:
            request = inference_pb2.QueryRequest(
                context=context.name, question=question, turns=turns, limits=common_pb2.Limits(max_tokens=48)
            )
            print(f"> {question}")
            try:
                for reply in inference.Query(request, timeout=TIMEOUT_SECONDS):
                    if reply.WhichOneof("event") == "delta":
                        print(reply.delta.text, end="", flush=True)
            except grpc.RpcError as error:
                sys.exit(f"refused: {reason(error)}")
            print()
            turns.append(common_pb2.ChatMessage(role=common_pb2.ChatMessage.ROLE_USER, content=question))
            turns.append(common_pb2.ChatMessage(role=common_pb2.ChatMessage.ROLE_ASSISTANT, content=reply.answer.text))


main(*sys.argv[1:])
