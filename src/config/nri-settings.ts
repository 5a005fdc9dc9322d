// The settings of [nri]: plugins of the node. Names as in the configuration of containerd and CRI-O.
import type { NriConfig, NriValidatorConfig } from "./config.ts";
import { absolutePath, flag, integer, type Section, socketPath, text, texts } from "./setting.ts";

/** `[nri]`. */
export const nri: Section<Omit<NriConfig, "defaultValidator">> = {
  enable: flag({
    default: true,
    doc: "false: no plugin is started, none can connect, and the code for plugins is not loaded. Plugins can do what root can; see docs/nri.md.",
  }),
  socketPath: socketPath({
    default: "/var/run/nri/nri.sock",
    doc: "Path of the socket that plugins connect to. Only root may use it. One runtime of a node can have it.",
  }),
  pluginPath: absolutePath({
    default: "/opt/nri/plugins",
    doc: "Directory with plugins that davit starts, in the order of their names: NN-NAME, with an index of two digits. A file or a directory that others than root may write is rejected.",
  }),
  pluginConfigPath: absolutePath({
    default: "/etc/nri/conf.d",
    doc: "Directory with the configurations of plugins that davit starts: NN-NAME.conf, else NAME.conf.",
  }),
  pluginRegistrationTimeout: seconds({
    default: 5,
    doc: "How long a plugin may take to register, and then for its first synchronization, in seconds. One that davit starts is killed after that.",
  }),
  pluginRequestTimeout: seconds({
    default: 2,
    doc: "How long a plugin may take to answer, in seconds. One that takes longer is disconnected, and davit continues without it.",
  }),
  disableConnections: flag({
    default: false,
    doc: "true: only plugins that davit starts, and no socket.",
  }),
};

function seconds(about: { readonly default: number; readonly doc: string }) {
  return integer({ ...about, min: 1, max: 3600 });
}

/** What `[nri.default_validator]` is for. */
export const nriValidatorDoc =
  "What plugins may not adjust, and which plugins must be connected. It checks the adjustments of all plugins together.";

/** `[nri.default_validator]`. */
export const nriValidator: Section<NriValidatorConfig> = {
  enable: flag({
    default: false,
    doc: "Checks what plugins adjust, and rejects a container whose adjustments are not allowed here.",
  }),
  rejectOciHookAdjustment: flag({ default: false, doc: "Rejects hooks." }),
  rejectRuntimeDefaultSeccompAdjustment: flag({
    default: false,
    doc: "Rejects a seccomp policy in place of the default profile.",
  }),
  rejectUnconfinedSeccompAdjustment: flag({
    default: false,
    doc: "Rejects a seccomp policy for a container that is unconfined.",
  }),
  rejectCustomSeccompAdjustment: flag({
    default: false,
    doc: "Rejects a seccomp policy in place of a profile of the node.",
  }),
  rejectNamespaceAdjustment: flag({ default: false, doc: "Rejects namespaces." }),
  rejectSysctlAdjustment: flag({ default: false, doc: "Rejects sysctls." }),
  requiredPlugins: texts({
    default: [],
    doc: "Names of plugins, without their index, that each container needs: without one of them it is not created. This includes static pods.",
  }),
  tolerateMissingPluginsAnnotation: text({
    default: "",
    pattern: /^([A-Za-z0-9./_-]{1,317})?$/,
    allowed: 'the key of an annotation, or "" for none',
    doc: "Key of an annotation. With the value true, a pod or a container is created without required plugins.",
  }),
};
