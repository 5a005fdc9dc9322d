import type { PodLabels, Sandbox } from "../../core/sandbox/index.ts";
import { namespaceModes } from "../../core/sandbox/index.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { ContainerConfig, SELinuxOption } from "../../gen/runtime/v1/api_pb.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { relabelledSources } from "../adjust/mounts.ts";
import type { ContainerLabels, SpecInput } from "../input.ts";
import { quoted, refuse } from "../refuse.ts";

/** The labels that the policy has for containers: `user:role:type`, and a level where it has levels. */
export interface SelinuxDefaults {
  readonly process: string;
  readonly file: string;
}

interface Label {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  /** Empty in a policy without levels. */
  readonly level: string;
}

/** The type of processes that SELinux keeps from nothing (container-selinux). */
const unconfinedType = "spc_t";
const categories = 1024;

function parseLabel(text: string): Label | undefined {
  const [user = "", role = "", type = "", ...level] = text.split(":");
  if (user === "" || role === "" || type === "") return undefined;
  return { user, role, type, level: level.join(":") };
}

function formatLabel({ user, role, type, level }: Label): string {
  return [user, role, type, ...(level === "" ? [] : [level])].join(":");
}

/** Lines `key = value` or `key=value`, quotes around the value or not; comments begin with # or ;. */
function assignments(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [, key = "", value = ""] = /^\s*([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
      return key === "" ? [] : [[key, value.replace(/^"(.*)"$/, "$1")] as const];
    }),
  );
}

/** The name of the policy in the text of /etc/selinux/config (selinux_config(5)); undefined: none. */
export function selinuxPolicy(config: string): string | undefined {
  const name = assignments(config).get("SELINUXTYPE");
  return name === "" ? undefined : name;
}

/** The labels in a file of lxc_contexts(5). `failed-precondition` when it lacks one. */
export function parseSelinuxContexts(text: string, path: string): SelinuxDefaults {
  const found = assignments(text);
  const [process, file] = ["process", "file"].map((key) => {
    const label = found.get(key) ?? "";
    if (parseLabel(label) !== undefined) return label;
    throw new RuntimeError(
      "failed-precondition",
      `read SELinux contexts "${path}": its "${key}" is not a label, got ${quoted(label)}; install container-selinux`,
    );
  }) as [string, string];
  return { process, file };
}

// One level or a low and a high one: s0, s0:c1,c2, s0-s3:c0.c1023.
const level = String.raw`s\d+(:c\d{1,4}([.,]c\d{1,4})*)?`;
const range = new RegExp(`^${level}(-${level})?$`);

/** The parts that a request names. `invalid-argument` for one that no label can hold. */
function wantedParts(options: SELinuxOption | undefined): Partial<Label> {
  if (options === undefined) return {};
  const { user, role, type } = options;
  for (const [field, value] of Object.entries({ user, role, type })) {
    if (!/^[\w.-]*$/.test(value))
      refuse(`selinux_options.${field} is not a name: ${quoted(value)}`);
  }
  if (options.level !== "" && !range.test(options.level)) {
    refuse(
      `selinux_options.level must be as s0 or s0:c1,c2, got ${quoted(options.level)}; a level is a sensitivity and categories`,
    );
  }
  const named = { user, role, type, level: options.level };
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== ""));
}

/**
 * The labels of a pod: the policy's with the parts that the request names, and, where the policy has
 * levels and the request names none, with two categories that no pod in `taken` has.
 * `resource-exhausted` when none are left. `random(n)` returns one of 0 to n - 1.
 */
export function podLabels(
  options: SELinuxOption | undefined,
  defaults: SelinuxDefaults,
  taken: readonly PodLabels[],
  random: (below: number) => number,
): PodLabels {
  const [process, file] = [defaults.process, defaults.file].map(known) as [Label, Label];
  const wanted = wantedParts(options);
  const own =
    wanted.level === undefined && process.level !== ""
      ? { ...wanted, level: freeLevel(taken, random) }
      : wanted;
  return labelled({ ...process, ...own }, file, own);
}

