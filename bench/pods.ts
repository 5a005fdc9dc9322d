/** The pods of one server, as a kubelet requests them. */
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { create } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  PodSandboxState,
  Protocol,
} from "../src/gen/runtime/v1/api_pb.ts";
import {
  createCgroup,
  detectCgroups,
  removeCgroup,
  writeResources,
} from "../src/linux/cgroup/index.ts";
import type { Server } from "./server.ts";
import { timed } from "./statistics.ts";

/** The namespace of all pods of the bench. */
export const podNamespace = "davit-bench";

const memoryLimitBytes = 256n << 20n;
const cpuPeriodUs = 100_000n;

/** Options of a pod. */
export interface PodOptions {
  /** A port of the host that leads to port 80 of the pod. */
  readonly hostPort?: number;
  /** It may use all CPUs, so that the server is measured and not the limit. */
  readonly unlimitedCpu?: boolean;
}

/** A pod that has its cgroup and its log directory, which a kubelet makes before it calls. */
export interface PreparedPod {
  readonly config: PodSandboxConfig;
  readonly cgroup: string;
}

/** A pod whose sandbox runs. */
export interface RunningPod extends PreparedPod {
  readonly id: string;
  /** How long RunPodSandbox took. */
  readonly runMs: number;
}

/** Makes and ends the pods of one server. Only the calls to the server are timed. */
export class Pods {
  readonly #server: Server;
  readonly #cgroup: string;
  readonly #logs: string;
  readonly #layout = detectCgroups();
  #count = 0;

  /** `cgroup`: below this cgroup every pod gets one of its own. */
  constructor(server: Server, options: { readonly cgroup: string; readonly directory: string }) {
    this.#server = server;
    this.#cgroup = options.cgroup;
    this.#logs = path.join(options.directory, server.name, "pod-logs");
  }

  async prepare(options: PodOptions = {}): Promise<PreparedPod> {
    this.#count += 1;
    const uid = randomUUID();
    const name = `pod-${this.#count}`;
    const cgroup = `${this.#cgroup}/${this.#server.name}/pod${uid}`;
    await createCgroup(this.#layout, cgroup);
    await writeResources(this.#layout, cgroup, {
      cpuShares: 512n,
      ...quota(options),
      memoryLimitBytes,
    });
    const logDirectory = path.join(this.#logs, `${podNamespace}_${name}_${uid}`);
    await mkdir(logDirectory, { recursive: true });
    return { cgroup, config: podConfig({ name, uid, cgroup, logDirectory, ...options }) };
  }

  /** RunPodSandbox; with the server's default handler unless one is named. */
  async run(prepared: PreparedPod, runtimeHandler = ""): Promise<RunningPod> {
    let id = "";
    const runMs = await timed(async () => {
      const request = { config: prepared.config, runtimeHandler };
      id = (await this.#server.client.runtime.runPodSandbox(request)).podSandboxId;
    });
    return { ...prepared, id, runMs };
  }

  /** StopPodSandbox; milliseconds. */
  stop(pod: RunningPod): Promise<number> {
    const podSandboxId = pod.id;
    return timed(() => this.#server.client.runtime.stopPodSandbox({ podSandboxId }));
  }

  /** RemovePodSandbox; milliseconds. */
  remove(pod: RunningPod): Promise<number> {
    const podSandboxId = pod.id;
    return timed(() => this.#server.client.runtime.removePodSandbox({ podSandboxId }));
  }

  /** Removes the pod's cgroup, as a kubelet does at the end. */
  async release(pod: PreparedPod): Promise<void> {
    await removeCgroup(this.#layout, pod.cgroup);
  }

  /** Throws unless the pod is ready and has an address. */
  async check(pod: RunningPod): Promise<void> {
    const { status } = await this.#server.client.runtime.podSandboxStatus({ podSandboxId: pod.id });
    if (status?.state === PodSandboxState.SANDBOX_READY && status.network?.ip !== "") return;
    throw new Error(`${this.#server.name}: pod ${pod.id} is not ready or has no address`);
  }

  /** Makes so many pods, some at a time. */
  async fill(count: number, runtimeHandler = ""): Promise<readonly RunningPod[]> {
    const made: RunningPod[] = [];
    await someAtATime(count, async () => {
      made.push(await this.run(await this.prepare(), runtimeHandler));
    });
    return made;
  }

  /** Stops and removes them all. */
  async clear(pods: readonly RunningPod[]): Promise<void> {
    const left = [...pods];
    await someAtATime(pods.length, async () => {
      const pod = left.pop();
      if (pod === undefined) return;
      await this.stop(pod);
      await this.remove(pod);
      await this.release(pod);
    });
  }
}

async function someAtATime(count: number, work: () => Promise<void>): Promise<void> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await work();
  };
  await Promise.all(Array.from({ length: 4 }, worker));
}

function quota({ unlimitedCpu }: PodOptions): { cpuPeriod?: bigint; cpuQuota?: bigint } {
  return unlimitedCpu === true ? {} : { cpuPeriod: cpuPeriodUs, cpuQuota: cpuPeriodUs };
}

interface PodFields extends PodOptions {
  readonly name: string;
  readonly uid: string;
  readonly cgroup: string;
  readonly logDirectory: string;
}

function podConfig(pod: PodFields): PodSandboxConfig {
  const portMappings =
    pod.hostPort === undefined
      ? []
      : [{ protocol: Protocol.TCP, containerPort: 80, hostPort: pod.hostPort }];
  return create(PodSandboxConfigSchema, {
    metadata: { name: pod.name, uid: pod.uid, namespace: podNamespace, attempt: 0 },
    hostname: pod.name,
    logDirectory: pod.logDirectory,
    dnsConfig: {
      servers: ["10.96.0.10"],
      searches: ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"],
      options: ["ndots:5"],
    },
    portMappings,
    labels: {
      "io.kubernetes.pod.name": pod.name,
      "io.kubernetes.pod.namespace": podNamespace,
      "io.kubernetes.pod.uid": pod.uid,
    },
    annotations: {
      "kubernetes.io/config.seen": "2026-01-01T00:00:00.000000000Z",
      "kubernetes.io/config.source": "api",
    },
    linux: {
      cgroupParent: pod.cgroup,
      securityContext: {
        namespaceOptions: {
          network: NamespaceMode.POD,
          pid: NamespaceMode.CONTAINER,
          ipc: NamespaceMode.POD,
        },
      },
      resources: {
        cpuShares: 512n,
        ...quota(pod),
        memoryLimitInBytes: memoryLimitBytes,
      },
    },
  });
}
