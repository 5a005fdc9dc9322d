import { kindOf, messageOf } from "../base/errors.ts";
import { type GrpcStatus, grpcCodeOfKind } from "../wire/grpc/status.ts";

/** The gRPC status of an error. Only this function maps errors to codes. */
export function toStatus(error: unknown): GrpcStatus {
  return { code: grpcCodeOfKind[kindOf(error)], message: messageOf(error) };
}
