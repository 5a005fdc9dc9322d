import { create } from "@bufbuild/protobuf";
import {
  containerCgroup,
  type Sandbox,
  type SandboxEnvironment,
  usesHostNetwork,
} from "../../../core/sandbox/index.ts";
import {
  type LinuxNamespaceSchema,
  type LinuxPodSandboxSchema,
  type PodSandbox,
  PodSandboxSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  type LinuxContainerResources,
  UpdatePodSandboxResourcesRequestSchema,
} from "../../../gen/runtime/v1/api_pb.ts";
import { pluginResources } from "./resources.ts";
import { decodeMessage } from "../../../wire/protobuf.ts";
import type { Fields } from "./fields.ts";

/**
 * A pod as plugins are told about it. The annotations are those of the client and the keys of
 * containerd's pod sandboxes that plugins read.
 */
export function describePod(sandbox: Sandbox, environment: SandboxEnvironment): PodSandbox {
  const { id, config, handler } = sandbox;
  const { name = "", namespace = "", uid = "" } = config.metadata ?? {};
  return create(PodSandboxSchema, {
    id,
    name,
    uid,
    namespace,
    labels: config.labels,
    annotations: {
      ...config.annotations,
      "io.kubernetes.cri.container-type": "sandbox",
      "io.kubernetes.cri.sandbox-id": id,
      "io.kubernetes.cri.sandbox-name": name,
      "io.kubernetes.cri.sandbox-namespace": namespace,
      "io.kubernetes.cri.sandbox-uid": uid,
      "io.kubernetes.cri.sandbox-log-directory": config.logDirectory,
    },
    runtimeHandler: handler.name,
    linux: linuxOf(sandbox, environment),
    pid: sandbox.process?.pid ?? 0,
    ips: usesHostNetwork(config) ? [] : [...(sandbox.network?.ips ?? [])],
  });
}

function linuxOf(
  sandbox: Sandbox,
  environment: SandboxEnvironment,
): Fields<typeof LinuxPodSandboxSchema> {
  const { id, config, cgroup } = sandbox;
  const { resources, overhead } = resourcesOf(sandbox);
  return {
    ...(overhead && { podOverhead: pluginResources(overhead) }),
    ...(resources && { podResources: pluginResources(resources) }),
    cgroupParent: config.linux?.cgroupParent ?? "",
    cgroupsPath: containerCgroup(cgroup, id).specPath,
    namespaces: namespacesOf(sandbox, environment),
  };
}

/** The resources in force: those of the last update, else of the request. */
function resourcesOf({ config, resourcesBytes }: Sandbox): {
  readonly resources: LinuxContainerResources | undefined;
  readonly overhead: LinuxContainerResources | undefined;
} {
  const { resources, overhead } = config.linux ?? {};
  if (resourcesBytes === undefined) return { resources, overhead };
  const update = decodeMessage(UpdatePodSandboxResourcesRequestSchema, resourcesBytes);
  return {
    resources: update.resources ?? resources,
    overhead: update.overhead ?? overhead,
  };
}

/** The namespaces of the pod that exist: those of a stopped pod are gone. */
function namespacesOf(
  { state }: Sandbox,
  { pins, pid }: SandboxEnvironment,
): Fields<typeof LinuxNamespaceSchema>[] {
  if (state.name === "stopped") return [];
  const paths = {
    pid: pid === undefined ? undefined : `/proc/${pid}/ns/pid`,
    ipc: pins.ipc,
    uts: pins.uts,
    network: pins.net,
    user: pins.user,
  };
  return Object.entries(paths).flatMap(([type, path]) =>
    path === undefined ? [] : [{ type, path }],
  );
}
