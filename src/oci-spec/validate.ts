import { posix } from "node:path";
import { type CheckedConfig, logPathIn } from "../core/container/index.ts";
import type {
  ContainerConfig,
  LinuxContainerSecurityContext,
  PodSandboxConfig,
} from "../gen/runtime/v1/api_pb.ts";
import { Signal, SupplementalGroupsPolicy } from "../gen/runtime/v1/api_pb.ts";
import { grantedCapabilities } from "./security/capabilities.ts";
import { requestedCdiDevices } from "./cdi/cdi.ts";
import { checkMounts } from "./check-mounts.ts";
import { checkDevices } from "./devices.ts";
import { configEnv } from "./env.ts";
import type { SpecHost } from "./input.ts";
import { checkCgroupMountMode } from "./handler/cgroup-mounts.ts";
import { checkNamespaceOptions } from "./namespaces.ts";
import { maxId } from "./process.ts";
import { quoted, refuse } from "./refuse.ts";
import { checkResources } from "./resources.ts";
import { checkEgressContext } from "./security/egress.ts";
import { apparmorChoice, seccompChoice } from "./security/security.ts";
import { signalOfCri } from "./stop-signal.ts";
import { checkUlimits } from "./ulimits.ts";

/**
 * Refuses a container config that cannot be carried out, before anything is created for it and
 * without reading image or node. `invalid-argument` naming field and value for what is wrong
 * in itself; `failed-precondition` for what this node does not support; `unimplemented` for what davit
 * does not do.
 */
export function checkContainerConfig(
  config: ContainerConfig | undefined,
  sandbox: PodSandboxConfig,
  host: Pick<SpecHost, "cgroupVersion" | "capabilities">,
): CheckedConfig {
  if (config === undefined) refuse("config is missing");
  const { metadata, image } = config;
  if (metadata === undefined) refuse("metadata is missing");
  if (metadata.name === "") refuse("metadata.name is empty");
  if (image === undefined || image.image === "") refuse("image is missing");
  if (config.workingDir !== "" && !config.workingDir.startsWith("/")) {
    refuse(`working_dir must be absolute, got ${quoted(config.workingDir)}`);
  }
  if (
    config.stopSignal !== Signal.RUNTIME_DEFAULT &&
    signalOfCri(config.stopSignal) === undefined
  ) {
    refuse(`stop_signal is ${config.stopSignal}, which is not a signal`);
  }
  if (config.windows !== undefined) refuse("windows is set, this node runs Linux containers");
  checkLogPath(config, sandbox);
  configEnv(config.envs);
  checkMounts(config);
  checkDevices(config);
  requestedCdiDevices(config);
  checkNamespaceOptions(config, sandbox);
  if (config.linux?.resources) checkResources(config.linux.resources, host.cgroupVersion);
  const context = config.linux?.securityContext;
  if (context !== undefined) checkSecurityContext(context, sandbox, host);
  return Object.assign(config, { metadata, image });
}

/** Refuses a log path that leaves the pod's log directory, or whose pod has none. */
function checkLogPath({ logPath }: ContainerConfig, { logDirectory }: PodSandboxConfig): void {
  if (logPath === "") return;
  if (logDirectory === "") {
    refuse(`log_path is ${quoted(logPath)}, but the pod has no log_directory to put it in`);
  }
  const inside = posix.join(logPathIn(logDirectory, ""), "/");
  const path = logPathIn(logDirectory, logPath);
  if (!path.startsWith(inside) || path.endsWith("/") || logPath.includes("\0")) {
    refuse(
      `log_path must be a file below the pod's log_directory ${quoted(logDirectory)}, got ${quoted(logPath)}`,
    );
  }
}

function checkSecurityContext(
  context: LinuxContainerSecurityContext,
  sandbox: PodSandboxConfig,
  host: Pick<SpecHost, "capabilities">,
): void {
  if (context.privileged && sandbox.linux?.securityContext?.privileged !== true) {
    refuse("security_context.privileged is set, but the pod is not privileged");
  }
  checkUser(context);
  checkEgressContext(context, sandbox);
  grantedCapabilities(context, host.capabilities);
  seccompChoice(context);
  apparmorChoice(context);
  checkCgroupMountMode(context);
  checkUlimits(context.ulimits);
}

function checkUser(context: LinuxContainerSecurityContext): void {
  const { runAsUser, runAsUsername, runAsGroup, supplementalGroups } = context;
  if (runAsUser !== undefined && runAsUsername !== "") {
    refuse("security_context has run_as_user and run_as_username, only one of them can be");
  }
  if (runAsGroup !== undefined && runAsUser === undefined && runAsUsername === "") {
    refuse("security_context.run_as_group needs run_as_user or run_as_username");
  }
  const ids: readonly (readonly [string, bigint | undefined])[] = [
    ["run_as_user", runAsUser?.value],
    ["run_as_group", runAsGroup?.value],
    ...supplementalGroups.map((group) => ["supplemental_groups", group] as const),
  ];
  for (const [field, id] of ids) {
    if (id !== undefined && (id < 0n || id > maxId)) {
      refuse(`security_context.${field} must be 0 to ${maxId}, got ${id}`);
    }
  }
  const policy: number = context.supplementalGroupsPolicy;
  if (!Object.values<number>(SupplementalGroupsPolicy).includes(policy)) {
    refuse(`security_context.supplemental_groups_policy is ${policy}, which is unknown`);
  }
}
