/**
 * Server reflection (v1 and v1alpha) from the descriptors embedded in the generated code, so that
 * a client without our .proto files (grpcurl, grpcui, any language) can list and call everything.
 *
 * @module
 */
import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { ReflectionService } from "@grpc/reflection";
import { service as healthService } from "grpc-health-check";

/** A reflection service that describes `services`, the health service, and every file they import. */
export function reflectionOf(services: readonly DescService[]): ReflectionService {
  const files = new Map<string, Buffer>();
  const visit = (file: DescFile): void => {
    if (files.has(file.name)) return;
    files.set(file.name, Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)));
    file.dependencies.forEach(visit);
  };
  for (const service of services) visit(service.file);
  const [healthMethod] = Object.values(healthService as unknown as Record<string, { requestType: ProtobufTypeDefinition }>);
  const fileDescriptorProtos = [...files.values(), ...(healthMethod?.requestType.fileDescriptorProtos ?? [])];
  const everything: ProtobufTypeDefinition = { format: "Protocol Buffer 3 DescriptorProto", type: {}, fileDescriptorProtos };
  const definition = { everything } as unknown as ConstructorParameters<typeof ReflectionService>[0];
  return new ReflectionService(definition, {
    services: [...services.map((service) => service.typeName), "grpc.health.v1.Health"],
  });
}

/** A type of a package definition, as proto-loader makes it. */
interface ProtobufTypeDefinition {
  readonly format: string;
  readonly type: object;
  readonly fileDescriptorProtos: readonly Buffer[];
}
