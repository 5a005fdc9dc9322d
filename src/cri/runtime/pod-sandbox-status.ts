import { create, toBinary } from "@bufbuild/protobuf";
import * as sandboxes from "../../engine/sandbox/index.ts";
import { type Sandbox, sandboxName } from "../../core/sandbox/index.ts";
import {
  type LinuxContainerResources,
  LinuxContainerResourcesSchema,
  PodSandboxConfigSchema,
  type PodSandboxStatusRequest,
  PodSandboxStatusResponseSchema,
  UpdatePodSandboxResourcesRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { decodeMessage } from "../../wire/protobuf.ts";
import type { CriContext } from "../context.ts";
import { encodedContainerStatus } from "../convert/container-status.ts";
import { goCniResult } from "../convert/cni-result.ts";
import { goJson } from "../convert/go-json.ts";
import { int64Field, joinFields } from "../convert/fields.ts";
import { encodedSandboxStatus } from "../convert/sandbox-status.ts";

/** The status of a sandbox with its containers; verbose adds containerd's keys as one JSON text. */
export async function podSandboxStatus(
  context: CriContext,
  request: PodSandboxStatusRequest,
): Promise<Uint8Array> {
  const status = await sandboxes.podSandboxStatus(
    context.sandboxes,
    request.podSandboxId,
    request.verbose,
  );
  // Fields of PodSandboxStatusResponse: 1 status, 2 info, 3 containers_statuses, 4 timestamp.
  const fields = [encodedSandboxStatus(status), int64Field(4, status.timestampNs)];
  for (const container of status.containers) fields.push(encodedContainerStatus(container));
  if (status.info !== undefined) fields.push(encodedInfo(status.sandbox, status.info));
  return joinFields(fields);
}

/** Field 2: one entry, "info", with everything as one JSON text under containerd's keys. */
function encodedInfo(sandbox: Sandbox, info: sandboxes.SandboxInfo): Uint8Array {
  const { handler, network } = sandbox;
  const shared = {
    config: goJson(PodSandboxConfigSchema, sandbox.config),
    cniResult: network === undefined ? null : goCniResult(network.result),
  };
  const json = JSON.stringify({
    pid: info.pid,
    processStatus: info.processStatus,
    netNamespaceClosed: info.netNamespaceClosed,
    // Empty, because there is no pause container.
    image: "",
    snapshotKey: "",
    snapshotter: "",
    runtimeHandler: handler.name,
    runtimeType: handler.runtimeType ?? handler.path ?? "",
    runtimeOptions: null,
    ...shared,
    sandboxMetadata: sandboxMetadata(sandbox, shared),
    ...updatedResources(sandbox),
    ...(sandbox.ownIds === undefined ? {} : { ownIds: sandbox.ownIds }),
    ...info.extra,
    history: info.history,
    ...(sandbox.state.name === "dead" ? { reason: sandbox.state.reason } : {}),
    ...(info.controllerError === undefined ? {} : { controllerError: info.controllerError }),
  });
  return toBinary(
    PodSandboxStatusResponseSchema,
    create(PodSandboxStatusResponseSchema, { info: { info: json } }),
  );
}

/**
 * The metadata of the sandbox in containerd's format (internal/cri/store/sandbox/metadata.go). Readers of
 * that format reject the whole info if the version is missing.
 */
function sandboxMetadata(
  sandbox: Sandbox,
  shared: { readonly config: object; readonly cniResult: object | null },
): object {
  const { metadata } = sandbox.config;
  const [ip = "", ...additional] = sandbox.network?.ips ?? [];
  return {
    Version: "v1",
    Metadata: {
      ID: sandbox.id,
      Name: metadata === undefined ? sandbox.name : sandboxName(metadata),
      Config: shared.config,
      NetNSPath: sandbox.netnsPath ?? "",
      IP: ip,
      AdditionalIPs: additional,
      RuntimeHandler: sandbox.handler.requested,
      CNIResult: shared.cniResult,
      ProcessLabel: sandbox.selinux?.process ?? "",
    },
  };
}

/** The last update of the pod's resources, under the keys of containerd 2.3. */
function updatedResources({ resourcesBytes }: Sandbox): Readonly<Record<string, unknown>> {
  if (resourcesBytes === undefined) return {};
  const request = decodeMessage(UpdatePodSandboxResourcesRequestSchema, resourcesBytes);
  const json = (linux: LinuxContainerResources): object => ({
    linux: goJson(LinuxContainerResourcesSchema, linux),
  });
  return {
    ...(request.overhead === undefined ? {} : { overhead: json(request.overhead) }),
    ...(request.resources === undefined ? {} : { resources: json(request.resources) }),
  };
}
