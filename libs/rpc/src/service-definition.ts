/**
 * protobuf-es descriptors → grpc-js service definitions.
 *
 * Names follow the descriptor: `Contexts.createContext` on our side, `/kvault.v1.Contexts/CreateContext`
 * on the wire. `bytes` fields of a decoded message are views into the received message.
 *
 * @module
 */
import type { DescMessage, DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

/** What callers may write where a message of type `T` is sent: the message or its plain fields. */
export type Sendable<T extends DescMessage> = MessageInitShape<T>;

/** Path, shape and (de)serialisers of one method. */
export function methodDefinition<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { input: I; output: O },
): MethodDefinition<Sendable<I>, Sendable<O>> {
  const { input, output, methodKind } = method;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    requestSerialize: (message) => encode(input, message),
    requestDeserialize: (bytes) => fromBinary(input, bytes) as MessageShape<I> & Sendable<I>,
    responseSerialize: (message) => encode(output, message),
    responseDeserialize: (bytes) => fromBinary(output, bytes) as MessageShape<O> & Sendable<O>,
    originalName: method.localName,
  };
}

/** All methods of a service, keyed as the descriptor's `method`. */
export function serviceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, methodDefinition(method)]));
}

function encode<T extends DescMessage>(schema: T, message: Sendable<T>): Buffer {
  const bytes = toBinary(schema, create(schema, message));
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
