import { kindOf, messageOf } from "../base/errors.ts";
import { type GrpcStatus, grpcCodeOfKind } from "../wire/grpc/status.ts";

/** The gRPC status of whatever a verb threw. The one place where a failure becomes a code. */
export function toStatus(error: unknown): GrpcStatus {
  return { code: grpcCodeOfKind[kindOf(error)], message: messageOf(error) };
}
