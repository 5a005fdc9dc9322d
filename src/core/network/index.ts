// The pod network as the verbs see it: add, remove, status, and the record of each attachment.
// Imports base and the neighbouring nouns. The CNI behind it is in drivers/cni.
export type {
  Attachment,
  AttachmentNotes,
  AttachmentRemoval,
  NetworkRequest,
  NetworkStatus,
  PluginListeners,
  PodNetwork,
  PortForwarding,
  ValidAttachment,
} from "./network.ts";
export { podPortForwardings } from "./port-forwardings.ts";
