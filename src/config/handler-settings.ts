import type { HandlerConfig } from "./config.ts";
import { shim } from "./shim-settings.ts";
import {
  choice,
  flag,
  integer,
  optionalPath,
  optionalProgram,
  type Section,
  strings,
  texts,
} from "./setting.ts";

/** A handler in the file: `enabled` decides whether the Config contains it. */
export interface HandlerTable extends HandlerConfig {
  readonly enabled: boolean;
}

/** The keys of each [runtime.handlers.NAME]. */
export const handlerSection: Section<HandlerTable> = {
  enabled: flag({
    default: true,
    doc: "false removes the handler. crun and runc exist unless they are disabled with it.",
  }),
  controller: choice({
    of: ["podsandbox", "shim"],
    default: "podsandbox",
    doc: 'How sandboxes are created: "podsandbox" (namespaces of this host), or "shim" (the sandbox API of the shim: Kata and others).',
  }),
  path: optionalProgram({
    default: "",
    doc: "The OCI runtime: a path, or a name on PATH. Mutually exclusive with runtime_type.",
  }),
  ...shim,
  podAnnotations: texts({
    default: [],
    doc: 'The pod annotations that are passed to the runtime: names, or patterns such as "io.katacontainers.*".',
  }),
  containerAnnotations: texts({
    default: [],
    doc: "The container annotations that are passed to the runtime: names or patterns.",
  }),
  privilegedWithoutHostDevices: flag({
    default: false,
    doc: "true does not give the devices of the host to privileged containers.",
  }),
  privilegedWithoutHostDevicesAllDevicesAllowed: flag({
    default: false,
    doc: "true lets such containers use all devices that they create with mknod. Requires privileged_without_host_devices.",
  }),
  cgroupWritable: flag({
    default: false,
    doc: "true mounts /sys/fs/cgroup writable in all containers. Requires cgroup v2 that is mounted with nsdelegate.",
  }),
  baseRuntimeSpec: optionalPath({
    default: "",
    doc: "A config.json that is the base of each container's OCI spec. See docs/handlers.md.",
  }),
  hooksDir: optionalPath({
    default: "",
    doc: "A directory with OCI hooks (*.json, oci-hooks(5)), read at each container start. See docs/handlers.md.",
  }),
  writableLayerLimit: integer({
    default: -1,
    min: -1,
    max: Number.MAX_SAFE_INTEGER,
    limits: "of bytes, 0 for no limit, or -1 for runtime.writable_layer_limit",
    doc: "Maximum size of the writable layer of this handler's containers, in bytes. -1: runtime.writable_layer_limit.",
  }),
  userNamespaces: choice({
    of: ["", "requested", "auto"],
    default: "",
    doc: 'As runtime.user_namespaces, for the pods of this handler; "" for its value.',
  }),
  cniConfDir: optionalPath({
    default: "",
    doc: "The CNI directory for pods of this handler, instead of cni.conf_dir.",
  }),
  defaultAnnotations: strings({
    default: {},
    doc: 'Annotations that the runtime gets with each container, for example { "run.oci.handler" = "krun" }. Those of the pod and the container override them where pod_annotations and container_annotations allow it.',
  }),
  seccompProfile: optionalPath({
    default: "",
    doc: "A JSON file with the seccomp profile of containers with RuntimeDefault, instead of davit's own. Read at each container start. See docs/handlers.md.",
  }),
  createTimeoutSeconds: integer({
    default: 0,
    min: 0,
    max: 3600,
    doc: "As runtime.create_timeout_seconds, for pods and containers of this handler; 0 for its value. Virtual machines may need more. kubelet waits for runtimeRequestTimeout, 2 minutes by default, and then repeats its request.",
  }),
  execCpuAffinity: choice({
    of: ["", "first"],
    default: "",
    doc: '"first" starts commands that are run in a container on the first CPU of its cpuset, so that they do not interrupt programs on the others. Needs crun 1.19 or runc 1.3. "" leaves the CPU to the runtime.',
  }),
};
