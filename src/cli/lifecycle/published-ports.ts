import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { PodSandboxState } from "../../gen/runtime/v1/api_pb.ts";
import { formatHostPort } from "../../client/pods/host-port.ts";
import { readPorts } from "../../client/pods/host-ports.ts";
import { readInfo } from "../output/cri-message.ts";
import type { Server } from "../server/session.ts";

/** The address of a pod, and its published ports as text: "8080->80/tcp". */
export interface PodNetwork {
  readonly address: string;
  readonly ports: string;
}

/**
 * The addresses and ports of ready pods by id; a pod that is removed meanwhile has none. The ports are known if
 * verbose statuses contain the config of the pod, as in davit and containerd.
 */
export async function networksOf(
  pods: readonly PodSandbox[],
  server: Server,
): Promise<ReadonlyMap<string, PodNetwork>> {
  const ready = pods.filter(({ state }) => state === PodSandboxState.SANDBOX_READY);
  const networks = ready.map(async ({ id }): Promise<readonly [string, PodNetwork]> => {
    const { status, info } = await server.client.runtime
      .podSandboxStatus({ podSandboxId: id, verbose: true }, server.limit())
      .catch(() => ({ status: undefined, info: {} }));
    const ports = readPorts(readInfo(info)["info"]).map(({ containerPort, ...host }) => {
      const [port = "", protocol = ""] = formatHostPort(host).split("/");
      return `${port}->${containerPort}/${protocol}`;
    });
    return [id, { address: status?.network?.ip ?? "", ports: ports.join(", ") }];
  });
  return new Map(await Promise.all(networks));
}
