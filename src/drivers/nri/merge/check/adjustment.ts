import { posix } from "node:path";
import {
  type ContainerAdjustment,
  type Hook,
  type Hooks,
  HooksSchema,
  type Mount,
} from "../../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { quote } from "../../../../base/quote.ts";
import { hookStages } from "../../../../core/oci/index.ts";
import {
  checkCount,
  checkPath,
  checkText,
  longestArgument,
  type Refuse,
  splitRemoval,
} from "../answer.ts";
import { checkLinux } from "./linux.ts";

// As Kubernetes has it for all annotations of an object together. Bytes.
const longestAnnotation = 256 * 1024;
const longestName = 512;

/**
 * Refuses an answer that makes no sense or that no container can have, naming its field. Destinations of mounts are
 * changed to their shortest form, so that all names of a path are one.
 */
export function checkAdjustment(adjust: ContainerAdjustment, refuse: Refuse): void {
  checkAnnotations(adjust, refuse);
  checkCount("mounts", adjust.mounts.length, refuse);
  for (const mount of adjust.mounts) checkMount(mount, refuse);
  checkEnv(adjust, refuse);
  checkArgs(adjust, refuse);
  if (adjust.hooks !== undefined) checkHooks(adjust.hooks, refuse);
  checkRlimits(adjust, refuse);
  checkCount("CDI_devices", adjust.CDIDevices.length, refuse);
  for (const { name } of adjust.CDIDevices) {
    checkText("CDI_devices", name, longestName, refuse);
    if (!/^[^/=]+\/[^/=]+=[^/=]+$/.test(name)) {
      refuse("CDI_devices", `a CDI device is vendor/class=name, got ${quote(name)}`);
    }
  }
  if (adjust.linux !== undefined) checkLinux(adjust.linux, refuse);
}

function checkAnnotations({ annotations }: ContainerAdjustment, refuse: Refuse): void {
  checkCount("annotations", Object.keys(annotations).length, refuse);
  for (const [name, value] of Object.entries(annotations)) {
    const { key } = splitRemoval(name);
    if (key === "") refuse("annotations", "a key is empty");
    checkText("annotations", key, longestName, refuse);
    checkText(`annotations[${quote(key)}]`, value, longestAnnotation, refuse);
    // OCI runtimes and containerd's shims tell pods and containers apart by them.
    if (key.startsWith("io.kubernetes.cri.")) {
      refuse("annotations", `${quote(key)} belongs to the runtime, plugins cannot change it`);
    }
  }
}

function checkMount(mount: Mount, refuse: Refuse): void {
  const { key, removed } = splitRemoval(mount.destination);
  if (key === "") refuse("mounts", `destination is empty (source ${quote(mount.source)})`);
  checkPath("mounts.destination", key, refuse);
  const destination = posix.normalize(key).replace(/(?<=.)\/$/, "");
  if (destination === "/") refuse("mounts.destination", "cannot be the root itself");
  mount.destination = removed ? `-${destination}` : destination;
  if (removed) return;
  const field = `mounts[${quote(destination)}]`;
  checkText(`${field}.type`, mount.type, longestName, refuse);
  checkCount(`${field}.options`, mount.options.length, refuse);
  for (const option of mount.options) checkText(`${field}.options`, option, 4096, refuse);
  const isBind = ["", "bind"].includes(mount.type) || mount.options.some(isBindOption);
  if (isBind) checkPath(`${field}.source`, mount.source, refuse);
  else checkText(`${field}.source`, mount.source, 4096, refuse);
}

function isBindOption(option: string): boolean {
  return option === "bind" || option === "rbind";
}

function checkEnv({ env }: ContainerAdjustment, refuse: Refuse): void {
  checkCount("env", env.length, refuse);
  for (const { key: name, value } of env) {
    const { key } = splitRemoval(name);
    if (key === "") refuse("env", "a key is empty");
    if (/[=\0]/.test(key)) refuse("env", `a key cannot have "=" or NUL, got ${quote(key)}`);
    checkText(`env[${quote(key)}]`, `${key}${value}`, longestArgument - 2, refuse);
  }
}

function checkArgs({ args }: ContainerAdjustment, refuse: Refuse): void {
  checkCount("args", args.length, refuse);
  for (const argument of args) checkText("args", argument, longestArgument - 1, refuse);
  const [first, second] = args;
  if (first === "" && (second ?? "") === "") refuse("args", "there is no command to run");
}

function checkHooks(hooks: Hooks, refuse: Refuse): void {
  for (const stage of hookStages) {
    const { name } = HooksSchema.field[stage];
    checkCount(`hooks.${name}`, hooks[stage].length, refuse);
    for (const hook of hooks[stage]) checkHook(`hooks.${name}`, hook, refuse);
  }
}

// An hour: longer than any hook is waited for. Seconds.
const longestTimeout = 3600n;

function checkHook(field: string, { path, args, env, timeout }: Hook, refuse: Refuse): void {
  checkPath(`${field}.path`, path, refuse);
  checkCount(`${field}.args`, args.length, refuse);
  for (const argument of args) checkText(`${field}.args`, argument, longestArgument - 1, refuse);
  checkCount(`${field}.env`, env.length, refuse);
  for (const line of env) {
    checkText(`${field}.env`, line, longestArgument - 1, refuse);
    if (!/^[^=]+=/.test(line)) refuse(`${field}.env`, `must be KEY=value, got ${quote(line)}`);
  }
  if (timeout === undefined) return;
  const { value } = timeout;
  if (value <= 0n || value > longestTimeout) {
    refuse(`${field}.timeout`, `must be 1 to ${longestTimeout} (seconds), got ${value}`);
  }
}

// getrlimit(2).
const rlimitTypes: ReadonlySet<string> = new Set(
  [
    ...["AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE"],
    ...["NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"],
  ].map((name) => `RLIMIT_${name}`),
);

function checkRlimits({ rlimits }: ContainerAdjustment, refuse: Refuse): void {
  checkCount("rlimits", rlimits.length, refuse);
  for (const { type, soft, hard } of rlimits) {
    if (!rlimitTypes.has(type)) {
      refuse(
        "rlimits",
        `type must be a name such as RLIMIT_NOFILE (getrlimit(2)), got ${quote(type)}`,
      );
    }
    if (soft > hard)
      refuse("rlimits", `soft limit ${soft} of ${type} is above its hard limit ${hard}`);
  }
}
