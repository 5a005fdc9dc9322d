import { exchange, type NamespacePath } from "./exchange.ts";
import {
  type Attribute,
  flag,
  type Message,
  parseAttributes,
  readUint32,
  type Request,
  uint32,
} from "./message.ts";

/** An address with the length of its network. */
export interface Prefix {
  /** 4 or 16 bytes, the most significant first. */
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** An address of a link. */
export interface LinkAddress extends Prefix {
  readonly linkIndex: number;
  /** The kernel still looks for others that have it, or has found one (RFC 4862, section 5.4). */
  readonly isTentative: boolean;
}

/** A route of the main table. */
export interface Route {
  readonly destination: Prefix;
  readonly linkIndex: number;
  readonly gateway?: Uint8Array | undefined;
  readonly source?: Uint8Array | undefined;
  readonly scope?: "universe" | "link" | "host";
}

// linux/rtnetlink.h, linux/if_addr.h
const type = {
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
} as const;
const attribute = { address: 1, local: 2, broadcast: 4, flags: 8 } as const;
const routeAttribute = { destination: 1, link: 4, gateway: 5, source: 7 } as const;
const tentativeOrDuplicate = 0x40 | 0x08;
const scopes = { universe: 0, link: 253, host: 254, nowhere: 255 } as const;
const mainTable = 254;
const protocolBoot = 3;
const typeUnicast = 1;
const addressFieldsBytes = 8;

// AF_INET, AF_INET6
const families = { ipv4: 2, ipv6: 10 } as const;
const familyOf = (bytes: Uint8Array): number =>
  bytes.length === 4 ? families.ipv4 : families.ipv6;

/** For errors. */
const textOf = ({ bytes, length }: Prefix): string =>
  `${
    bytes.length === 4
      ? bytes.join(".")
      : Buffer.from(bytes)
          .toString("hex")
          .replace(/.{4}(?=.)/g, "$&:")
  }/${length}`;

/** struct ifaddrmsg */
function addressFields(family: number, length: number, linkIndex: number): Buffer {
  const bytes = Buffer.alloc(addressFieldsBytes);
  bytes.writeUInt8(family, 0);
  bytes.writeUInt8(length, 1);
  bytes.writeUInt32LE(linkIndex, 4);
  return bytes;
}

/** The last address of an IPv4 network; none where it has only one or two (RFC 3021). */
function broadcastOf({ bytes, length }: Prefix): Uint8Array | undefined {
  if (bytes.length !== 4 || length > 30) return undefined;
  const last = Buffer.from(bytes);
  last.writeUInt32BE((last.readUInt32BE(0) | (0xffffffff >>> length)) >>> 0);
  return last;
}

function addressRequest(
  which: "newAddress" | "deleteAddress",
  linkIndex: number,
  prefix: Prefix,
): Request {
  const broadcast = broadcastOf(prefix);
  const attributes: Attribute[] = [
    [attribute.local, prefix.bytes],
    [attribute.address, prefix.bytes],
  ];
  if (broadcast !== undefined) attributes.push([attribute.broadcast, broadcast]);
  const isNew = which === "newAddress";
  return {
    doing: `${isNew ? "add" : "delete"} address ${textOf(prefix)}`,
    type: type[which],
    flags: isNew ? flag.create | flag.exclusive : 0,
    fields: addressFields(familyOf(prefix.bytes), prefix.length, linkIndex),
    attributes,
  };
}

/** Adds an address, with the broadcast address of an IPv4 network. EEXIST: the link has it. */
export function addAddress(linkIndex: number, prefix: Prefix): Request {
  return addressRequest("newAddress", linkIndex, prefix);
}

/** Deletes an address. EADDRNOTAVAIL: the link does not have it. */
export function deleteAddress(linkIndex: number, prefix: Prefix): Request {
  return addressRequest("deleteAddress", linkIndex, prefix);
}

/** Asks for the addresses of a link, of both families or of one. */
export function listAddresses(linkIndex: number, family?: keyof typeof families): Request {
  return {
    doing: "list addresses",
    type: type.getAddress,
    flags: flag.dump,
    fields: addressFields(family === undefined ? 0 : families[family], 0, linkIndex),
    attributes: [],
  };
}

/** Reads the answers to {@link listAddresses}. */
export function parseAddresses(
  answers: readonly Message[],
  linkIndex: number,
): readonly LinkAddress[] {
  return answers
    .filter((message) => message.type === type.newAddress)
    .map(({ body }) => {
      const attributes = parseAttributes(body, addressFieldsBytes);
      // The local one of a point-to-point link; IPv6 has only the other.
      const bytes = attributes.get(attribute.local) ?? attributes.get(attribute.address);
      const flags = readUint32(attributes.get(attribute.flags)) ?? body.readUInt8(2);
      return {
        bytes: bytes ?? Buffer.alloc(0),
        length: body.readUInt8(1),
        linkIndex: body.readUInt32LE(4),
        isTentative: (flags & tentativeOrDuplicate) !== 0,
      };
    })
    .filter((address) => address.linkIndex === linkIndex);
}

/** The addresses of a link. */
export async function addressesOf(
  namespace: NamespacePath,
  linkIndex: number,
  family?: keyof typeof families,
): Promise<readonly LinkAddress[]> {
  const [answers = []] = await exchange(namespace, [listAddresses(linkIndex, family)]);
  return parseAddresses(answers, linkIndex);
}

/** struct rtmsg */
function routeFields(
  prefix: Prefix,
  more: readonly [protocol: number, scope: number, type: number],
): Buffer {
  const [protocol, scope, kind] = more;
  const bytes = Buffer.alloc(12);
  bytes.set([familyOf(prefix.bytes), prefix.length, 0, 0, mainTable, protocol, scope, kind]);
  return bytes;
}

/**
 * Adds a route. With `exclusive`, EEXIST when there is one to the same destination; else it is one more, as far as the
 * kernel allows that.
 */
export function addRoute(route: Route, { exclusive }: { readonly exclusive: boolean }): Request {
  const { destination, linkIndex, gateway, source, scope = "universe" } = route;
  return {
    doing: `add route to ${textOf(destination)}`,
    type: type.newRoute,
    flags: exclusive ? flag.create | flag.exclusive : flag.create,
    fields: routeFields(destination, [protocolBoot, scopes[scope], typeUnicast]),
    attributes: [
      [routeAttribute.destination, destination.bytes],
      ...(source === undefined ? [] : [[routeAttribute.source, source] as const]),
      ...(gateway === undefined ? [] : [[routeAttribute.gateway, gateway] as const]),
      [routeAttribute.link, uint32(linkIndex)],
    ],
  };
}

/** Deletes a route of any kind to the destination. ESRCH: there is none. */
export function deleteRoute({ destination, linkIndex }: Route): Request {
  return {
    doing: `delete route to ${textOf(destination)}`,
    type: type.deleteRoute,
    flags: 0,
    fields: routeFields(destination, [0, scopes.nowhere, 0]),
    attributes: [
      [routeAttribute.destination, destination.bytes],
      [routeAttribute.link, uint32(linkIndex)],
    ],
  };
}
