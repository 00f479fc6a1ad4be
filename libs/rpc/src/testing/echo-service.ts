/**
 * A service with a method of each kind, made at run time: KVault's own protos have no
 * bidirectional stream, and tests want messages of any size.
 *
 * @module
 */
import { create, createFileRegistry, type DescService } from "@bufbuild/protobuf";
import { FieldDescriptorProto_Label, FieldDescriptorProto_Type, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** Plain fields of the one message type: `kvault.testing.Echo`. */
export interface Echo {
  readonly text?: string;
  readonly count?: number;
}

/** `kvault.testing.EchoService` with `unary`, `down` (server stream), `up` (client stream) and `both`. */
export function echoService(): DescService {
  const field = (name: string, number: number, type: FieldDescriptorProto_Type) => ({
    name,
    number,
    type,
    label: FieldDescriptorProto_Label.OPTIONAL,
    jsonName: name,
  });
  const method = (name: string, clientStreaming: boolean, serverStreaming: boolean) => ({
    name,
    inputType: ".kvault.testing.Echo",
    outputType: ".kvault.testing.Echo",
    clientStreaming,
    serverStreaming,
  });
  const file = create(FileDescriptorProtoSchema, {
    name: "kvault/testing/echo.proto",
    package: "kvault.testing",
    syntax: "proto3",
    messageType: [
      {
        name: "Echo",
        field: [field("text", 1, FieldDescriptorProto_Type.STRING), field("count", 2, FieldDescriptorProto_Type.UINT32)],
      },
    ],
    service: [
      {
        name: "EchoService",
        method: [
          method("Unary", false, false),
          method("Down", false, true),
          method("Up", true, false),
          method("Both", true, true),
        ],
      },
    ],
  });
  const service = createFileRegistry(file, () => undefined).getService("kvault.testing.EchoService");
  if (service === undefined) throw new TypeError('Cannot find "kvault.testing.EchoService" in its own file');
  return service;
}
