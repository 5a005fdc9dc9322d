import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { addAddress, addRoute, deleteRoute, listAddresses, parseAddresses } from "./addresses.ts";
import { createVeth, getLink, parseLink, setLink } from "./links.ts";
import {
  type Attribute,
  encodeAttributes,
  encodeRequest,
  parseAttributes,
  parseMessages,
  readText,
  readUint32,
  text,
  uint32,
} from "./message.ts";

const isInternal = (error: unknown): boolean => isKind(error, "internal");
const [first] = parseMessages(encodeRequest(getLink("lo"), 7));
const link = { index: 5, name: "eth0" };

/** A message from the kernel with these fields and attributes. */
const message = (type: number, fields: Buffer, attributes: readonly Attribute[]) => ({
  type,
  flags: 0,
  sequence: 1,
  body: Buffer.concat([fields, encodeAttributes(attributes)]),
});

describe("encodeRequest()", () => {
  test("writes a message that parseMessages() reads", () => {
    assert.ok(first);
    assert.deepEqual([first.type, first.flags, first.sequence], [18, 0x5, 7]);
    const attributes = parseAttributes(first.body, 16);
    assert.equal(readText(attributes.get(3)), "lo");
    assert.equal(readUint32(attributes.get(29)), 8);
  });

  test("asks for an acknowledgement, but not of a dump", () => {
    const flags = (request: Parameters<typeof encodeRequest>[0]) =>
      encodeRequest(request, 1).readUInt16LE(6);
    assert.equal(flags(listAddresses(5)), 0x301);
    assert.equal(flags(setLink(link, { up: true })), 0x5);
    assert.equal(flags(addAddress(5, { bytes: Buffer.from([10, 0, 0, 2]), length: 24 })), 0x605);
  });

  test("puts each message and attribute at a multiple of four bytes", () => {
    const bytes = encodeRequest(getLink("abcd"), 1);
    assert.equal(bytes.length % 4, 0);
    assert.equal(encodeAttributes([[1, Buffer.from([1])]]).length, 8);
    assert.equal(parseMessages(Buffer.concat([bytes, bytes])).length, 2);
  });

  test("sets only the flags of a link that change", () => {
    const body = parseMessages(encodeRequest(setLink(link, { promiscuous: false, up: true }), 1))[0]
      ?.body;
    assert.deepEqual(
      [body?.readInt32LE(4), body?.readUInt32LE(8), body?.readUInt32LE(12)],
      [5, 0x1, 0x101],
    );
  });

  test("nests the other end of a veth with fields of its own", () => {
    const request = createVeth({ name: "eth0", peer: "veth1", peerPid: 42, mtu: 1400 });
    const [sent] = parseMessages(encodeRequest(request, 1));
    assert.ok(sent);
    const info = parseAttributes(parseAttributes(sent.body, 16).get(18) ?? Buffer.alloc(0));
    assert.equal(String(info.get(1)), "veth");
    const peer = parseAttributes(info.get(2) ?? Buffer.alloc(0)).get(1) ?? Buffer.alloc(0);
    const attributes = parseAttributes(peer, 16);
    assert.equal(readText(attributes.get(3)), "veth1");
    assert.equal(readUint32(attributes.get(4)), 1400);
    assert.equal(readUint32(attributes.get(13)), 0);
    assert.equal(readUint32(attributes.get(19)), 42);
  });

  test("gives an IPv4 network the broadcast address, and a pair of addresses none", () => {
    const broadcast = (length: number) => {
      const [sent] = parseMessages(
        encodeRequest(addAddress(5, { bytes: Buffer.from([10, 1, 2, 3]), length }), 1),
      );
      return parseAttributes(sent?.body ?? Buffer.alloc(0), 8)
        .get(4)
        ?.join(".");
    };
    assert.deepEqual([24, 20, 30, 31, 32].map(broadcast), [
      "10.1.2.255",
      "10.1.15.255",
      "10.1.2.3",
      undefined,
      undefined,
    ]);
  });

  test("adds a route with its scope, and deletes one of any scope", () => {
    const destination = { bytes: Buffer.from([10, 0, 0, 1]), length: 32 };
    const fieldsOf = (request: Parameters<typeof encodeRequest>[0]) => [
      ...(parseMessages(encodeRequest(request, 1))[0]?.body.subarray(0, 8) ?? []),
    ];
    const route = { destination, linkIndex: 5, scope: "link" } as const;
    assert.deepEqual(fieldsOf(addRoute(route, { exclusive: true })), [2, 32, 0, 0, 254, 3, 253, 1]);
    assert.deepEqual(fieldsOf(deleteRoute(route)), [2, 32, 0, 0, 254, 0, 255, 0]);
  });

  test("refuses an attribute that does not fit its length", () => {
    assert.throws(
      () => encodeAttributes([[1, Buffer.alloc(0xfffc)]]),
      (error) => isKind(error, "invalid-argument"),
    );
  });
});

