import { isIP } from "node:net";
import type { Options } from "../command-line/options.ts";

/** An entry of a container's ports in a Pod manifest. */
interface PortEntry {
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIP?: string;
  readonly protocol?: "UDP" | "SCTP";
}

const form =
  /^(?:(?<ip>[\d.]+|\[[\da-fA-F:.]+\]):)?(?<host>\d+):(?<port>\d+)(?:\/(?<protocol>tcp|udp|sctp))?$/;

/** The ports of -p, as of a Pod manifest. Throws a UsageError for one that is invalid. */
export function readPorts(options: Options): readonly PortEntry[] {
  return options.texts("publish").map((text) => {
    const groups = form.exec(text)?.groups;
    if (groups === undefined) {
      throw options.invalid(
        "publish",
        `is "${text}": must be [IP:]HOST:PORT, such as 8080:80 or 127.0.0.1:53:53/udp`,
      );
    }
    const hostIP = (groups["ip"] ?? "").replace(/^\[|\]$/g, "");
    const [hostPort, containerPort] = [Number(groups["host"]), Number(groups["port"])];
    if ([hostPort, containerPort].some((port) => port < 1 || port > 65_535)) {
      throw options.invalid("publish", `is "${text}": ports are numbers from 1 to 65535`);
    }
    if (hostIP !== "" && isIP(hostIP) === 0) {
      throw options.invalid("publish", `is "${text}": "${hostIP}" is not an IP address`);
    }
    const protocol = groups["protocol"]?.toUpperCase();
    return {
      containerPort,
      hostPort,
      ...(hostIP !== "" && { hostIP }),
      ...((protocol === "UDP" || protocol === "SCTP") && { protocol }),
    };
  });
}
