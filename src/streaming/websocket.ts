import { acceptKey, refusalOf } from "../wire/websocket/handshake.ts";
import {
  chooseProtocol,
  headerWords,
  refuseUpgrade,
  switchProtocols,
  type Upgrade,
} from "./upgrade.ts";

/**
 * Completes the handshake of a WebSocket. Returns the chosen sub-protocol, `fallback` when the
 * client names none; undefined when the request was refused.
 */
export function acceptWebSocket(
  upgrade: Upgrade,
  served: readonly string[],
  fallback: string,
): string | undefined {
  const { headers } = upgrade.request;
  const refusal = refusalOf(headers);
  if (refusal !== undefined) {
    refuseUpgrade(upgrade, 400, refusal, ["Sec-WebSocket-Version: 13"]);
    return undefined;
  }
  const wanted = headerWords(upgrade.request, "sec-websocket-protocol");
  const protocol = chooseProtocol(wanted, served, fallback);
  if (protocol === undefined) {
    const why = `unsupported protocols ${wanted.join(", ")}; supported are ${served.join(", ")}`;
    refuseUpgrade(upgrade, 400, why);
    return undefined;
  }
  switchProtocols(upgrade, [
    "Upgrade: websocket",
    `Sec-WebSocket-Accept: ${acceptKey(headers["sec-websocket-key"] ?? "")}`,
    ...(wanted.length === 0 ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
  ]);
  return protocol;
}
