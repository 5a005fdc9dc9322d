import type { ContainerAdjustment, KeyValue, LinuxContainerAdjustment } from "../changes.ts";
import type {
  CDIDevice,
  Hook,
  Hooks,
  LinuxDevice,
  LinuxNamespace,
  LinuxNetDevice,
  LinuxRdt,
  Mount,
  POSIXRlimit,
} from "../messages.ts";
import { absolute, invalid, key, matching, max, oneOf, text, texts, whole } from "./check.ts";
import {
  type DeviceInput,
  type HooksInput,
  type IOPriorityInput,
  type MemoryPolicyInput,
  type MountInput,
  type NamespaceType,
  type RdtInput,
  type RlimitInput,
  type RlimitType,
  type SchedulerInput,
  type SeccompInput,
} from "./inputs.ts";
import { hookPoints, namespaceTypes, rlimitTypes } from "./names.ts";
import { ioPriorityOf, memoryPolicyOf, schedulerOf } from "./process.ts";
import { ResourcesBuilder } from "./resources.ts";
import { seccompOf } from "./seccomp.ts";

/** The values of LinuxContainerAdjustment that are set as a whole. */
type Single = Omit<
  LinuxContainerAdjustment,
  "devices" | "resources" | "namespaces" | "sysctl" | "netDevices"
>;

/**
 * Builds the changes of a container that is being created. Start with `adjust()`.
 *
 * Each method checks its value and throws a TypeError for an invalid one, so that the plugin's author sees the mistake
 * and not the user of the pod. Two plugins that set the same field, or the same entry of a list, are a conflict, and
 * the container is not created. A plugin that removes an entry before it sets it takes it over from the other one.
 */
