import { create, toBinary } from "@bufbuild/protobuf";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { SandboxStatus } from "../../engine/sandbox/index.ts";
import { PodSandboxStatusSchema } from "../../gen/runtime/v1/api_pb.ts";
import { messageField } from "./fields.ts";
import { criState } from "./sandbox.ts";

interface Encoded {
  readonly ready: boolean;
  readonly createdAtNs: bigint;
  readonly ips: string;
  readonly bytes: Uint8Array;
}

const cache = new WeakMap<Sandbox, Encoded>();

/**
 * The status as field 1 of a PodSandboxStatusResponse, encoded once for each value of the sandbox and of
 * its controller's answer.
 */
export function encodedSandboxStatus(status: SandboxStatus): Uint8Array {
  const { sandbox, ready, createdAtNs } = status;
  const ips = status.ips.join();
  const known = cache.get(sandbox);
  if (known?.ready === ready && known.createdAtNs === createdAtNs && known.ips === ips)
    return known.bytes;
  const bytes = messageField(1, encodeStatus(status));
  cache.set(sandbox, { ready, createdAtNs, ips, bytes });
  return bytes;
}

function encodeStatus({ sandbox, ready, createdAtNs, ips }: SandboxStatus): Uint8Array {
  const { metadata, labels, annotations, linux } = sandbox.config;
  const [ip = "", ...additional] = ips;
  const options = linux?.securityContext?.namespaceOptions;
  return toBinary(
    PodSandboxStatusSchema,
    create(PodSandboxStatusSchema, {
      id: sandbox.id,
      ...(metadata === undefined ? {} : { metadata }),
      state: criState(ready),
      createdAt: createdAtNs,
      network: { ip, additionalIps: additional.map((address) => ({ ip: address })) },
      linux: { namespaces: { options: options ?? {} } },
      labels,
      annotations,
      runtimeHandler: sandbox.handler.requested,
    }),
  );
}
