import type { LinuxResources } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { OciProcess, OciSpec } from "../oci/index.ts";
import type { Sandbox, SandboxEnvironment } from "../sandbox/index.ts";
import type { Container, ContainerUser } from "./container.ts";
import type { ContainerLimits } from "./runtime.ts";

/** Reads files of a mounted root; symbolic links in it never lead out of it. */
export interface RootFiles {
  /**
   * The user that a container runs as: from numbers, or by name from the root's own passwd and
   * group files. `invalid-argument` for a name that they do not have.
   */
  resolveUser(
    rootfs: string,
    wanted: {
      /** `user`, `uid`, `user:group` or `uid:gid` as images write it; empty for root. */
      readonly user: string;
      /** Groups on top of those that the user has. */
      readonly supplementalGroups: readonly bigint[];
      /** False to leave out the groups that the user has in the image's group file. */
      readonly mergeImageGroups: boolean;
    },
  ): Promise<ContainerUser>;
}

/** What a container's spec is made of, from its record and from memory. */
export interface SpecSubject {
  readonly container: Container;
  readonly sandbox: Sandbox;
  readonly environment: SandboxEnvironment;
  /** Directory of the mounted root. */
  readonly rootfs: string;
  /** Directories that show the config's image mounts, in its order. */
  readonly imageVolumes: readonly string[];
  /** Directories of `container.volumes`, in its order. */
  readonly volumes: readonly string[];
  /** Reads the spec that the container was started with, for a command in it; undefined when there is none. */
  readonly startedSpec?: () => Promise<OciSpec | undefined>;
  /** First process of the container that `target_id` names, where one is named. */
  readonly targetPid: number | undefined;
}

/** The result of an update of a container's resources. */
export interface ResourceUpdate {
  /** The resources in force afterwards. */
  readonly inForce: LinuxContainerResources;
  /** What to write to a running container; undefined when the update changes nothing. */
  readonly limits: ContainerLimits | undefined;
}

/** Makes OCI runtime specs from records and from the current state of the host. */
export interface ContainerSpecs {
  /**
   * Refuses a request that cannot be carried out, before anything is created.
   * `invalid-argument` names field and value. `find` gives the config of the container that an id names.
   */
  check(
    config: Container["config"] | undefined,
    sandbox: Sandbox,
    find: (id: string) => Container["config"],
  ): CheckedConfig;
  /**
   * What in a container needs the ids of the node, as the end of a sentence about it; undefined if nothing does.
   * For pods that got ids of their own without asking. Mounts nothing.
   */
  nodeIds(subject: SpecSubject): Promise<string | undefined>;
  /** SELinux label of the files that a container uses; undefined where they keep their labels. */
  mountLabel(config: Container["config"], sandbox: Sandbox): string | undefined;
  /**
   * The runtime spec. Missing host directories that a mount or the log needs are created, as by
   * containerd and CRI-O. `invalid-argument` for a spec with a NUL in it.
   */
  build(subject: SpecSubject): Promise<OciSpec>;
  /**
   * An update of resources, merged with those in force. `invalid-argument` for invalid
   * limits, `failed-precondition` for those that this host does not support. Changes nothing. `ofPlugins` may have
   * limits for which the update has no fields.
   */
  update(
    before: Container["resources"],
    update: LinuxContainerResources,
    ofPlugins?: LinuxResources,
  ): ResourceUpdate;
  /** The process of an exec in the container (runtime-spec, config.md, process). */
  process(subject: SpecSubject, exec: ExecProcess): Promise<OciProcess>;
}

/** A command to run in a running container: in what it differs from the container's own process. */
export interface ExecProcess {
  readonly args: readonly string[];
  readonly terminal: boolean;
  /** `KEY=value` lines of the command alone, each key once; they replace those of the container. */
  readonly env?: readonly string[] | undefined;
  /** Whom the command runs as, instead of the container's user. */
  readonly user?: ContainerUser | undefined;
  /** Its working directory, instead of the container's. */
  readonly cwd?: string | undefined;
}

/** A config that has its required parts. */
export type CheckedConfig = Container["config"] & {
  readonly metadata: NonNullable<Container["config"]["metadata"]>;
  readonly image: NonNullable<Container["config"]["image"]>;
};