/** A file is of no role and of the policy's type, for any process (container-selinux). */
function labelled(process: Label, file: Label, own: Partial<Label>): PodLabels {
  const { user = file.user } = own;
  const mount = { ...file, user, level: process.level };
  return { process: formatLabel(process), mount: formatLabel(mount) };
}

function known(text: string): Label {
  const label = parseLabel(text);
  if (label === undefined) throw new RangeError(`read SELinux label: "${text}" is not a label`);
  return label;
}

function freeLevel(taken: readonly PodLabels[], random: (below: number) => number): string {
  const levels = new Set(taken.map(({ process }) => parseLabel(process)?.level));
  // There are half a million pairs: with 10,000 pods one draw of fifty hits a used one.
  for (let draw = 0; draw < 1000; draw++) {
    const [one, other] = [random(categories), random(categories)];
    const pair = `s0:c${Math.min(one, other)},c${Math.max(one, other)}`;
    if (one !== other && !levels.has(pair)) return pair;
  }
  throw new RuntimeError(
    "resource-exhausted",
    `label pod: found no SELinux level that none of ${levels.size} pods has; remove pods`,
  );
}

/**
 * The labels of a container: its pod's with the parts that the request names, so that containers of
 * a pod share its level unless they ask for another. A privileged one has no process label, and one
 * with the node's processes or IPC has none at all, since it is to reach what is not the pod's.
 */
export function containerLabels(
  config: Pick<ContainerConfig, "linux">,
  sandbox: Pick<Sandbox, "config" | "selinux">,
): ContainerLabels | undefined {
  const { selinux: pod } = sandbox;
  const context = config.linux?.securityContext;
  if (pod === undefined || seesNode(context?.namespaceOptions?.pid, sandbox)) return undefined;
  const own = wantedParts(context?.selinuxOptions);
  const labels = labelled({ ...known(pod.process), ...own }, known(pod.mount), own);
  return context?.privileged === true ? { mount: labels.mount } : labels;
}

function seesNode(pid: NamespaceMode | undefined, sandbox: Pick<Sandbox, "config">): boolean {
  return pid === NamespaceMode.NODE || namespaceModes(sandbox.config).ipc === NamespaceMode.NODE;
}

/** Directories of the node: with a container's label the node itself could not use them any more. */
const neverRelabelled = new Set(
  `/ /bin /boot /dev /etc /etc/passwd /etc/pki /etc/shadow /home /lib /lib64 /media /mnt /opt /proc
  /root /run /sbin /srv /sys /tmp /usr /usr/bin /usr/lib /usr/lib64 /usr/sbin /var /var/lib /var/log
  /var/tmp`.split(/\s+/),
);

/**
 * What must get the mount label of a new container: the mounts that request it, the volumes
 * that its image declares, and the pod's own files. A process of type spc_t needs no label on its
 * mounts. `invalid-argument` for a directory that is the node's own.
 */
export function relabelPaths(
  input: Pick<
    SpecInput,
    "config" | "mountSources" | "volumes" | "sandboxFiles" | "selinux" | "adjust"
  >,
): readonly string[] {
  const { config, mountSources, volumes, sandboxFiles, selinux, adjust } = input;
  if (selinux === undefined) return [];
  const isConfined =
    selinux.process === undefined || parseLabel(selinux.process)?.type !== unconfinedType;
  // An image volume is mounted with the label.
  const requested = config.mounts.flatMap(({ selinuxRelabel, image }, index) =>
    selinuxRelabel && image === undefined ? [mountSources[index] ?? ""] : [],
  );
  const ofPlugins = adjust === undefined ? [] : relabelledSources(adjust.adjustment.mounts);
  const asked = isConfined ? [...requested, ...ofPlugins] : [];
  for (const path of asked) {
    if (neverRelabelled.has(path)) {
      refuse(
        `mount of ${quoted(path)} has selinux_relabel, and a container's label would keep the node from it; mount a directory below it`,
      );
    }
  }
  const { resolvConf, hosts, hostname } = sandboxFiles;
  const files = [resolvConf, hosts, hostname].filter((path) => path !== undefined);
  return [...asked, ...volumes.map(({ source }) => source), ...files];
}
