import { RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { exchange, type NamespacePath } from "./exchange.ts";
import {
  type Attribute,
  encodeAttributes,
  flag,
  type Message,
  parseAttributes,
  readText,
  readUint32,
  type Request,
  text,
  uint32,
} from "./message.ts";

/** A network interface. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** Like "0a:58:0a:57:00:02"; "" without one. */
  readonly mac: string;
  readonly mtu: number;
  readonly isPromiscuous: boolean;
  readonly receivesAllMulticast: boolean;
  readonly isOperational: boolean;
  /** "veth", "bridge" ...; "" for a physical one. */
  readonly kind: string;
  /** Of a veth: the index of the other end, in the other end's namespace. */
  readonly peerIndex: number | undefined;
}

/** What is set of a link; what is not given stays. */
export interface LinkChange {
  readonly up?: boolean;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  /** Index of the bridge that it becomes a port of. */
  readonly master?: number;
}

// linux/rtnetlink.h, linux/if_link.h, linux/if.h
const type = { newLink: 16, deleteLink: 17, getLink: 18, setLink: 19 } as const;
const attribute = {
  address: 1,
  name: 3,
  mtu: 4,
  link: 5,
  master: 10,
  portInfo: 12,
  queueLength: 13,
  operState: 16,
  info: 18,
  namespacePid: 19,
  extMask: 29,
} as const;
const info = { kind: 1, data: 2 } as const;
const vethPeer = 1;
const portHairpin = 4;
const skipStatistics = 1 << 3;
const interfaceFlag = { up: 0x1, promiscuous: 0x100, allMulticast: 0x200 } as const;
const operUp = 6;
const familyBridge = 7;
const fieldsBytes = 16;