describe("parseMessages() and parseAttributes()", () => {
  const broken = (at: number, length: number, size: 2 | 4, from: Buffer): Buffer => {
    const bytes = Buffer.from(from);
    if (size === 4) bytes.writeUInt32LE(length, at);
    else bytes.writeUInt16LE(length, at);
    return bytes;
  };

  test("throw for a length that is too short or leads out of the bytes", () => {
    const bytes = encodeRequest(getLink("lo"), 1);
    for (const length of [0, 1, 15, bytes.length + 1, 0xffffffff]) {
      assert.throws(() => parseMessages(broken(0, length, 4, bytes)), isInternal, String(length));
    }
    const attributes = encodeAttributes([
      [1, uint32(1)],
      [2, text("x")],
    ]);
    for (const length of [0, 3, attributes.length + 1, 0xffff]) {
      assert.throws(
        () => parseAttributes(broken(0, length, 2, attributes)),
        isInternal,
        String(length),
      );
    }
    assert.throws(() => parseMessages(bytes.subarray(0, 8)), isInternal);
    assert.throws(() => parseAttributes(Buffer.alloc(3)), isInternal);
  });

  test("end with any bytes, without reading outside of them", () => {
    let seed = 1;
    const next = (): number => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff);
    for (let round = 0; round < 2_000; round++) {
      const bytes = Buffer.from(Array.from({ length: next() % 64 }, () => next() % 256));
      for (const parse of [parseMessages, parseAttributes]) {
        try {
          parse(bytes);
        } catch (error) {
          assert.ok(isInternal(error), String(error));
        }
      }
    }
  });

  test("throw for a number that is too short", () => {
    assert.throws(() => readUint32(Buffer.from([1])), isInternal);
    assert.equal(readUint32(undefined), undefined);
  });
});

describe("parseLink()", () => {
  test("reads what the kernel describes", () => {
    const fields = Buffer.alloc(16);
    fields.writeInt32LE(9, 4);
    fields.writeUInt32LE(0x101, 8);
    const link = parseLink(
      message(16, fields, [
        [1, Buffer.from([0x0a, 0x58, 0x0a, 0x57, 0, 2])],
        [3, text("eth0")],
        [4, uint32(1500)],
        [5, uint32(12)],
        [16, Buffer.from([6])],
        [18, [[1, text("veth")]]],
      ]),
    );
    assert.deepEqual(link, {
      index: 9,
      name: "eth0",
      mac: "0a:58:0a:57:00:02",
      mtu: 1500,
      isPromiscuous: true,
      receivesAllMulticast: false,
      isOperational: true,
      kind: "veth",
      peerIndex: 12,
    });
  });
});

describe("parseAddresses()", () => {
  test("reads those of one link, and which are tentative", () => {
    const fields = (index: number) => {
      const bytes = Buffer.from([10, 64, 0, 0, 0, 0, 0, 0]);
      bytes.writeUInt32LE(index, 4);
      return bytes;
    };
    const bytes = Buffer.alloc(16, 1);
    const answers = [
      message(20, fields(3), [
        [1, bytes],
        [8, uint32(0xc0)],
      ]),
      message(20, fields(4), [[1, bytes]]),
    ];
    assert.deepEqual(parseAddresses(answers, 3), [
      { bytes, length: 64, linkIndex: 3, isTentative: true },
    ]);
  });
});
