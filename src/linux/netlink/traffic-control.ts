// Traffic control (tc(8), linux/pkt_sched.h, linux/pkt_cls.h): limits of rates, and what sends packets to another link.
import { type Attribute, flag, type Request, text, uint32 } from "./message.ts";
import type { Link } from "./links.ts";

/** A token bucket filter (tc-tbf(8)) as the kernel takes it. */
export interface Shaper {
  /** Bytes a second. */
  readonly rate: bigint;
  /** How much may wait, in bytes. 32 bits. */
  readonly limit: number;
  /** The time of the burst at this rate, in ticks of /proc/net/psched. 32 bits. */
  readonly buffer: number;
}

const type = { newLink: 16, newQdisc: 36, newFilter: 44 } as const;
const attribute = { kind: 1, options: 2 } as const;
const tbf = { parameters: 1, rate64: 4 } as const;
const u32 = { classId: 1, selector: 5, actions: 7 } as const;
const action = { kind: 1, options: 2, mirredParameters: 2 } as const;
const linkAttribute = { name: 3, mtu: 4, queueLength: 13, info: 18 } as const;
const ingressHandle = 0xffff_0000;
const ingressParent = 0xffff_fff1;
const root = 0xffff_ffff;
const egressRedirect = 1;
const verdict = { pass: 0, stolen: 4 } as const;
const everyProtocol = 0x0003;

type Target = Pick<Link, "index" | "name">;

/** struct tcmsg. */
function fields(index: number, handle: number, parent: number, information = 0): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(handle, 8);
  bytes.writeUInt32LE(parent, 12);
  bytes.writeUInt32LE(information, 16);
  return bytes;
}

/** Creates an ifb link, through which what a link receives can be sent, and brings it up. EEXIST: a link has the name. */
export function createIfb(name: string, mtu: number): Request {
  const link = Buffer.alloc(16);
  link.writeUInt32LE(1, 8); // IFF_UP
  link.writeUInt32LE(1, 12);
  return {
    doing: `create link "${name}"`,
    type: type.newLink,
    flags: flag.create | flag.exclusive,
    fields: link,
    attributes: [
      [linkAttribute.name, text(name)],
      [linkAttribute.queueLength, uint32(0)],
      [linkAttribute.mtu, uint32(mtu)],
      [linkAttribute.info, [[1, Buffer.from("ifb")]]],
    ],
  };
}

/** Limits what a link sends. EEXIST: it has a limit. */
export function limitSending({ index, name }: Target, { rate, limit, buffer }: Shaper): Request {
  const parameters = Buffer.alloc(36);
  parameters.writeUInt32LE(Number(BigInt.asUintN(32, rate)), 8);
  parameters.writeUInt32LE(limit, 24);
  parameters.writeUInt32LE(buffer, 28);
  const rate64 = Buffer.alloc(8);
  rate64.writeBigUInt64LE(rate);
  return {
    doing: `limit what link "${name}" sends`,
    type: type.newQdisc,
    flags: flag.create | flag.exclusive,
    fields: fields(index, 0x1_0000, root),
    attributes: [
      [attribute.kind, text("tbf")],
      [
        attribute.options,
        [
          [tbf.parameters, parameters],
          ...(rate >= 1n << 32n ? [[tbf.rate64, rate64] as const] : []),
        ],
      ],
    ],
  };
}

/** Lets filters see what a link receives. EEXIST: it has such a queue. */
export function addIngress({ index, name }: Target): Request {
  return {
    doing: `add the ingress queue of link "${name}"`,
    type: type.newQdisc,
    flags: flag.create | flag.exclusive,
    fields: fields(index, ingressHandle, ingressParent),
    attributes: [
      [attribute.kind, text("ingress")],
      [attribute.options, []],
    ],
  };
}

/** Sends all that a link receives through another one instead. Needs {@link addIngress}. */
export function redirectReceived({ index, name }: Target, to: Target): Request {
  const priority = 1;
  // struct tc_u32_sel with one key, which every packet matches.
  const selector = Buffer.alloc(16 + 16);
  selector.writeUInt8(1, 0); // TC_U32_TERMINAL
  selector.writeUInt8(1, 2);
  const networkOrder = ((everyProtocol & 0xff) << 8) | (everyProtocol >> 8);
  return {
    doing: `send what link "${name}" receives to "${to.name}"`,
    type: type.newFilter,
    flags: flag.create | flag.exclusive,
    fields: fields(index, 0, ingressHandle, priority * 0x1_0000 + networkOrder),
    attributes: [
      [attribute.kind, text("u32")],
      [
        attribute.options,
        [
          [u32.selector, selector],
          [u32.classId, uint32(0x1_0001)],
          // The second one is never reached. The plugins add it, too.
          [u32.actions, [redirection(1, to, verdict.stolen), redirection(2, to, verdict.pass)]],
        ],
      ],
    ],
  };
}

function redirection(number: number, to: Target, after: number): Attribute {
  const mirred = Buffer.alloc(28);
  mirred.writeInt32LE(after, 8);
  mirred.writeInt32LE(egressRedirect, 20);
  mirred.writeUInt32LE(to.index, 24);
  return [
    number,
    [
      [action.kind, text("mirred")],
      [action.options, [[action.mirredParameters, mirred]]],
    ],
  ];
}