/** struct ifinfomsg. Only the flags in `change` are set. */
function fields(index = 0, flags = 0, change = 0, family = 0): Buffer {
  const bytes = Buffer.alloc(fieldsBytes);
  bytes.writeUInt8(family, 0);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(change, 12);
  return bytes;
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

function macText(bytes: Buffer | undefined): string {
  return bytes?.toString("hex").replace(/..(?=.)/g, "$&:") ?? "";
}

/** Asks for a link by its name. */
export function getLink(name: string): Request {
  const attributes: Attribute[] = [
    [attribute.extMask, uint32(skipStatistics)],
    [attribute.name, text(name)],
  ];
  return {
    doing: `get link "${name}"`,
    type: type.getLink,
    flags: 0,
    fields: fields(),
    attributes,
  };
}

/** Asks for a link by its index. */
export function getLinkAt(index: number): Request {
  return {
    doing: `get link number ${index}`,
    type: type.getLink,
    flags: 0,
    fields: fields(index),
    attributes: [[attribute.extMask, uint32(skipStatistics)]],
  };
}

/** Creates a bridge. EEXIST: a link has the name. */
export function createBridge(name: string, mtu: number | undefined): Request {
  return {
    doing: `create bridge "${name}"`,
    type: type.newLink,
    flags: flag.create | flag.exclusive,
    fields: fields(),
    attributes: [
      [attribute.name, text(name)],
      ...mtuAttribute(mtu),
      [attribute.info, [[info.kind, Buffer.from("bridge")]]],
    ],
  };
}

/**
 * Creates a pair of veth links without queues: `name` where the request is sent, `peer` in the network namespace of
 * process `peerPid`. EEXIST: a link has one of the names.
 */
export function createVeth(veth: {
  readonly name: string;
  readonly peer: string;
  readonly peerPid: number;
  readonly mtu: number | undefined;
}): Request {
  const both: readonly Attribute[] = [
    [attribute.queueLength, uint32(0)],
    ...mtuAttribute(veth.mtu),
  ];
  const peer = encodeAttributes([
    [attribute.name, text(veth.peer)],
    ...both,
    [attribute.namespacePid, uint32(veth.peerPid)],
  ]);
  return {
    doing: `create link "${veth.name}" with "${veth.peer}" on the node`,
    type: type.newLink,
    flags: flag.create | flag.exclusive,
    fields: fields(),
    attributes: [
      [attribute.name, text(veth.name)],
      ...both,
      [
        attribute.info,
        [
          [info.kind, Buffer.from("veth")],
          [info.data, [[vethPeer, Buffer.concat([fields(), peer])]]],
        ],
      ],
    ],
  };
}

function mtuAttribute(mtu: number | undefined): readonly Attribute[] {
  return mtu === undefined || mtu <= 0 ? [] : [[attribute.mtu, uint32(mtu)]];
}

/** Changes a link. */
export function setLink(
  { index, name }: Pick<Link, "index" | "name">,
  change: LinkChange,
): Request {
  const { up, promiscuous, allMulticast, mtu, mac, master } = change;
  const bits: readonly (readonly [boolean | undefined, number])[] = [
    [up, interfaceFlag.up],
    [promiscuous, interfaceFlag.promiscuous],
    [allMulticast, interfaceFlag.allMulticast],
  ];
  const sum = (isSet: (value: boolean | undefined) => boolean): number =>
    bits.reduce((all, [value, bit]) => (isSet(value) ? all | bit : all), 0);
  const set = sum((value) => value === true);
  const changed = sum((value) => value !== undefined);
  return {
    doing: `set ${Object.keys(change).join(", ")} of link "${name}"`,
    type: type.setLink,
    flags: 0,
    fields: fields(index, set, changed),
    attributes: [
      ...mtuAttribute(mtu),
      ...(mac === undefined ? [] : [[attribute.address, macBytes(mac)] as const]),
      ...(master === undefined ? [] : [[attribute.master, uint32(master)] as const]),
    ],
  };
}

/** Whether a bridge sends frames back to the port that they came from. */
export function setHairpin(
  { index, name }: Pick<Link, "index" | "name">,
  hairpin: boolean,
): Request {
  return {
    doing: `set hairpin mode of link "${name}"`,
    type: type.setLink,
    flags: 0,
    fields: fields(index, 0, 0, familyBridge),
    attributes: [[attribute.portInfo, [[portHairpin, Buffer.from([hairpin ? 1 : 0])]]]],
  };
}

/** Deletes a link; a veth goes with its other end. */
export function deleteLink({ index, name }: Pick<Link, "index" | "name">): Request {
  return {
    doing: `delete link "${name}"`,
    type: type.deleteLink,
    flags: 0,
    fields: fields(index),
    attributes: [],
  };
}

/** Reads the answer to {@link getLink}. Throws `internal` for one that is too short. */
export function parseLink({ body }: Message): Link {
  const attributes = parseAttributes(body, fieldsBytes);
  const infoBytes = attributes.get(attribute.info);
  const details = infoBytes === undefined ? undefined : parseAttributes(infoBytes);
  const flags = body.readUInt32LE(8);
  return {
    index: body.readInt32LE(4),
    name: readText(attributes.get(attribute.name)) ?? "",
    mac: macText(attributes.get(attribute.address)),
    mtu: readUint32(attributes.get(attribute.mtu)) ?? 0,
    // As ip(8) and the plugins read it: set by someone, not counted.
    isPromiscuous: (flags & interfaceFlag.promiscuous) !== 0,
    receivesAllMulticast: (flags & interfaceFlag.allMulticast) !== 0,
    isOperational: attributes.get(attribute.operState)?.[0] === operUp,
    kind: readText(details?.get(info.kind)) ?? "",
    peerIndex: readUint32(attributes.get(attribute.link)),
  };
}

/** The link with a name; undefined when there is none. */
export async function findLink(namespace: NamespacePath, name: string): Promise<Link | undefined> {
  try {
    const [answers] = await exchange(namespace, [getLink(name)]);
    return linkOf(answers, name);
  } catch (error) {
    if (errnoCode(error) === "ENODEV") return undefined;
    throw error;
  }
}

/** The link in the answers to {@link getLink}. Throws `internal` when there is none. */
export function linkOf(answers: readonly Message[] | undefined, name: string): Link {
  const message = answers?.find((each) => each.type === type.newLink);
  if (message === undefined) {
    throw new RuntimeError("internal", `get link "${name}": the kernel did not describe it`);
  }
  return parseLink(message);
}
