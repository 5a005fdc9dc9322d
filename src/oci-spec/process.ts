import { posix } from "node:path";
import type { ContainerUser, ExecProcess } from "../core/container/index.ts";
import type { ImageConfig } from "../core/image/index.ts";
import type { ContainerConfig } from "../gen/runtime/v1/api_pb.ts";
import { grantedCapabilities } from "./security/capabilities.ts";
import { capabilitiesInPod } from "./security/egress.ts";
import { containerEnv } from "./env.ts";
import type { SpecInput } from "./input.ts";
import { quoted, refuse } from "./refuse.ts";
import { requestedRlimits } from "./ulimits.ts";
import type { OciProcess, OciRlimit, OciUser } from "../core/oci/index.ts";
import type { TerminalSize } from "../core/streaming/index.ts";

/** The first process of a container. Errors: those of its parts. */
export function containerProcess(input: SpecInput): OciProcess {
  const { config, sandbox, image, host } = input;
  const context = config.linux?.securityContext;
  const resources = input.resources ?? config.linux?.resources;
  return {
    ...(config.tty ? { terminal: true } : {}),
    user: processUser(input.user),
    args: processArgs(config, image),
    env: containerEnv({
      terminal: config.tty,
      hostname: sandbox.config.hostname === "" ? host.hostname : sandbox.config.hostname,
      image: image.env,
      request: config.envs,
    }),
    cwd: workingDir(config, image),
    capabilities: grantedCapabilities(
      context ?? { privileged: false },
      capabilitiesInPod(host.capabilities, sandbox.config),
    ),
    ...(context?.noNewPrivs === true ? { noNewPrivileges: true } : {}),
    oomScoreAdj: clampedOomScoreAdj(resources?.oomScoreAdj ?? 0n, host.oomScoreAdjFloor),
    ...rlimitsOf(input),
    ...securityModules(input),
  };
}

/** Those of the node, without the ones that the request sets itself. */
function rlimitsOf({ config, host, rlimits = [] }: SpecInput): { rlimits?: readonly OciRlimit[] } {
  const requested = requestedRlimits(config.linux?.securityContext?.ulimits ?? [], host);
  const types = new Set(requested.map(({ type }) => type));
  const all = [...rlimits.filter(({ type }) => !types.has(type)), ...requested];
  return all.length === 0 ? {} : { rlimits: all };
}

function securityModules(input: SpecInput): Pick<OciProcess, "apparmorProfile" | "selinuxLabel"> {
  const { apparmorProfile, selinux } = input;
  const privileged = input.config.linux?.securityContext?.privileged === true;
  return {
    ...(apparmorProfile === undefined || privileged ? {} : { apparmorProfile }),
    ...(selinux?.process === undefined ? {} : { selinuxLabel: selinux.process }),
  };
}

/**
 * A process that joins a container: as the container's first one in all but arguments, terminal and
 * its own variables, user and directory. With a terminal it has a TERM, the container's own or `xterm`.
 * `invalid-argument` for an empty command.
 *
 * Another user gets the container's capabilities as they are, as with `docker exec --user`: the kernel takes the
 * effective and permitted ones from every user but root at execve (capabilities(7)), and the bounding set, no_new_privs,
 * the seccomp filter and the labels are those of the container for all. Ambient ones would stay effective; the
 * container was given them for its own user, so another one does not get them.
 */
export function processSpec(container: OciProcess, exec: ExecProcess): OciProcess {
  if (exec.args.length === 0) refuse("exec: the command is empty");
  checkArgs(exec.args);
  const { terminal: _terminal, ...rest } =
    exec.user === undefined ? container : asUser(container, exec.user);
  const env = withOwnEnv(container.env, exec.env ?? []);
  const hasTerm = env.some((line) => line.startsWith("TERM="));
  return {
    ...rest,
    ...(exec.terminal ? { terminal: true } : {}),
    ...(exec.cwd === undefined ? {} : { cwd: exec.cwd }),
    args: exec.args,
    env: exec.terminal && !hasTerm ? [...env, "TERM=xterm"] : env,
  };
}

/** The process as `user`, and without ambient capabilities if that is another one. */
function asUser(container: OciProcess, user: ContainerUser): OciProcess {
  const as = { ...container, user: { ...container.user, ...processUser(user) } };
  if (as.user.uid === container.user.uid) return as;
  const { inheritable: _inheritable, ambient: _ambient, ...capabilities } = container.capabilities;
  return { ...as, capabilities };
}

function withOwnEnv(env: readonly string[], own: readonly string[]): readonly string[] {
  if (own.length === 0) return env;
  const keyOf = (line: string): string => line.slice(0, line.indexOf("=") + 1);
  const keys = new Set(own.map(keyOf));
  return [...env.filter((line) => !keys.has(keyOf(line))), ...own];
}

/**
 * Command and arguments (api.proto, ContainerConfig; the same table as Kubernetes documents for
 * pods): a command of the request replaces the image's entrypoint **and** its cmd, arguments
 * alone replace the cmd. `invalid-argument` when nothing is left to run.
 */
export function processArgs(
  config: Pick<ContainerConfig, "command" | "args">,
  image: Pick<ImageConfig, "entrypoint" | "cmd">,
): readonly string[] {
  // Builders write [""] to take a base image's entrypoint away.
  const entrypoint =
    image.entrypoint.length === 1 && image.entrypoint[0] === "" ? [] : image.entrypoint;
  const args =
    config.command.length > 0
      ? [...config.command, ...config.args]
      : [...entrypoint, ...(config.args.length > 0 ? config.args : image.cmd)];
  if (args.length === 0) {
    refuse("no command: neither the request nor the image's entrypoint and cmd name one");
  }
  checkArgs(args);
  return args;
}

function checkArgs(args: readonly string[]): void {
  // execve(2) takes strings that end at NUL: what follows would be lost.
  const bad = args.find((arg) => arg.includes("\0"));
  if (bad !== undefined) refuse(`a command's argument holds a NUL: ${quoted(bad)}`);
}

/** The request's working directory, else the image's (taken from the root), else `/`. */
function workingDir(config: ContainerConfig, image: ImageConfig): string {
  if (config.workingDir !== "") return config.workingDir;
  return image.workingDir === "" ? "/" : posix.join("/", image.workingDir);
}

/**
 * The numbers of a user. The primary group is also a supplementary group: a process that gives up its
 * group must not get at files that are closed to that group (containerd, CVE-2023-25173).
 */
export function processUser(user: ContainerUser): OciUser {
  const gid = id("gid", user.gid);
  const groups = new Set([gid, ...user.supplementalGroups.map((group) => id("group", group))]);
  return {
    uid: id("uid", user.uid),
    gid,
    additionalGids: [...groups].toSorted((a, b) => a - b),
  };
}

/** The highest valid id. -1 means "unchanged" to chown(2) and setresuid(2). */
export const maxId = 0xffff_fffen;

function id(what: string, value: bigint): number {
  if (value < 0n || value > maxId) refuse(`${what} must be 0 to ${maxId}, got ${value}`);
  return Number(value);
}

/** `wanted`, but not below what the daemon may set (proc_pid_oom_score_adj(5)). */
export function clampedOomScoreAdj(wanted: bigint, floor: number | undefined): number {
  return Math.max(Number(wanted), floor ?? -1000);
}

/** The process with the size of its terminal, where that is known (runtime-spec, config.md, process). */
export function withConsoleSize(process: OciProcess, size: TerminalSize | undefined): OciProcess {
  if (size === undefined) return process;
  return { ...process, consoleSize: { height: size.height, width: size.width } };
}
