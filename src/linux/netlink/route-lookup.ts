import { errnoCode } from "../../base/system-error.ts";
import { exchange } from "./exchange.ts";
import { getLinkAt, linkOf } from "./links.ts";
import { parseAttributes, readUint32, type Request } from "./message.ts";

// linux/rtnetlink.h
const type = { newRoute: 24, getRoute: 26 } as const;
const attribute = { destination: 1, outInterface: 4 } as const;
const familyIpv4 = 2;
/** struct rtmsg. */
const fieldsBytes = 12;

/**
 * The name of the interface by which this process's namespace sends packets to an IPv4 address, by its rules and routes
 * (ip-rule(8)); undefined when there is no route. The interface may be gone when this returns.
 */
export async function interfaceTo(ip: string): Promise<string | undefined> {
  const fields = Buffer.alloc(fieldsBytes);
  fields.writeUInt8(familyIpv4, 0);
  fields.writeUInt8(32, 1);
  const request: Request = {
    doing: `look up the route to ${ip}`,
    type: type.getRoute,
    flags: 0,
    fields,
    attributes: [[attribute.destination, Buffer.from(ip.split(".").map(Number))]],
  };
  try {
    const [answers] = await exchange(undefined, [request]);
    const route = answers?.find((answer) => answer.type === type.newRoute);
    const attributes = route && parseAttributes(route.body, fieldsBytes);
    const index = readUint32(attributes?.get(attribute.outInterface));
    if (index === undefined) return undefined;
    const [links] = await exchange(undefined, [getLinkAt(index)]);
    return linkOf(links, `number ${index}`).name;
  } catch (error) {
    // No route, or one that rejects packets; or the interface has gone.
    if (noRoute.includes(errnoCode(error) ?? "")) return undefined;
    throw error;
  }
}

const noRoute: readonly string[] = ["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "ENODEV"];
