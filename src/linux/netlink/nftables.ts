// Rules of nftables, by their handles (linux/netfilter/nfnetlink.h and nf_tables.h). Numbers have network byte order.
import { Semaphore } from "../../base/semaphore.ts";
import { answersTo } from "./exchange.ts";
import {
  type Attribute,
  attributesOf,
  encodeRequest,
  flag,
  parseAttributes,
  parseMessages,
  readText,
  type Request,
  text,
} from "./message.ts";
import { exchangeWithPacketFilter } from "./native.ts";

/** A table for IPv4 or IPv6, as `table ip nat`, which iptables-nft uses too. */
export interface NftTable {
  readonly family: 4 | 6;
  readonly name: string;
}

/** A rule of a table. */
export interface NftRule {
  readonly chain: string;
  /** Its number in the table, as the kernel wrote it; never that of another rule. */
  readonly handle: Buffer;
  /** The chain to which it jumps. */
  readonly target: string | undefined;
  /** What nft shows as its comment. iptables has its comments elsewhere. */
  readonly comment: string | undefined;
}

const subsystem = 10;
const type = {
  batchBegin: 0x10,
  batchEnd: 0x11,
  deleteChain: (subsystem << 8) | 5,
  newRule: (subsystem << 8) | 6,
  getRule: (subsystem << 8) | 7,
  deleteRule: (subsystem << 8) | 8,
} as const;
const ofRule = { table: 1, chain: 2, handle: 3, expressions: 4, userData: 7 } as const;
const ofChain = { table: 1, name: 3 } as const;
const ofExpression = { name: 1, data: 2 } as const;
const ofImmediate = { data: 2 } as const;
const ofData = { verdict: 2 } as const;
const ofVerdict = { code: 1, chain: 2 } as const;
const verdictJump = -3;
/** The type of a comment in what nft keeps with a rule. The kernel does not read that. */
const userDataComment = 0;
/** struct nfgenmsg. */
const fieldsBytes = 4;
const familyNumbers = { 0: 0, 4: 2, 6: 10 } as const;
/** So that the messages of one batch have at most 64 KiB, with names of any length that the kernel allows. */
const maxRules = 100;

// The addon has one socket.
const turns = new Semaphore(1);

function request(
  doing: string,
  type: number,
  family: 0 | 4 | 6,
  attributes: readonly Attribute[],
): Request {
  const fields = Buffer.alloc(fieldsBytes);
  fields.writeUInt8(familyNumbers[family], 0);
  // Only a batch says here what it is for.
  fields.writeUInt16BE(family === 0 ? subsystem : 0, 2);
  return { doing, type, flags: 0, fields, attributes };
}

/** The rules of some chains of a table. A table or chain that does not exist has none. */
export async function listNftRules(
  { family, name }: NftTable,
  chains: readonly string[],
): Promise<readonly NftRule[]> {
  const doing = `list rules of table "${name}" of nftables`;
  const requests = chains.map((chain) => ({
    ...request(doing, type.getRule, family, [
      [ofRule.table, text(name)],
      [ofRule.chain, text(chain)],
    ]),
    flags: flag.dump,
  }));
  const bytes = Buffer.concat(requests.map((each, at) => encodeRequest(each, at + 1)));
  using _turn = await turns.acquire();
  const reply = parseMessages(await exchangeWithPacketFilter(bytes));
  return requests
    .flatMap((each, at) => answersTo(each, reply, at + 1))
    .filter((message) => message.type === type.newRule)
    .map(({ body }) => parseRule(body));
}

/**
 * Deletes rules, and chains with all of their rules. All or nothing, up to 100 rules and chains; more are several changes, one
 * after the other. Returns when no further packet meets them: the kernel frees them later.
 */
export async function deleteFromNft(
  { family, name }: NftTable,
  rules: readonly Pick<NftRule, "chain" | "handle">[],
  chains: readonly string[] = [],
): Promise<void> {
  const doing = `delete rules of table "${name}" of nftables`;
  const table: Attribute = [ofRule.table, text(name)];
  const changes = [
    ...rules.map(({ chain, handle }) =>
      request(doing, type.deleteRule, family, [
        table,
        [ofRule.chain, text(chain)],
        [ofRule.handle, handle],
      ]),
    ),
    ...chains.flatMap((chain) => [
      // Without a handle: all of its rules.
      request(doing, type.deleteRule, family, [table, [ofRule.chain, text(chain)]]),
      request(doing, type.deleteChain, family, [
        [ofChain.table, text(name)],
        [ofChain.name, text(chain)],
      ]),
    ]),
  ];
  using _turn = await turns.acquire();
  for (let at = 0; at < changes.length; at += maxRules) {
    const part = changes.slice(at, at + maxRules);
    const reply = parseMessages(await exchangeWithPacketFilter(encodeBatch(part)));
    answersTo({ doing }, reply, batchNumber);
  }
}

const batchNumber = 1;

/** A transaction. The kernel acknowledges its last change, and before that says which changes it refuses. */
function encodeBatch(changes: readonly Request[]): Buffer {
  const begin = request("", type.batchBegin, 0, []);
  const end = request("", type.batchEnd, 0, []);
  const isAcknowledged = (change: Request): boolean => change === changes.at(-1);
  return Buffer.concat(
    [begin, ...changes, end].map((each) => encodeRequest(each, batchNumber, isAcknowledged(each))),
  );
}

/** Reads what the kernel says of a rule. Throws `internal` for a length that leads out of the bytes. */
export function parseRule(body: Buffer): NftRule {
  const attributes = parseAttributes(body, fieldsBytes);
  return {
    chain: readText(attributes.get(ofRule.chain)) ?? "",
    handle: attributes.get(ofRule.handle) ?? Buffer.alloc(0),
    target: targetOf(attributes.get(ofRule.expressions)),
    comment: commentOf(attributes.get(ofRule.userData)),
  };
}

function targetOf(expressions: Buffer = Buffer.alloc(0)): string | undefined {
  for (const [, expression] of attributesOf(expressions)) {
    const attributes = parseAttributes(expression);
    if (readText(attributes.get(ofExpression.name)) !== "immediate") continue;
    const immediate = inside(attributes, ofExpression.data);
    const verdict = inside(inside(immediate, ofImmediate.data), ofData.verdict);
    const code = verdict.get(ofVerdict.code);
    if (code?.length === 4 && code.readInt32BE(0) === verdictJump) {
      return readText(verdict.get(ofVerdict.chain));
    }
  }
  return undefined;
}

function inside(
  attributes: ReadonlyMap<number, Buffer>,
  type: number,
): ReadonlyMap<number, Buffer> {
  return parseAttributes(attributes.get(type) ?? Buffer.alloc(0));
}

/** Of entries that each have a byte for the type, a byte for the length, and their bytes. */
function commentOf(userData: Buffer = Buffer.alloc(0)): string | undefined {
  for (let at = 0; at + 2 <= userData.length; ) {
    const end = at + 2 + userData.readUInt8(at + 1);
    if (userData.readUInt8(at) === userDataComment) return readText(userData.subarray(at + 2, end));
    at = end;
  }
  return undefined;
}
