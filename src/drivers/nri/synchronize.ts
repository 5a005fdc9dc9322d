import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { toBinary } from "@bufbuild/protobuf";
import {
  type Container,
  ContainerSchema,
  type PodSandbox,
  PodSandboxSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";

/** The most bytes of a request: a ttrpc message has at most 4 MiB, with the names of service and method. */
export const maxRequestBytes = 4 * 1024 * 1024 - 1024;

/** The fields of SynchronizeRequest. */
const fields = { pods: 1, containers: 2, more: 3 } as const;

/** One SynchronizeRequest. */
export interface SynchronizePart {
  readonly bytes: Uint8Array;
  /** Others follow. */
  readonly more: boolean;
}

/**
 * The state of the node as SynchronizeRequests of at most `limit` bytes, in order: pods first, then containers. There is
 * always one. An object that is larger than that by itself is left out, and `onLeftOut` is told why: a pod with large
 * variables must not keep all plugins away from the node.
 */
export function synchronizeParts(
  state: { readonly pods: readonly PodSandbox[]; readonly containers: readonly Container[] },
  onLeftOut: (why: string) => void,
  limit = maxRequestBytes,
): SynchronizePart[] {
  const bodies: Uint8Array[][] = [[]];
  let length = 0;
  const add = (field: Uint8Array, id: string): void => {
    if (field.length > limit - moreBytes.length) {
      onLeftOut(`"${id}" has ${field.length} bytes, the limit of a message is ${limit}`);
      return;
    }
    if (length + field.length > limit - moreBytes.length) {
      bodies.push([]);
      length = 0;
    }
    bodies.at(-1)?.push(field);
    length += field.length;
  };
  for (const pod of state.pods) add(encodeField(fields.pods, PodSandboxSchema, pod), pod.id);
  for (const container of state.containers) {
    add(encodeField(fields.containers, ContainerSchema, container), container.id);
  }
  return bodies.map((body, at) => {
    const more = at < bodies.length - 1;
    return { bytes: Buffer.concat(more ? [...body, moreBytes] : body), more };
  });
}

const moreBytes = new BinaryWriter().tag(fields.more, WireType.Varint).bool(true).finish();

/** One item of a repeated field. */
function encodeField<D extends DescMessage>(
  field: number,
  schema: D,
  message: MessageShape<D>,
): Uint8Array {
  const bytes = toBinary(schema, message);
  return new BinaryWriter().tag(field, WireType.LengthDelimited).bytes(bytes).finish();
}
