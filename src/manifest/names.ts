// Names of RFC 1123, as Kubernetes validates them: at most 63 characters for a label and 253 for a subdomain.

/** A DNS label: the name of a container, volume or namespace. */
export const dnsLabel = /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

/** A DNS subdomain: the name of a pod or RuntimeClass. */
export const dnsSubdomain =
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

/** The allowed characters of both, for messages. */
export const dnsNameRule = 'lower-case letters, digits and "-"';
