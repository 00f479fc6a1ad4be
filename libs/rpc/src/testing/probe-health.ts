/**
 * One question to a server's grpc.health.v1, over plaintext and without a token, as a kubelet's gRPC
 * probe asks it.
 *
 * @module
 */
import { type ClientUnaryCall, credentials, Client as GrpcClient, type ServiceError } from "@grpc/grpc-js";
import { service } from "grpc-health-check";

export type HealthStatus = "SERVING" | "NOT_SERVING" | "UNKNOWN" | "SERVICE_UNKNOWN" | "UNREACHABLE";

/** UNREACHABLE when there is no answer within `timeoutMs`. */
export async function probeHealth(address: string, name: string, timeoutMs: number): Promise<HealthStatus> {
  const { Check } = service as unknown as Record<string, CheckMethod>;
  if (Check === undefined) throw new TypeError("Cannot find the method Check of grpc.health.v1");
  const client = new GrpcClient(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
  try {
    return await new Promise<HealthStatus>((resolve) => {
      const done = (error: ServiceError | null, reply?: { status: HealthStatus }): void =>
        resolve(error === null && reply !== undefined ? reply.status : "UNREACHABLE");
      const deadline = new Date(Date.now() + timeoutMs);
      client.makeUnaryRequest(
        Check.path,
        Check.requestSerialize,
        Check.responseDeserialize,
        { service: name },
        { deadline },
        done,
      ) satisfies ClientUnaryCall;
    });
  } finally {
    client.close();
  }
}

interface CheckMethod {
  readonly path: string;
  readonly requestSerialize: (value: { readonly service: string }) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => { readonly status: HealthStatus };
}