export class Adjustment extends ResourcesBuilder {
  readonly #annotations: Record<string, string> = {};
  readonly #mounts: Mount[] = [];
  readonly #env: KeyValue[] = [];
  readonly #hooks: Record<keyof Hooks, Hook[]> = {
    prestart: [],
    createRuntime: [],
    createContainer: [],
    startContainer: [],
    poststart: [],
    poststop: [],
  };
  readonly #rlimits: POSIXRlimit[] = [];
  readonly #cdiDevices: CDIDevice[] = [];
  #args: string[] = [];
  readonly #devices: LinuxDevice[] = [];
  readonly #namespaces: LinuxNamespace[] = [];
  readonly #sysctl: Record<string, string> = {};
  readonly #netDevices: Record<string, LinuxNetDevice> = {};
  #single: Single = { cgroupsPath: "" };

  /** Sets an annotation of the OCI spec. */
  annotation(name: string, value: string): this {
    this.#annotations[key("annotation", name)] = text("annotation", value, true);
    return this;
  }

  /** Removes an annotation. */
  removeAnnotation(name: string): this {
    this.#annotations[`-${key("removeAnnotation", name)}`] = "";
    return this;
  }

  /** Adds a mount. The source of a bind mount must exist on the node. */
  mount(mount: MountInput): this {
    this.#mounts.push({
      destination: absolute("mount: destination", mount.destination),
      type: text("mount: type", mount.type ?? "bind"),
      source: text("mount: source", mount.source, true),
      options: texts("mount: options", mount.options ?? []),
    });
    return this;
  }

  /** Removes the mount at a path in the container. */
  removeMount(destination: string): this {
    const path = absolute("removeMount", destination);
    this.#mounts.push({ destination: `-${path}`, type: "", source: "", options: [] });
    return this;
  }

  /** Sets an environment variable. */
  env(name: string, value: string): this {
    this.#env.push({ key: variable("env", name), value: text("env", value, true) });
    return this;
  }

  /** Removes an environment variable. */
  removeEnv(name: string): this {
    this.#env.push({ key: `-${variable("removeEnv", name)}`, value: "" });
    return this;
  }

  /**
   * Replaces the command and its arguments. With `override`, also those that another plugin has set; without it, that
   * is a conflict.
   */
  args(args: readonly string[], options: { readonly override?: boolean } = {}): this {
    const list = texts("args", args);
    text("args: the command", list[0] ?? "");
    this.#args = options.override === true ? ["", ...list] : list;
    return this;
  }

  /** Adds OCI hooks to those that the container has. */
  hooks(hooks: HooksInput): this {
    for (const point of Object.keys(hooks)) oneOf("hooks", point as keyof Hooks, hookPoints);
    for (const point of hookPoints) {
      for (const hook of hooks[point] ?? []) {
        this.#hooks[point].push({
          path: absolute(`hooks: ${point}: path`, hook.path),
          args: texts(`hooks: ${point}: args`, hook.args ?? []),
          env: texts(`hooks: ${point}: env`, hook.env ?? []),
          ...(hook.timeoutSeconds === undefined
            ? {}
            : { timeout: whole(`hooks: ${point}: timeout`, hook.timeoutSeconds, 1, max.int32) }),
        });
      }
    }
    return this;
  }

  /** Sets a limit of setrlimit(2), such as "RLIMIT_NOFILE". */
  rlimit(type: RlimitType, limit: RlimitInput): this {
    const value = (what: "soft" | "hard"): bigint =>
      limit[what] === "unlimited"
        ? max.uint64
        : whole(`rlimit ${type}: ${what}`, limit[what], 0, max.uint64);
    const [soft, hard] = [value("soft"), value("hard")];
    oneOf("rlimit", type, rlimitTypes);
    if (soft > hard) throw invalid(`rlimit ${type}: soft`, `at most the hard limit ${hard}`, soft);
    this.#rlimits.push({ type, hard, soft });
    return this;
  }

  /** Adds a device node and permission to use it. */
  device(device: DeviceInput): this {
    const what = `device ${device.path}`;
    const { fileMode, uid, gid } = device;
    this.#devices.push({
      path: absolute("device: path", device.path),
      type: oneOf(`${what}: type`, device.type, ["b", "c", "p", "u"]),
      major: whole(`${what}: major`, device.major ?? 0, 0, max.uint32),
      minor: whole(`${what}: minor`, device.minor ?? 0, 0, max.uint32),
      ...optional("fileMode", fileMode, `${what}: fileMode`, 0o7777),
      ...optional("uid", uid, `${what}: uid`, max.uint32),
      ...optional("gid", gid, `${what}: gid`, max.uint32),
    });
    return this;
  }

  /** Removes a device node. */
  removeDevice(path: string): this {
    const marked = `-${absolute("removeDevice", path)}`;
    this.#devices.push({ path: marked, type: "", major: 0n, minor: 0n });
    return this;
  }

  /** Adds a device by its CDI name, `vendor/class=device`. Since NRI 0.7. */
  cdi(name: string): this {
    const expected = 'a name such as "vendor.com/class=device"';
    const pattern = /^[A-Za-z][\w.-]*\/[A-Za-z][\w.-]*=[A-Za-z0-9][\w.:-]*$/;
    this.#cdiDevices.push({ name: matching("cdi", name, pattern, expected) });
    return this;
  }

  /** Joins the namespace at a path, or a new one without a path. */
  namespace(type: NamespaceType, path?: string): this {
    this.#namespaces.push({
      type: oneOf("namespace", type, namespaceTypes),
      path: path === undefined ? "" : absolute("namespace: path", path),
    });
    return this;
  }

  /** Removes a namespace, so that the container shares that of the runtime. */
  removeNamespace(type: NamespaceType): this {
    const marked = `-${oneOf("removeNamespace", type, namespaceTypes)}`;
    this.#namespaces.push({ type: marked, path: "" });
    return this;
  }

  /** Sets a sysctl of a namespace of the container, such as "net.core.somaxconn". */
  sysctl(name: string, value: string): this {
    this.#sysctl[sysctlName("sysctl", name)] = text("sysctl", value, true);
    return this;
  }

  /** Removes a sysctl. */
  removeSysctl(name: string): this {
    this.#sysctl[`-${sysctlName("removeSysctl", name)}`] = "";
    return this;
  }

  /** Moves a network device of the node into the container, under the same name or another one. */
  netDevice(hostName: string, name: string = hostName): this {
    const from = interfaceName("netDevice", hostName);
    this.#netDevices[from] = { name: interfaceName("netDevice: name", name) };
    return this;
  }

  /** Removes a network device. */
  removeNetDevice(hostName: string): this {
    this.#netDevices[`-${interfaceName("removeNetDevice", hostName)}`] = { name: "" };
    return this;
  }

  /** The cgroup of the container, in the form of the runtime's cgroup driver. */
  cgroupsPath(path: string): this {
    return this.#set({ cgroupsPath: text("cgroupsPath", path) });
  }

  /** How likely the kernel ends the container when memory is short, from -1000 (never) to 1000. */
  oomScoreAdj(score: number): this {
    return this.#set({ oomScoreAdj: whole("oomScoreAdj", score, -1000, 1000) });
  }

  /** The I/O priority, as ioprio_set(2) takes it. */
  ioPriority(priority: IOPriorityInput): this {
    return this.#set({ ioPriority: ioPriorityOf(priority) });
  }

  /** Replaces the seccomp policy by this one, as in the OCI runtime spec. */
  seccomp(policy: SeccompInput): this {
    return this.#set({ seccompPolicy: seccompOf(policy) });
  }

  /** The scheduling policy and its attributes, as sched_setattr(2) takes them. */
  scheduler(scheduler: SchedulerInput): this {
    return this.#set({ scheduler: schedulerOf(scheduler) });
  }

  /** The memory policy, as set_mempolicy(2) takes it. */
  memoryPolicy(policy: MemoryPolicyInput): this {
    return this.#set({ memoryPolicy: memoryPolicyOf(policy) });
  }

  /** The class of service, the schemata and the monitoring group of Intel RDT. What is absent stays as it is. */
  rdt(rdt: RdtInput): this {
    const { closId, schemata, enableMonitoring } = rdt;
    const before: LinuxRdt = this.#single.rdt ?? { remove: false };
    const changes = {
      ...(closId === undefined ? {} : { closId: text("rdt: closId", closId, true) }),
      ...(schemata === undefined ? {} : { schemata: texts("rdt: schemata", schemata) }),
      ...(enableMonitoring === undefined ? {} : { enableMonitoring }),
    };
    return this.#set({ rdt: { ...before, ...changes } });
  }

  /** Removes all settings of RDT; those of a later `rdt()` are set. */
  removeRdt(): this {
    return this.#set({ rdt: { remove: true } });
  }

  /** The adjustment as a plain value, for a test, or to be sent. */
  build(): ContainerAdjustment {
    const hasHooks = hookPoints.some((point) => this.#hooks[point].length > 0);
    const linux = this.#linux();
    return structuredClone({
      annotations: this.#annotations,
      mounts: this.#mounts,
      env: this.#env,
      ...(hasHooks ? { hooks: this.#hooks } : {}),
      ...(linux === undefined ? {} : { linux }),
      rlimits: this.#rlimits,
      cdiDevices: this.#cdiDevices,
      args: this.#args,
    });
  }

  #set(values: Partial<Single>): this {
    this.#single = { ...this.#single, ...values };
    return this;
  }

  #linux(): LinuxContainerAdjustment | undefined {
    const resources = this.resources();
    const collected = {
      devices: this.#devices,
      namespaces: this.#namespaces,
      sysctl: this.#sysctl,
      netDevices: this.#netDevices,
    };
    const isEmpty =
      resources === undefined &&
      Object.values(collected).every((values) => Object.keys(values).length === 0) &&
      Object.keys(this.#single).length === 1 &&
      this.#single.cgroupsPath === "";
    if (isEmpty) return undefined;
    return { ...collected, ...this.#single, ...(resources === undefined ? {} : { resources }) };
  }
}

/** Starts an adjustment that changes nothing yet. */
export function adjust(): Adjustment {
  return new Adjustment();
}

function variable(what: string, name: string): string {
  return matching(what, key(what, name), /^[^=]+$/, 'a name without "="');
}

function sysctlName(what: string, name: string): string {
  const expected = 'a name such as "net.core.somaxconn"';
  return matching(what, key(what, name), /^[\w-]+([./][\w-]+)+$/, expected);
}

function interfaceName(what: string, name: string): string {
  const expected = "the name of an interface: at most 15 characters without space and /";
  return matching(what, key(what, name), /^[^\s/:]{1,15}$/, expected);
}

/** An object with a number that is given, and without it otherwise. */
function optional<K extends string>(
  field: K,
  value: number | undefined,
  what: string,
  high: number,
): { [P in K]?: number } {
  const values: { [P in K]?: number } = {};
  if (value !== undefined) values[field] = Number(whole(what, value, 0, high));
  return values;
}
