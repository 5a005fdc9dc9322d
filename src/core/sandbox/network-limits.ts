import { RuntimeError } from "../../base/errors.ts";
import { ipVersion } from "../../base/ip-address.ts";
import { quote } from "../../base/quote.ts";
import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import { usesHostNetwork } from "./sandbox.ts";

/** The annotation of a pod without a network: `none`. */
export const networkAnnotation = "davit.network";
/** The annotation of a pod with the destinations that it may open connections to; see {@link askedEgress}. */
export const egressAnnotation = "davit.egress";

/** The most destinations, and the longest annotation, in characters. */
const maxDestinations = 256;
const maxLength = 16_384;

/** A destination that a pod may open connections to. */
export type EgressRule =
  /** The name servers in the pod's resolv.conf, port 53. */
  | { readonly to: "dns" }
  | {
      readonly to: "addresses";
      readonly family: 4 | 6;
      /** An address, or a range with the length of its prefix. */
      readonly cidr: string;
      /** All protocols if absent; with ports, TCP and UDP. */
      readonly protocol?: "tcp" | "udp";
      readonly ports?: { readonly first: number; readonly last: number };
    };

type Annotated = Pick<PodSandboxConfig, "annotations">;

function refuse(message: string): never {
  throw new RuntimeError("invalid-argument", `check sandbox config: ${message}`);
}

/** True for a pod with a network namespace that has only the loopback device. */
export function hasNoNetwork({ annotations }: Annotated): boolean {
  return annotations[networkAnnotation] === "none";
}

/**
 * The destinations that a pod asks to be limited to; `undefined` for a pod without limits, empty for `none`.
 *
 * The annotation is `none` or a list of destinations with commas, and spaces around them:
 *
 * ```
 * destination = "dns" | ( IPv4 [ "/" length ] | "[" IPv6 [ "/" length ] "]" ) [ ":" port [ "-" port ] ] [ "/tcp" | "/udp" ]
 * ```
 *
 * `invalid-argument` with the destination for anything else.
 */
export function askedEgress({ annotations }: Annotated): readonly EgressRule[] | undefined {
  const text = annotations[egressAnnotation];
  if (text === undefined) return undefined;
  if (text.length > maxLength) {
    refuse(`annotation "${egressAnnotation}" is longer than ${maxLength} characters`);
  }
  if (text === "none") return [];
  const destinations = text.split(",");
  if (destinations.length > maxDestinations) {
    refuse(`annotation "${egressAnnotation}" has more than ${maxDestinations} destinations`);
  }
  return destinations.map((each) => parseDestination(each.replace(/^ +| +$/g, "")));
}

/**
 * Refuses, with `invalid-argument`, annotations about the network that are not valid, or that contradict the
 * rest of the config.
 */
export function checkNetworkLimits(config: PodSandboxConfig): void {
  const { annotations, portMappings } = config;
  const network = annotations[networkAnnotation];
  const isLimited = askedEgress(config) !== undefined;
  if (network === undefined && !isLimited) return;
  const named = network === undefined ? egressAnnotation : networkAnnotation;
  if (network !== undefined && network !== "none") {
    refuse(`annotation "${networkAnnotation}" must be "none", got ${quote(network)}`);
  }
  if (usesHostNetwork(config)) {
    refuse(
      `annotation "${named}" cannot be set for a pod on the host network; remove it, or set namespace_options.network to POD`,
    );
  }
  if (network !== undefined) {
    if (isLimited) {
      refuse(
        `annotations "${networkAnnotation}" and "${egressAnnotation}" are both set; a pod without a network needs no destinations`,
      );
    }
    const forwarded = portMappings.find(({ hostPort }) => hostPort > 0);
    if (forwarded !== undefined) {
      refuse(
        `annotation "${networkAnnotation}" is "none", but host port ${forwarded.hostPort} is to be forwarded to the pod; remove one of them`,
      );
    }
  } else if (config.linux?.securityContext?.privileged === true) {
    refuse(
      `annotation "${egressAnnotation}" is set for a privileged pod, whose containers could change the rules; remove one of them`,
    );
  }
}

// Without the address, which has rules of its own: [address][/length][:port[-port]][/protocol].
const ofIpv4 = /^([0-9.]+)(?:\/([0-9]{1,2}))?(?::([0-9]{1,5})(?:-([0-9]{1,5}))?)?(?:\/(tcp|udp))?$/;
const ofIpv6 =
  /^\[([0-9a-fA-F:.]+)(?:\/([0-9]{1,3}))?\](?::([0-9]{1,5})(?:-([0-9]{1,5}))?)?(?:\/(tcp|udp))?$/;

function parseDestination(text: string): EgressRule {
  if (text === "dns") return { to: "dns" };
  const family = text.startsWith("[") ? 6 : 4;
  const found = (family === 6 ? ofIpv6 : ofIpv4).exec(text);
  const [, address = "", length, first, last, protocol] = found ?? [];
  if (ipVersion(address) !== family) {
    refuse(
      `annotation "${egressAnnotation}" must be "none" or a list such as "10.0.0.0/8, 192.0.2.7:443/tcp, [2001:db8::/32]:8000-8099, dns", got ${quote(text)}`,
    );
  }
  const longest = family === 6 ? 128 : 32;
  if (length !== undefined && (Number(length) > longest || /^0./.test(length))) {
    refuse(
      `annotation "${egressAnnotation}": the length of the prefix must be 0 to ${longest}, got ${quote(text)}`,
    );
  }
  return {
    to: "addresses",
    family,
    cidr: length === undefined ? address : `${address}/${length}`,
    ...(protocol === "tcp" || protocol === "udp" ? { protocol } : {}),
    ...(first === undefined ? {} : { ports: parsePorts(text, first, last) }),
  };
}

function parsePorts(text: string, from: string, to = from): { first: number; last: number } {
  const [first, last] = [Number(from), Number(to)];
  if (first >= 1 && first <= last && last <= 65_535) return { first, last };
  return refuse(
    `annotation "${egressAnnotation}": ports must be 1 to 65535, the lower one first, got ${quote(text)}`,
  );
}
