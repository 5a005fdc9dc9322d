import { create } from "@bufbuild/protobuf";
import type { Container, ContainerState } from "../../../core/container/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import type { ContainerOfPlugins } from "../../../core/plugin/index.ts";
import {
  type Container as PluginContainer,
  ContainerSchema,
  ContainerState as PluginState,
  SecurityProfile_ProfileType,
  type SecurityProfileSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { SecurityProfile_ProfileType as CriProfile } from "../../../gen/runtime/v1/api_pb.ts";
import { describeHooks, describeLinux, describeMounts } from "./spec.ts";
import type { Fields } from "./fields.ts";

/**
 * A container as plugins are told about it. What comes from its spec is empty for one whose spec cannot be
 * read any more.
 */
export async function describeContainer(of: ContainerOfPlugins): Promise<PluginContainer> {
  const { container } = of;
  const spec = await of.spec();
  const { state, config } = container;
  return create(ContainerSchema, {
    id: container.id,
    podSandboxId: container.sandboxId,
    name: config.metadata?.name ?? "",
    labels: config.labels,
    annotations: { ...spec?.annotations, ...config.annotations },
    createdAt: container.createdAtNs,
    image: imageOf(container),
    CDIDevices: config.CDIDevices.map(({ name }) => ({ name })),
    pid: (state.name === "running" ? state.process.pid : undefined) ?? of.pid ?? 0,
    ...stateOf(state),
    ...(spec && ofSpec(spec)),
    linux: {
      ...(spec && describeLinux(spec)),
      ...seccompProfile(container),
    },
  });
}

const states = {
  creating: PluginState.CONTAINER_UNKNOWN,
  created: PluginState.CONTAINER_CREATED,
  running: PluginState.CONTAINER_RUNNING,
  exited: PluginState.CONTAINER_STOPPED,
} as const satisfies Record<ContainerState["name"], PluginState>;

function stateOf(state: ContainerState): Fields<typeof ContainerSchema> {
  const base = { state: states[state.name] };
  if (state.name === "running") return { ...base, startedAt: state.startedAtNs };
  if (state.name !== "exited") return base;
  return {
    ...base,
    startedAt: state.startedAtNs,
    finishedAt: state.finishedAtNs,
    exitCode: state.exitCode,
    statusReason: state.reason,
    statusMessage: state.message,
  };
}

function imageOf({ image }: Container): Fields<typeof ContainerSchema>["image"] {
  const [, digest = ""] = image.ref.split("@");
  return { name: image.shown, digest, configDigest: image.id };
}

function ofSpec(spec: OciSpec): Fields<typeof ContainerSchema> {
  const { args, env, rlimits = [], user } = spec.process;
  return {
    args: [...args],
    env: [...env],
    mounts: describeMounts(spec.mounts),
    ...(spec.hooks && { hooks: describeHooks(spec.hooks) }),
    rlimits: rlimits.map(({ type, hard, soft }) => ({ type, hard, soft })),
    user: { uid: user.uid, gid: user.gid, additionalGids: [...(user.additionalGids ?? [])] },
  };
}

const profiles: Readonly<Record<number, SecurityProfile_ProfileType>> = {
  [CriProfile.RuntimeDefault]: SecurityProfile_ProfileType.RUNTIME_DEFAULT,
  [CriProfile.Unconfined]: SecurityProfile_ProfileType.UNCONFINED,
  [CriProfile.Localhost]: SecurityProfile_ProfileType.LOCALHOST,
};

/** The profile that the client asked for; its filter is the seccomp policy. */
function seccompProfile({ config }: Container): {
  readonly seccompProfile?: Fields<typeof SecurityProfileSchema>;
} {
  const profile = config.linux?.securityContext?.seccomp;
  if (profile === undefined) return {};
  const { profileType, localhostRef } = profile;
  const unconfined = SecurityProfile_ProfileType.UNCONFINED;
  return { seccompProfile: { profileType: profiles[profileType] ?? unconfined, localhostRef } };
}
