import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ContainerConfigSchema, PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import type { ContainerManifest } from "./container.ts";

// What kubelet sends: 1024 shares a processor, and at least 2 (pkg/kubelet/cm, MilliCPUToShares).
const sharesPerCpu = 1024;
const minShares = 2;
const periodUs = 100_000;

/** What kubelet would ask the runtime for to run this container of a pod for the first time. */
export function containerConfig(
  container: ContainerManifest,
  pod: PodSandboxConfig,
): MessageInitShape<typeof ContainerConfigSchema> {
  return {
    metadata: { name: container.name },
    image: { image: container.image },
    command: [...container.command],
    args: [...container.args],
    workingDir: container.workingDir,
    envs: container.env.map(({ name, value }) => ({ key: name, value: Buffer.from(value) })),
    labels: { ...pod.labels, "io.kubernetes.container.name": container.name },
    logPath: `${container.name}/0.log`,
    stdin: container.stdin,
    tty: container.tty,
    linux: {
      resources: resourcesOf(container),
      securityContext: {
        ...(pod.linux?.securityContext?.namespaceOptions && {
          namespaceOptions: pod.linux.securityContext.namespaceOptions,
        }),
      },
    },
  };
}

function resourcesOf({ requests, limits }: ContainerManifest): {
  cpuShares: bigint;
  cpuPeriod?: bigint;
  cpuQuota?: bigint;
  memoryLimitInBytes?: bigint;
} {
  const cpu = quantity(requests["cpu"] ?? limits["cpu"] ?? "0");
  const cpuLimit = quantity(limits["cpu"] ?? "0");
  const memory = quantity(limits["memory"] ?? "0");
  return {
    cpuShares: BigInt(Math.max(Math.round(cpu * sharesPerCpu), minShares)),
    ...(cpuLimit > 0
      ? { cpuPeriod: BigInt(periodUs), cpuQuota: BigInt(Math.round(cpuLimit * periodUs)) }
      : {}),
    ...(memory > 0 ? { memoryLimitInBytes: BigInt(Math.round(memory)) } : {}),
  };
}

const suffixes: Readonly<Record<string, number>> = {
  "": 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** The number that a Kubernetes quantity stands for; the manifest's reader has checked its form. */
export function quantity(text: string): number {
  const match = /^([0-9.]+)(e[0-9]+)?([a-zA-Z]*)$/.exec(text);
  return Number(`${match?.[1] ?? "0"}${match?.[2] ?? ""}`) * (suffixes[match?.[3] ?? ""] ?? 1);
}
