// The interface of the pod network: add, remove, status, and the record of each attachment. Imports base
// and the other nouns. drivers/cni implements it with CNI plugins.
export type { EgressLimits, EgressRequest } from "./egress.ts";
export type {
  Attachment,
  AttachmentNotes,
  NetworkRequest,
  NetworkStatus,
  PluginListeners,
  PluginObserver,
  PluginRun,
  PodNetwork,
  PortForwarding,
  ValidAttachment,
} from "./network.ts";
export { podPortForwardings } from "./port-forwardings.ts";
